/** A run's counters as one line of text: equal lines mean that every packet met the same decision. */
import {
  HISTOGRAM_LENGTH,
  REASON_COUNT,
  type ResultLayout,
  TOTAL_ACCEPTED_BYTES,
  TOTAL_ACCEPTED_PACKETS,
  TOTAL_CLIENT_IP_KEPT,
  TOTAL_ESTABLISHED,
  TOTAL_FAILED,
  TOTAL_MASQUERADED,
  TOTAL_NOT_SENT,
  TOTAL_OFFERED_PACKETS,
} from '../native-free-core/index.ts'

/** Totals by name, losses by reason, and a hash over the latency histogram and one over every endpoint's counters. */
export function resultDigest(layout: ResultLayout, result: Float64Array): string {
  const total = (word: number): number => result[layout.totals + word]
  const histogram = result.subarray(layout.packetHistogram, layout.packetHistogram + HISTOGRAM_LENGTH)
  const reasons = result.subarray(layout.reasons, layout.reasons + REASON_COUNT)
  return [
    `offered ${total(TOTAL_OFFERED_PACKETS)}`,
    `accepted ${total(TOTAL_ACCEPTED_PACKETS)}`,
    `bytes ${total(TOTAL_ACCEPTED_BYTES)}`,
    `established ${total(TOTAL_ESTABLISHED)}`,
    `failed ${total(TOTAL_FAILED)}`,
    `masqueraded ${total(TOTAL_MASQUERADED)}`,
    `kept ${total(TOTAL_CLIENT_IP_KEPT)}`,
    `unsent ${total(TOTAL_NOT_SENT)}`,
    `losses ${reasons.reduce((sum, count) => sum + count, 0)}`,
    `latency ${hashOf(histogram)}`,
    `endpoints ${hashOf(result.subarray(layout.endpoints))}`,
  ].join(', ')
}

function hashOf(values: Float64Array): string {
  const words = new Int32Array(values.slice().buffer)
  let hash = 0x811c9dc5
  for (let i = 0; i < words.length; i++) hash = Math.imul(hash ^ words[i], 0x01000193)
  return (hash >>> 0).toString(16).padStart(8, '0')
}
