/**
 * When a trace's clients dial each name for the first time, by kind of resolv.conf: from then on replicas of CoreDNS have it cached.
 *
 * Cost: reads the blocks up to the last change of the cluster, or until every name has been dialled; a bit of memory a slot.
 */
import {
  CONNECTIONS_BLOCK,
  createConnectionColumns,
  createPacketColumns,
  PACKETS_BLOCK,
  TICKS_PER_SECOND,
} from '../trace/format.ts'
import type { TraceFile } from '../trace/read.ts'

/** Clients and destinations of a trace as names and resolv.confs; -1 for what is none. */
export interface Dialling {
  readonly names: number
  readonly resolvers: number
  nameOf(destination: number): number
  /** @param client  address id of the trace */
  resolverOf(client: number): number
}

/**
 * @param untilTick  nothing later is of interest
 * @returns          by name, then by resolv.conf: milliseconds, Infinity for never
 * Errors: those of reading a block.
 */
export function firstDials(trace: TraceFile, dialling: Dialling, untilTick: number): Float64Array {
  const { index } = trace
  const firstMs = new Float64Array(dialling.names * dialling.resolvers).fill(Number.POSITIVE_INFINITY)
  const connections = createConnectionColumns(trace.maxRows)
  const packets = createPacketColumns(trace.maxRows)
  // What a slot's connection dials, until its first packet.
  const dials = Array.from(trace.slotsPerLane, (slots) => new Int32Array(slots).fill(-1))
  let missing = firstMs.length
  for (let block = 0; block < index.count && missing > 0; block++) {
    const own = dials[index.lane[block]!]!
    if (index.kind[block] === CONNECTIONS_BLOCK) {
      const rows = trace.readConnections(block, connections)
      for (let row = 0; row < rows; row++) {
        const name = dialling.nameOf(connections.destination[row]!)
        const resolver = name < 0 ? -1 : dialling.resolverOf(connections.client[row]!)
        own[connections.slot[row]!] = resolver < 0 ? -1 : name * dialling.resolvers + resolver
      }
      continue
    }
    if (index.kind[block] !== PACKETS_BLOCK) continue
    if (index.baseTick[block]! > untilTick) break
    const rows = trace.readPackets(block, packets)
    for (let row = 0; row < rows; row++) {
      const slot = packets.slot[row]!
      const dial = own[slot]!
      if (dial < 0) continue
      own[slot] = -1
      const ms = Math.floor(((packets.baseTick + packets.time[row]!) * 1000) / TICKS_PER_SECOND)
      if (firstMs[dial] === Number.POSITIVE_INFINITY) missing--
      firstMs[dial] = Math.min(firstMs[dial]!, ms)
    }
  }
  return firstMs
}
