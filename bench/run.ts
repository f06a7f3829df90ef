export const z: number = 2
