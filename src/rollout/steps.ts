/** A value over time: it holds from one step to the next. Times are whole milliseconds and never go back. */
export class Steps {
  readonly times: number[] = []
  readonly values: number[] = []

  constructor(initial: number, fromMs: number = Number.NEGATIVE_INFINITY) {
    this.times.push(fromMs)
    this.values.push(initial)
  }

  get last(): number {
    return this.values[this.values.length - 1]!
  }

  /** From `ms` on; a second value for one instant replaces the first. */
  set(ms: number, value: number): void {
    const end = this.times.length - 1
    if (this.values[end] === value) return
    if (this.times[end]! >= ms) {
      this.values[end] = value
      // What was set for this instant and taken back leaves no step.
      if (end > 0 && this.values[end - 1] === value) {
        this.times.pop()
        this.values.pop()
      }
      return
    }
    this.times.push(ms)
    this.values.push(value)
  }

  /** Index of the step that holds at `ms`. Cost: a binary search. */
  indexAt(ms: number): number {
    const { times } = this
    let low = 0
    let high = times.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (times[middle]! <= ms) low = middle
      else high = middle - 1
    }
    return low
  }

  at(ms: number): number {
    return this.values[this.indexAt(ms)]!
  }

  /** The first time at or after `ms` from which the value is `wanted`; Infinity where it never is. */
  next(ms: number, wanted: (value: number) => boolean): number {
    for (let i = this.indexAt(ms); i < this.values.length; i++)
      if (wanted(this.values[i]!)) return Math.max(ms, this.times[i]!)
    return Number.POSITIVE_INFINITY
  }
}
