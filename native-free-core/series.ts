/**
 * How a run's counters grew: a bin for each sample interval, told from the results at the ends of steps.
 *
 * A step never reaches over the end of a bin, so what a counter gained in it is the bin's, whatever shards the instance runs;
 * adding up the bins of all instances gives those of the run. Nothing is counted twice: the sums over the bins are the results.
 * Only latencies need a count of their own, since a difference would read all histograms at every step: `latencies` takes each
 * delivered packet once more, in buckets four times as wide (32 for each doubling: readings within 1.6 %).
 * Cost: one more increment a packet (bench: packet-step-queued), and a look at the followed counters a step.
 */

import { REASON_COUNT } from './drop-reasons.ts'
import { bucketMiddle, HISTOGRAM_BUCKETS } from './histogram.ts'
import {
  DNS_TYPES,
  ENDPOINT_CONNECTIONS,
  ENDPOINT_WORDS,
  INGRESS_WORDS,
  type ResultLayout,
  SAMPLES,
  TOTAL_COUNT,
} from './result.ts'

/** A latency's bucket in a bin is that of the histograms shifted right by so much. */
export const SERIES_SHIFT = 2
export const SERIES_BUCKETS: number = HISTOGRAM_BUCKETS >> SERIES_SHIFT
/** Questions by type: A, AAAA. */
const DNS_TYPE_COUNT = 2

/** Counters of a run over time, bin by bin: sums over instances. */
export interface SeriesCounts {
  /** `bin × layout.words + word`. */
  readonly counts: Float64Array
  /** Connections by followed endpoint: `bin × endpoints + place`. */
  readonly endpoints: Int32Array
  /** Delivered packets by latency: `bin × SERIES_BUCKETS + bucket`. */
  readonly latencies: Uint32Array
}

/** Places of a bin's counters in `SeriesCounts.counts`. */
export interface SeriesLayout {
  readonly totals: number
  readonly reasons: number
  readonly dnsTypes: number
  /** As in the results; none where no request goes through a proxy. */
  readonly ingress: number
  readonly routes: number
  readonly words: number
}

/** @param routes  of requests; with none there are no words of `ingress` either */
export function seriesLayout(routes: number): SeriesLayout {
  const totals = 0
  const reasons = totals + TOTAL_COUNT
  const dnsTypes = reasons + REASON_COUNT
  const ingress = dnsTypes + DNS_TYPE_COUNT
  const routesAt = ingress + (routes === 0 ? 0 : INGRESS_WORDS)
  return { totals, reasons, dnsTypes, ingress, routes: routesAt, words: routesAt + routes }
}

/** Ticks of a bin and of a sample interval: all but the last are of this length. */
export function ticksPerSample(durationTicks: number): number {
  return Math.max(1, Math.ceil(durationTicks / SAMPLES))
}

/** The middle of a latency's bucket, in nanoseconds. */
export function seriesBucketMiddle(bucket: number): number {
  const first = bucket << SERIES_SHIFT
  return (bucketMiddle(first) + bucketMiddle(first + (1 << SERIES_SHIFT) - 1)) / 2
}

export class Series {
  /** Of all bins; of one bin, which nobody reads, where no series is wanted. */
  readonly latencies: Uint32Array
  /** Where the bin's latencies begin. */
  latencyAt = 0
  private readonly result: Float64Array
  /** Places in the results that are followed, and what they held when they were last looked at. */
  private readonly places: Int32Array
  private readonly known: Float64Array
  private readonly counts: Float64Array
  private readonly endpointPlaces: Int32Array
  private readonly endpointsKnown: Float64Array
  private readonly endpoints: Int32Array
  private readonly bins: number
  private bin = 0
  private binTicks = 1

  /** @param endpoints  ids of the endpoints whose connections are followed; null: no series is wanted */
  constructor(result: Float64Array, layout: ResultLayout, endpoints: Int32Array | null) {
    this.result = result
    this.bins = endpoints === null ? 0 : SAMPLES
    this.places = endpoints === null ? new Int32Array(0) : followed(layout)
    this.known = new Float64Array(this.places.length)
    this.counts = new Float64Array(this.bins * this.places.length)
    this.endpointPlaces = (endpoints ?? new Int32Array(0)).map(
      (endpoint) => layout.endpoints + endpoint * ENDPOINT_WORDS + ENDPOINT_CONNECTIONS,
    )
    this.endpointsKnown = new Float64Array(this.endpointPlaces.length)
    this.endpoints = new Int32Array(this.bins * this.endpointPlaces.length)
    this.latencies = new Uint32Array(Math.max(1, this.bins) * SERIES_BUCKETS)
  }

  /** A new run, whose results are all 0. */
  begin(durationTicks: number): void {
    this.binTicks = ticksPerSample(durationTicks)
    this.bin = 0
    this.latencyAt = 0
    this.known.fill(0)
    this.counts.fill(0)
    this.endpointsKnown.fill(0)
    this.endpoints.fill(0)
    this.latencies.fill(0)
  }

  /** What is counted from now on is of the bin that a tick lies in. */
  beginStep(tick: number): void {
    if (this.bins === 0) return
    this.bin = Math.min(this.bins - 1, Math.floor(tick / this.binTicks))
    this.latencyAt = this.bin * SERIES_BUCKETS
  }

  /** Everything of the step is counted. */
  endStep(): void {
    if (this.bins === 0) return
    const { result, places, known, counts, endpointPlaces, endpointsKnown, endpoints } = this
    const at = this.bin * places.length
    for (let i = 0; i < places.length; i++) {
      const value = result[places[i]]
      counts[at + i] += value - known[i]
      known[i] = value
    }
    const endpointsAt = this.bin * endpointPlaces.length
    for (let i = 0; i < endpointPlaces.length; i++) {
      const value = result[endpointPlaces[i]]
      endpoints[endpointsAt + i] += value - endpointsKnown[i]
      endpointsKnown[i] = value
    }
  }

  /** A copy; null where none is wanted. */
  take(): SeriesCounts | null {
    if (this.bins === 0) return null
    return { counts: this.counts.slice(), endpoints: this.endpoints.slice(), latencies: this.latencies.slice() }
  }
}

/** Places in the results, in the order of `SeriesLayout`. */
function followed(layout: ResultLayout): Int32Array {
  const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i)
  const routes = layout.endpointRequests - layout.routes
  return Int32Array.from([
    ...range(layout.totals, TOTAL_COUNT),
    ...range(layout.reasons, REASON_COUNT),
    ...range(layout.dns + DNS_TYPES, DNS_TYPE_COUNT),
    ...range(layout.ingress, routes === 0 ? 0 : INGRESS_WORDS),
    ...range(layout.routes, routes),
  ])
}
