/** What columns of the rule set grow in while they are compiled. */

import { SET_NOWHERE } from '../../native-free-core/index.ts'

/** Endpoint sets by their members, so that equal sets are stored once; set 0 is empty. */
export class Sets {
  readonly start: number[] = [0]
  readonly count: number[] = [0]
  readonly members: number[] = []
  private readonly ids = new Map<string, number>([['', 0]])

  add(endpoints: readonly number[]): number {
    const key = endpoints.join(' ')
    const known = this.ids.get(key)
    if (known !== undefined) return known
    const id = this.start.length
    this.ids.set(key, id)
    this.start.push(this.members.length)
    this.count.push(endpoints.length)
    for (const endpoint of endpoints) this.members.push(endpoint)
    return id
  }

  /** The empty set of a node that knows of no endpoint anywhere, though the Service has some for others. */
  nowhere(): number {
    const known = this.ids.get('nowhere')
    if (known !== undefined) return known
    const id = this.start.length
    this.ids.set('nowhere', id)
    this.start.push(SET_NOWHERE)
    this.count.push(0)
    return id
  }
}

/** Grows with the registry: columns by id, written sparsely. */
export class Column {
  private values: number[] = []

  set(id: number, value: number): void {
    while (this.values.length <= id) this.values.push(0)
    this.values[id] = value
  }

  get(id: number): number {
    return this.values[id] ?? 0
  }

  toArray(length: number): Int32Array {
    const array = new Int32Array(length)
    array.set(this.values)
    return array
  }
}
