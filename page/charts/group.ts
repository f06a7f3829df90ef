/** Charts that share a cursor and a part of their axis: what one of them does, all do. */

export interface Group {
  cursor: number | null
  /** Part of the axis that is shown; null: all of it. */
  span: readonly [number, number] | null
  readonly listeners: Set<() => void>
}

export function newGroup(): Group {
  return { cursor: null, span: null, listeners: new Set() }
}

export function moveCursor(group: Group, cursor: number | null): void {
  if (group.cursor === cursor) return
  group.cursor = cursor
  for (const listener of group.listeners) listener()
}

export function zoomTo(group: Group, span: readonly [number, number] | null): void {
  group.span = span
  for (const listener of group.listeners) listener()
}
