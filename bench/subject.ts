/**
 * What is measured: something that is built once in a process of its own and then asked for one round after another.
 *
 * Building, warming up and making the packets are not timed. A round's digest covers all that came out since the
 * beginning, so that subjects that must agree (the core and the Map) can be held against each other after every round.
 */
export interface RoundSample {
  /** Packets, connections or calls that were timed. */
  readonly operations: number
  /** CPU time of all of them together. */
  readonly nanos: number
}

export interface Subject {
  round(): RoundSample
  /** Of everything so far; '' where there is nothing to compare. */
  digest(): string
}

/** CPU time of this process, ns. Wall time is worthless where other work runs on the machine. */
export function cpuNanos(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1000
}

let sunk = 0

/** Takes a result, so that no compiler can leave the work out. */
export function sink(value: number): void {
  sunk = (sunk ^ value) | 0
}

/** Everything that was sunk; printed by nobody, but it might be. */
export function sunkValue(): number {
  return sunk
}
