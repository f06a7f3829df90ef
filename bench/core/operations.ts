/**
 * The small rows: one operation of a core module, and the same on Maps and objects.
 *
 * Both of a pair walk the same seeded order of entries and return numbers that must be equal call by call (bench/check.ts).
 * Table rows hold `live` entries made by `tupleOf`; the order is random, so each call meets a cold line in a big table.
 */
import {
  AffinityTable,
  bucketOf,
  type ConntrackTable,
  createConntrackTable,
  createDecision,
  decide,
  ENTRY_EXPIRES,
  ENTRY_SHIFT,
  ENTRY_STATE,
  findPort,
  finish,
  HISTOGRAM_LENGTH,
  hashTuple,
  mix,
  openRules,
  pickUniform,
  record,
} from '../../native-free-core/index.ts'
import type { Operation } from '../calls.ts'
import { mapServices } from '../peers/map-dataplane.ts'
import { CLIENTS_OUTSIDE, createWorld, SERVICES } from '../world.ts'

export interface OperationPair {
  readonly core: (live: number) => Operation
  readonly map: (live: number) => Operation
}

const NODE_PROTOCOL = 6
/** Power of two, so that the walk is a mask. */
const ORDER = 1 << 16
const NOW_MS = 1000
const LIFE_MS = 60_000

interface Tuple {
  source: number
  destination: number
  ports: number
  replySource: number
  replyPorts: number
}

/** The tuple of entry i; distinct for every i. Reused from call to call. */
const tuple: Tuple = { source: 0, destination: 0, ports: 0, replySource: 0, replyPorts: 0 }

function tupleOf(i: number): Tuple {
  const port = 1024 + (i >>> 12)
  tuple.source = i & 4095
  tuple.destination = 10_000 + (i & 1023)
  tuple.ports = (port << 16) | 80
  tuple.replySource = 20_000 + (i & 8191)
  tuple.replyPorts = (8080 << 16) | port
  return tuple
}

function originalKey(one: Tuple): string {
  return `${one.source}:${one.ports >>> 16}>${one.destination}:${one.ports & 0xffff}/${NODE_PROTOCOL}`
}

function replyKey(one: Tuple): string {
  return `${one.replySource}:${one.replyPorts >>> 16}>${one.source}:${one.replyPorts & 0xffff}/${NODE_PROTOCOL}`
}

/** Indices below `count` in a random order that repeats. */
function orderOf(count: number): () => number {
  const order = Int32Array.from({ length: ORDER }, (_, i) => (finish(mix(1, i)) >>> 0) % count)
  let at = 0
  return () => {
    at = (at + 1) & (ORDER - 1)
    return order[at]
  }
}

function fullTable(live: number): ConntrackTable {
  const table = createConntrackTable(live + 64, 1, 1)
  for (let i = 0; i < live; i++) {
    const entry = insertTuple(table, i)
    table.entries[(entry << ENTRY_SHIFT) + ENTRY_STATE] = i & 15
    table.entries[(entry << ENTRY_SHIFT) + ENTRY_EXPIRES] = NOW_MS + LIFE_MS
  }
  return table
}

function insertTuple(table: ConntrackTable, i: number): number {
  const { source, destination, ports, replySource, replyPorts } = tupleOf(i)
  const hash = hashTuple(source, destination, ports, NODE_PROTOCOL)
  const replyHash = hashTuple(replySource, source, replyPorts, NODE_PROTOCOL)
  return table.insert(0, hash, source, destination, ports, NODE_PROTOCOL, replyHash, replySource, source, replyPorts)
}

interface PlainEntry {
  state: number
  expiresMs: number
}

function fullMap(live: number): Map<string, PlainEntry> {
  const map = new Map<string, PlainEntry>()
  for (let i = 0; i < live; i++) setTuple(map, i)
  return map
}

function setTuple(map: Map<string, PlainEntry>, i: number): void {
  const one = tupleOf(i)
  const entry = { state: i & 15, expiresMs: NOW_MS + LIFE_MS }
  map.set(originalKey(one), entry)
  map.set(replyKey(one), entry)
}

/** Looks entries up from `offset` on: 0 hits, `live` misses. @returns the state, or -1 */
function lookup(offset: (live: number) => number): OperationPair {
  return {
    core: (live) => {
      const table = fullTable(live)
      const next = orderOf(live)
      const from = offset(live)
      return {
        call: () => {
          const { source, destination, ports } = tupleOf(from + next())
          const hash = hashTuple(source, destination, ports, NODE_PROTOCOL)
          const ref = table.find(0, hash, source, destination, ports, NODE_PROTOCOL)
          return ref < 0 ? -1 : table.entries[((ref >> 1) << ENTRY_SHIFT) + ENTRY_STATE]
        },
      }
    },
    map: (live) => {
      const map = fullMap(live)
      const next = orderOf(live)
      const from = offset(live)
      return { call: () => map.get(originalKey(tupleOf(from + next())))?.state ?? -1 }
    },
  }
}

const insertRemove: OperationPair = {
  core: (live) => {
    const table = fullTable(live)
    const next = orderOf(live)
    return {
      call: () => {
        table.remove(insertTuple(table, live + next()))
        return table.size()
      },
    }
  },
  map: (live) => {
    const map = fullMap(live)
    const next = orderOf(live)
    return {
      call: () => {
        const i = live + next()
        setTuple(map, i)
        const one = tupleOf(i)
        map.delete(originalKey(one))
        map.delete(replyKey(one))
        return map.size / 2
      },
    }
  },
}

/** A sweep that finds nothing expired: what every sweep pays for every entry. */
const expirySweep: OperationPair = {
  core: (live) => {
    const table = fullTable(live)
    return {
      things: live,
      call: () => {
        let expired = 0
        table.forEachExpired(0, NOW_MS, () => {
          expired++
        })
        return expired
      },
    }
  },
  map: (live) => {
    const map = fullMap(live)
    return {
      things: live,
      call: () => {
        let expired = 0
        for (const entry of map.values()) if (entry.expiresMs <= NOW_MS) expired++
        return expired
      },
    }
  },
}

const AFFINITY_SERVICES = 128
const MEMBERS = Int32Array.from({ length: 8 }, (_, i) => i)

/** Client i of a service in turn is bound to endpoint i mod 8. */
function affinity(renews: boolean): OperationPair {
  return {
    core: (live) => {
      const table = new AffinityTable()
      for (let i = 0; i < live; i++) table.renew(i, i % AFFINITY_SERVICES, i & 7, NOW_MS + LIFE_MS)
      const next = orderOf(live)
      return {
        call: () => {
          const i = next()
          const found = table.find(i, i % AFFINITY_SERVICES, NOW_MS, MEMBERS, 0, MEMBERS.length)
          if (renews) table.renew(i, i % AFFINITY_SERVICES, found, NOW_MS + LIFE_MS)
          return found
        },
      }
    },
    map: (live) => {
      const map = new Map<string, { endpoint: number; expiresMs: number }>()
      const key = (i: number): string => `${i}@service-${i % AFFINITY_SERVICES}`
      for (let i = 0; i < live; i++) map.set(key(i), { endpoint: i & 7, expiresMs: NOW_MS + LIFE_MS })
      const next = orderOf(live)
      return {
        call: () => {
          const i = next()
          const bound = map.get(key(i))
          const found = bound !== undefined && bound.expiresMs >= NOW_MS ? bound.endpoint : -1
          if (renews) map.set(key(i), { endpoint: found, expiresMs: NOW_MS + LIFE_MS })
          return found
        },
      }
    },
  }
}

/** One backend of a node, a tenth of whose ports is taken. */
const PORTS_TAKEN_EVERY = 10
const BACKEND = 7
const EGRESS = 8
const replyPortsOf = (port: number): number => (8080 << 16) | port

const masqueradePort: OperationPair = {
  core: () => {
    const table = createConntrackTable(8192, 1, 1)
    for (let port = 1024; port < 65_536; port += PORTS_TAKEN_EVERY) {
      const hash = hashTuple(9, 10, port << 16, NODE_PROTOCOL)
      const ports = replyPortsOf(port)
      const replyHash = hashTuple(BACKEND, EGRESS, ports, NODE_PROTOCOL)
      table.insert(0, hash, 9, 10, port << 16, NODE_PROTOCOL, replyHash, BACKEND, EGRESS, ports)
    }
    const taken = (port: number): boolean => {
      const ports = replyPortsOf(port)
      return table.find(0, hashTuple(BACKEND, EGRESS, ports, NODE_PROTOCOL), BACKEND, EGRESS, ports, NODE_PROTOCOL) >= 0
    }
    const next = orderOf(1 << 30)
    return { call: () => findPort(40_000, next() << 2, false, 0, 1, taken) }
  },
  map: () => {
    const key = (port: number): string => `${BACKEND}:8080>${EGRESS}:${port}/${NODE_PROTOCOL}`
    const map = new Map<string, PlainEntry>()
    for (let port = 1024; port < 65_536; port += PORTS_TAKEN_EVERY) map.set(key(port), { state: 0, expiresMs: 0 })
    const taken = (port: number): boolean => map.has(key(port))
    const next = orderOf(1 << 30)
    return { call: () => findPort(40_000, next() << 2, false, 0, 1, taken) }
  },
}

/** Service lookup and choice of one of eight endpoints; returns the endpoint's address id. */
const endpointChoice: OperationPair = {
  core: () => {
    const world = createWorld()
    const rules = openRules(world.rules)
    const decision = createDecision()
    const packet = { source: 0, destination: 0, port: 0, protocol: 0 }
    const next = orderOf(1 << 30)
    return {
      call: () => {
        const word = next()
        const destination = world.destinations[SERVICES + (word % SERVICES)]
        const client = world.clientsOutside[word % CLIENTS_OUTSIDE]
        packet.source = client
        packet.destination = destination.address
        packet.port = destination.port
        packet.protocol = destination.protocol
        decide(rules, 0, packet, decision)
        return rules.endpointAddress[rules.members[decision.setStart + pickUniform(word << 2, decision.setCount)]]
      },
    }
  },
  map: () => {
    const world = createWorld()
    const services = mapServices(world)
    const addresses = world.destinations.slice(SERVICES).map(({ address }) => world.registry.addressText(address))
    const next = orderOf(1 << 30)
    return {
      call: () => {
        const word = next()
        const destination = world.destinations[SERVICES + (word % SERVICES)]
        const service = services.get(`${addresses[word % SERVICES]}:${destination.port}/${destination.protocol}`)
        if (service === undefined) return -1
        return service.endpoints[pickUniform(word << 2, service.endpoints.length)].addressId
      },
    }
  },
}

const LATENCIES = 1 << 20

const histogramRecord: OperationPair = {
  core: () => {
    const histogram = new Float64Array(HISTOGRAM_LENGTH)
    const next = orderOf(LATENCIES)
    return {
      call: () => {
        const nanos = next()
        record(histogram, nanos)
        return histogram[bucketOf(nanos)]
      },
    }
  },
  map: () => {
    const counts = new Map<number, number>()
    const next = orderOf(LATENCIES)
    return {
      call: () => {
        const bucket = bucketOf(next())
        const count = (counts.get(bucket) ?? 0) + 1
        counts.set(bucket, count)
        return count
      },
    }
  },
}

export const operations: Readonly<Record<string, OperationPair>> = {
  'lookup-hit': lookup(() => 0),
  'lookup-miss': lookup((live) => live),
  'insert-remove': insertRemove,
  'expiry-sweep': expirySweep,
  'affinity-hit': affinity(false),
  'affinity-renew': affinity(true),
  'masquerade-port': masqueradePort,
  'endpoint-choice': endpointChoice,
  'histogram-record': histogramRecord,
}
