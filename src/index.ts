import { x } from '../native-free-core/index.ts'
export const y: number = x
