/** A small operation timed by benchmark.js: it calibrates the number of calls and keeps statistics; a round is one run. */
import Benchmark from 'benchmark'
import { type RoundSample, type Subject, sink } from './subject.ts'

/** Seconds of measuring in a round. */
const ROUND_SECONDS = 0.2

export interface Operation {
  /** One call; what it returns goes into the sink. */
  readonly call: () => number
  /** Things done by a call, where it is more than one. */
  readonly things?: number
}

export class Calls implements Subject {
  private readonly operation: Operation

  constructor(operation: Operation) {
    this.operation = operation
  }

  round(): RoundSample {
    const { call, things = 1 } = this.operation
    const benchmark = new Benchmark('', () => sink(call()), { maxTime: ROUND_SECONDS, minSamples: 5, async: false })
    benchmark.run()
    if (benchmark.error !== undefined) throw benchmark.error
    return { operations: things, nanos: benchmark.stats.mean * 1e9 }
  }

  digest(): string {
    return ''
  }
}
