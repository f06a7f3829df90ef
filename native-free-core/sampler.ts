/**
 * What happens at fixed virtual times, shard by shard: samples of what nodes hold, and sweeps of what has expired.
 *
 * A run has SAMPLES samples; sweeps come every `gcIntervalMs`. Both are due at the same moments in every shard, whatever packets
 * it has, so a node's sample is the sum over shards and does not depend on which worker ran them.
 * Cost: a sweep looks at every entry of the shard (bench: expiry-sweep), a sample at its counters.
 */

import type { Shard, Tick } from './kinds.ts'
import { TICKS_PER_MS } from './packet.ts'
import type { PairCounters } from './pair-counters.ts'
import { type PairSeries, type ResultLayout, SAMPLES } from './result.ts'
import { NO_RULES, type RuleColumns, SETTING_GC_INTERVAL_MS } from './rule-columns.ts'
import { ticksPerSample } from './series.ts'
import type { SlowPath } from './slow-path.ts'

/** Node × this + the other number is the key of a pair: endpoint and service port ids stay below it. */
const PAIR_KEY = 2 ** 32

export interface SamplerParts {
  readonly shards: number
  readonly nodes: number
  readonly slowPath: SlowPath
  readonly result: Float64Array
  readonly layout: ResultLayout
}

export class Sampler {
  /** By shard: the tick before which nothing is due. */
  readonly nextTick: Float64Array
  rules: RuleColumns = NO_RULES
  private readonly parts: SamplerParts
  private readonly nextSample: Int32Array
  private readonly nextSampleTick: Float64Array
  private readonly nextGcMs: Float64Array
  private readonly affinity: Int32Array
  private sampleTicks = 1
  private ports: PairLog
  private serviceEntries: PairLog

  constructor(parts: SamplerParts) {
    this.parts = parts
    this.nextTick = new Float64Array(parts.shards)
    this.nextSample = new Int32Array(parts.shards)
    this.nextSampleTick = new Float64Array(parts.shards)
    this.nextGcMs = new Float64Array(parts.shards)
    this.affinity = new Int32Array(parts.nodes)
    this.ports = new PairLog(parts.shards)
    this.serviceEntries = new PairLog(parts.shards)
  }

  /** A new run of so many ticks. */
  begin(rules: RuleColumns, durationTicks: number): void {
    this.rules = rules
    this.ports = new PairLog(this.parts.shards)
    this.serviceEntries = new PairLog(this.parts.shards)
    this.sampleTicks = ticksPerSample(durationTicks)
    this.nextSample.fill(0)
    this.nextSampleTick.fill(this.sampleTicks)
    this.nextGcMs.fill(rules.settings[SETTING_GC_INTERVAL_MS])
    for (let shard = 0; shard < this.parts.shards; shard++) this.plan(shard)
  }

  /** Samples and sweeps of a shard that are due at `tick` or before. */
  run(shard: Shard, tick: Tick): void {
    const { nextTick, nextGcMs, nextSample, nextSampleTick } = this
    const interval = this.rules.settings[SETTING_GC_INTERVAL_MS]
    while (nextTick[shard] <= tick) {
      const now = nextTick[shard]
      if (nextGcMs[shard] * TICKS_PER_MS <= now) {
        // A long silence needs one sweep, not one for each interval that passed in it.
        const dueMs = nextGcMs[shard]
        const lastDueMs = Math.min(tick, nextSampleTick[shard]) / TICKS_PER_MS
        const skipped = Math.max(0, Math.floor((lastDueMs - dueMs) / interval))
        const { conntrack, selector } = this.parts.slowPath
        conntrack.sweep(shard, dueMs + skipped * interval)
        selector.sweepConnections(shard, dueMs + skipped * interval)
        nextGcMs[shard] = dueMs + (skipped + 1) * interval
      }
      if (nextSampleTick[shard] <= now && nextSample[shard] < SAMPLES) this.sample(shard)
      this.plan(shard)
    }
  }

  /** The samples that are left, after a shard's last packet. */
  end(shard: Shard): void {
    if (this.nextSample[shard] < SAMPLES) this.run(shard, this.sampleTicks * SAMPLES)
  }

  /** Source ports in use by node and endpoint id. */
  portSeries(): PairSeries[] {
    return this.ports.series()
  }

  /** Conntrack entries by node and service port id + 1. */
  serviceEntrySeries(): PairSeries[] {
    return this.serviceEntries.series()
  }

  private plan(shard: Shard): void {
    this.nextTick[shard] = Math.min(this.nextSampleTick[shard], this.nextGcMs[shard] * TICKS_PER_MS)
  }

  private sample(shard: Shard): void {
    const { nodes, result, layout, slowPath } = this.parts
    const { conntrack } = slowPath
    const at = this.nextSample[shard]
    const nowMs = Math.floor(this.nextSampleTick[shard] / TICKS_PER_MS)
    this.affinity.fill(0)
    slowPath.selector.sweep(shard, nowMs, this.affinity)
    for (let node = 0; node < nodes; node++) {
      result[layout.conntrackSeries + at * nodes + node] += conntrack.table.counts[shard * nodes + node]
      result[layout.affinitySeries + at * nodes + node] += this.affinity[node]
    }
    this.ports.add(shard, conntrack.ports[shard], at)
    this.serviceEntries.add(shard, conntrack.serviceEntries[shard], at)
    this.nextSample[shard]++
    this.nextSampleTick[shard] = at + 1 < SAMPLES ? (at + 2) * this.sampleTicks : Number.MAX_SAFE_INTEGER
  }
}

/** Counts by pair over time, of all shards of an instance together. */
class PairLog {
  private readonly keys: number[] = []
  private readonly samples: Int32Array[] = []
  private readonly known = new Map<number, number>()
  /** By shard and counter: the pair's place in `samples`, + 1. A counter keeps its pair for the run. */
  private readonly columns: Int32Array[]

  constructor(shards: number) {
    this.columns = Array.from({ length: shards }, () => new Int32Array(0))
  }

  /** Adds what a shard's counters hold at a sample. */
  add(shard: Shard, counters: PairCounters, at: number): void {
    const { samples } = this
    const columns = this.columnsOf(shard, counters)
    for (let i = 0; i < counters.size; i++) {
      const count = counters.counts[i]
      if (count === 0) continue
      if (columns[i] === 0) columns[i] = this.columnOf(counters.first[i] * PAIR_KEY + counters.second[i]) + 1
      samples[columns[i] - 1][at] += count
    }
  }

  series(): PairSeries[] {
    return this.keys.map((key, place) => ({
      node: Math.floor(key / PAIR_KEY),
      other: key % PAIR_KEY,
      samples: this.samples[place],
    }))
  }

  private columnsOf(shard: Shard, counters: PairCounters): Int32Array {
    if (this.columns[shard].length < counters.size) {
      const wider = new Int32Array(counters.counts.length)
      wider.set(this.columns[shard])
      this.columns[shard] = wider
    }
    return this.columns[shard]
  }

  private columnOf(key: number): number {
    let place = this.known.get(key)
    if (place === undefined) {
      place = this.samples.length
      this.known.set(key, place)
      this.keys.push(key)
      this.samples.push(new Int32Array(SAMPLES))
    }
    return place
  }
}
