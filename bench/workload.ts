/**
 * Seeded traffic at a given live size, window by window, in the columns that the core reads.
 *
 * 96 % of the packets are data and ACKs of established connections, both directions alike, of connections picked uniformly
 * or by Zipf's law. The rest are whole openings (SYN, SYN/ACK, ACK) and closings (FIN, FIN, ACK; one in four a RST): a slot
 * that closes in one window takes over a new connection in the next, as in a trace. So the number of entries stays:
 * 97 % of the live size under way, and the rest closed ones that wait for the sweep.
 *
 * Virtual time runs at one packet a second and connection, so a sweep is due every two packets an entry whatever the size.
 * Half of the connections come from pods to a cluster IP, half from outside to a load-balancer address.
 * Invariants: a slot's packets are in order; packet times never go back; the same options give the same packets.
 * Cost: about 50 ns a packet, never timed.
 */
import {
  type ConnectionColumns,
  FLAG_REPLY,
  type PacketColumns,
  TCP_ACK,
  TCP_FIN,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
} from '../native-free-core/index.ts'
import { Random } from '../src/random.ts'
import { type Sampler, zipf } from '../src/trace/distributions.ts'
import type { Driver } from './driver.ts'
import { SERVICES, type World } from './world.ts'

export type Skew = 'uniform' | 'zipf'

export const ZIPF_EXPONENT = 1.1
export const TICKS_PER_SECOND = 10_000_000
const SEED = 20_240_601
/** Of 2^32: the part of the packets that belongs to openings and closings. */
const CHURN = 0.04 * 2 ** 32
const RESET_CLOSES = 0.25
/** Openings and closings under way at once in a window, so that their packets mix. */
const SCRIPTS = 32

const FREE = 0
const DEFINED = 1
const OPEN = 2
const CLOSING = 3

const HANDSHAKE = [TCP_SYN, FLAG_REPLY | TCP_SYN | TCP_ACK, TCP_ACK]
const CLOSE = [TCP_FIN | TCP_ACK, FLAG_REPLY | TCP_FIN | TCP_ACK, TCP_ACK]
const RESET = [TCP_RST]
const CONTROL_BYTES = 52
const DATA_BYTES = [52, 52, 576, 1500]
const PORT_FIRST = 1024
const PORTS = 65536 - PORT_FIRST

/** What `next` and `populate` have put into the columns, from row 0 on. */
export interface Window {
  /** Connections to be defined before the packets. */
  definitions: number
  packets: number
  baseTick: number
}

interface Script {
  slot: number
  step: number
  flags: readonly number[]
}

export class Workload {
  /** Connections under way; the slots are 0 to this - 1. */
  readonly connections: number
  /** Packets of a window, and the most rows of either column. */
  readonly windowPackets: number
  private readonly world: World
  private readonly random: Random
  private readonly rank: Sampler
  private readonly rankStep: number
  private readonly status: Uint8Array
  private readonly nextPort: Uint16Array
  private readonly ticksPerPacket: number
  private readonly scripts: Script[] = []
  private readonly window: Window = { definitions: 0, packets: 0, baseTick: 0 }
  private freed: number[] = []
  private waiting: number[] = []
  private populated = 0
  private packetsMade = 0

  /** @param live  conntrack entries that there shall be on one node */
  constructor(world: World, live: number, skew: Skew) {
    this.world = world
    this.connections = Math.floor(live * 0.97)
    this.windowPackets = Math.max(4096, Math.min(65_536, live))
    this.random = new Random(SEED, `${live} ${skew}`)
    this.rank = zipf(this.connections, skew === 'zipf' ? ZIPF_EXPONENT : 0)
    // Neighbouring ranks must not share a page: a step without a common divisor scatters them over the slots.
    this.rankStep = coprime(Math.floor(this.connections * 0.618), this.connections)
    this.status = new Uint8Array(this.connections)
    this.nextPort = new Uint16Array(world.clientsInside.length + world.clientsOutside.length)
    this.ticksPerPacket = TICKS_PER_SECOND / this.connections
  }

  /** The next window of the openings of all connections, or null when all are open. */
  populate(packets: PacketColumns, connections: ConnectionColumns): Window | null {
    const { window } = this
    const from = this.populated
    if (from === this.connections) return null
    const to = Math.min(this.connections, from + Math.floor(this.windowPackets / HANDSHAKE.length))
    this.begin()
    for (let slot = from; slot < to; slot++) this.defineSlot(slot, connections)
    for (const flags of HANDSHAKE) {
      for (let slot = from; slot < to; slot++) this.emit(packets, slot, flags, CONTROL_BYTES)
    }
    this.status.fill(OPEN, from, to)
    this.populated = to
    return window
  }

  /** The next window of steady traffic. */
  next(packets: PacketColumns, connections: ConnectionColumns): Window {
    const { random, status, window } = this
    this.begin()
    for (const slot of this.freed) {
      this.defineSlot(slot, connections)
      status[slot] = DEFINED
      this.waiting.push(slot)
    }
    this.freed = []
    for (let i = 0; i < this.windowPackets; i++) {
      const word = random.next()
      if (word < CHURN) this.emitChurn(packets)
      else {
        const slot = this.pickOpen()
        const reply = (word & 1) === 0 ? 0 : FLAG_REPLY
        const length = DATA_BYTES[(word >>> 1) & 3]
        this.emit(packets, slot, reply | (length > CONTROL_BYTES ? TCP_PSH | TCP_ACK : TCP_ACK), length)
      }
    }
    return window
  }

  /** Begins a window by defining `count` connections from slot `first` on, which the steady traffic must not use. */
  define(first: number, count: number, connections: ConnectionColumns): Window {
    this.begin()
    for (let slot = first; slot < first + count; slot++) this.defineSlot(slot, connections)
    return this.window
  }

  /** Adds one packet of each of a run of slots to the window. */
  send(packets: PacketColumns, first: number, count: number, flags: number): void {
    for (let slot = first; slot < first + count; slot++) this.emit(packets, slot, flags, CONTROL_BYTES)
  }

  private begin(): void {
    this.window.definitions = 0
    this.window.packets = 0
    this.window.baseTick = Math.floor(this.packetsMade * this.ticksPerPacket)
  }

  private emit(packets: PacketColumns, slot: number, flags: number, length: number): void {
    const row = this.window.packets++
    packets.time[row] = Math.floor(this.packetsMade++ * this.ticksPerPacket) - this.window.baseTick
    packets.slot[row] = slot
    packets.flags[row] = flags
    packets.length[row] = length
  }

  private defineSlot(slot: number, connections: ConnectionColumns): void {
    const { random, world } = this
    const row = this.window.definitions++
    const word = random.next()
    const service = word % SERVICES
    const outside = (word & 0x8000_0000) !== 0
    const clients = outside ? world.clientsOutside : world.clientsInside
    const i = random.below(clients.length)
    const counter = outside ? world.clientsInside.length + i : i
    const port = this.nextPort[counter]
    this.nextPort[counter] = (port + 1) % PORTS
    connections.slot[row] = slot
    connections.client[row] = clients[i]
    connections.destination[row] = outside ? SERVICES + service : service
    connections.sourcePort[row] = PORT_FIRST + port
  }

  /** One packet of an opening or closing under way. */
  private emitChurn(packets: PacketColumns): void {
    const { random, scripts, status } = this
    if (scripts.length < SCRIPTS) scripts.push(this.startScript())
    const at = random.below(scripts.length)
    const script = scripts[at]
    this.emit(packets, script.slot, script.flags[script.step++], CONTROL_BYTES)
    if (script.step < script.flags.length) return
    scripts[at] = scripts[scripts.length - 1]
    scripts.pop()
    if (status[script.slot] === CLOSING) {
      status[script.slot] = FREE
      this.freed.push(script.slot)
    } else {
      status[script.slot] = OPEN
    }
  }

  private startScript(): Script {
    const slot = this.waiting.pop()
    if (slot !== undefined) return { slot, step: 0, flags: HANDSHAKE }
    let closing = this.random.below(this.connections)
    while (this.status[closing] !== OPEN) closing = (closing + 1) % this.connections
    this.status[closing] = CLOSING
    return { slot: closing, step: 0, flags: this.random.fraction() < RESET_CLOSES ? RESET : CLOSE }
  }

  /** An open connection by popularity; one that is closing or opening hands on to its neighbour. */
  private pickOpen(): number {
    let slot = (this.rank(this.random) * this.rankStep) % this.connections
    while (this.status[slot] !== OPEN) slot = (slot + 1) % this.connections
    return slot
  }
}

/** Opens all connections of a workload: the state in which measuring begins. */
export function populate(workload: Workload, driver: Driver): void {
  for (;;) {
    const window = workload.populate(driver.packets, driver.connections)
    if (window === null) return
    driver.run(window)
  }
}

function coprime(near: number, count: number): number {
  const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b))
  let step = Math.max(1, near)
  while (divisor(step, count) !== 1) step++
  return step
}
