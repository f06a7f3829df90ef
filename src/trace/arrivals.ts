/**
 * Over which time the connections of a trace begin: what a rate of connections is taken over.
 *
 * A trace goes on after its last connection has begun, until that one has ended. Divided by all of that time, the rate at
 * which clients came would depend on how long their connections last. Only the first and the last window in which
 * connections begin are read. Cost: two windows, a few milliseconds.
 */
import {
  CONNECTIONS_BLOCK,
  createConnectionColumns,
  createPacketColumns,
  PACKETS_BLOCK,
  TICKS_PER_SECOND,
} from './format.ts'
import type { TraceFile } from './read.ts'

/**
 * Seconds in which the connections of a trace begin: as many mean gaps between beginnings as there are connections, so that
 * connections over these seconds is the rate at which they came.
 *
 * @param trace  open
 * @returns      all of the trace's seconds where fewer than two connections begin, or all at once
 * Errors: those of reading a block.
 */
export function arrivalSeconds(trace: TraceFile): number {
  const { connections, durationTicks } = trace.totals
  const { kind, window } = trace.index
  const beginning = [...kind.keys()].filter((block) => kind[block] === CONNECTIONS_BLOCK).map((block) => window[block]!)
  const whole = Math.max(1, durationTicks) / TICKS_PER_SECOND
  if (connections < 2 || beginning.length === 0) return whole
  const first = beginningsIn(trace, beginning[0]!).least
  const last = beginningsIn(trace, beginning.at(-1)!).most
  if (!(last > first)) return whole
  return (((last - first) / TICKS_PER_SECOND) * connections) / (connections - 1)
}

/** Ticks at which the earliest and the latest connection of a window send their first packet. */
function beginningsIn(trace: TraceFile, wanted: number): { readonly least: number; readonly most: number } {
  const { kind, window, lane, count } = trace.index
  const connections = createConnectionColumns(trace.maxRows)
  const packets = createPacketColumns(trace.maxRows)
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  let begun = new Set<number>()
  let ofLane = -1
  for (let block = 0; block < count; block++) {
    if (window[block] !== wanted) continue
    if (kind[block] === CONNECTIONS_BLOCK) {
      const rows = trace.readConnections(block, connections)
      begun = new Set(connections.slot.subarray(0, rows))
      ofLane = lane[block]!
    } else if (kind[block] === PACKETS_BLOCK && lane[block] === ofLane) {
      const rows = trace.readPackets(block, packets)
      for (let row = 0; row < rows && begun.size > 0; row++) {
        if (!begun.delete(packets.slot[row]!)) continue
        const tick = packets.baseTick + packets.time[row]!
        least = Math.min(least, tick)
        most = Math.max(most, tick)
      }
    }
  }
  return { least, most }
}
