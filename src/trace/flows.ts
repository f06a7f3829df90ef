/**
 * The generator's engine: connections as small state machines, each with one event in the heap, its next packet.
 *
 * A TCP connection is SYN, SYN/ACK, ACK; then for each request its segments, an ACK for every second one, and the
 * response likewise; then the close. Of an HTTP stream, the first segment of a request says what is asked for. UDP and SCTP are requests and responses without more. Times are those of sending:
 * an answer comes half a round trip after what it answers, segments of a burst follow each other at 1 Gbit/s. Congestion
 * and loss are not modelled: what the dataplane does to a packet is the replay's part.
 *
 * Invariants: packets leave in order of time; a record's next event is later than its last.
 * Cost: a step in the heap and the draws for the next packet. Memory: 56 bytes for each live connection and returning client, and the heap.
 */

import { Random } from '../random.ts'
import { type Sampler, sampler, weighted } from './distributions.ts'
import { EventHeap } from './event-heap.ts'
import {
  addressCount,
  FLAG_ACK,
  FLAG_FIN,
  FLAG_PSH,
  FLAG_REPLY,
  FLAG_RST,
  FLAG_SYN,
  TICKS_PER_SECOND,
  UNKNOWN_BYTES,
} from './format.ts'
import type { StreamPlan, TrafficPlan } from './plan.ts'
import type { Close, Scenario } from './scenario.ts'
import { SourcePorts } from './source-ports.ts'
import type { TraceWriter } from './write.ts'

/** A full segment of 1,500 bytes at 1 Gbit/s takes 12 µs. */
const SEGMENT_TICKS = 120
/** MSS, window scale, SACK permitted: what a SYN carries beyond the 20 bytes of a TCP header. */
const SYN_OPTION_BYTES = 12
const IP_HEADER_BYTES = { v4: 20, v6: 40 } as const
/** TCP 20, UDP 8, SCTP 12 and the 16 of a DATA chunk. */
const TRANSPORT_HEADER_BYTES = { 6: 20, 17: 8, 132: 28 } as const
const UNLIMITED = 0xffff_ffff

/** What a record's next event is. */
const ARRIVAL = 0
const RETURN = 1
const SYN = 2
const SYN_ACK = 3
const HANDSHAKE_ACK = 4
const REQUEST = 5
const REQUEST_ACK = 6
const RESPONSE = 7
const RESPONSE_ACK = 8
const FIN = 9
const FIN_REPLY = 10
const LAST_ACK = 11
const RESET = 12
const RESET_REPLY = 13

interface StreamState {
  readonly plan: StreamPlan
  readonly clientsByDestination: readonly Uint32Array[]
  /** One sequence for who and where, one for when connections open, one for what happens in them. */
  readonly choices: Random
  readonly arrivals: Random
  readonly contents: Random
  /** What is asked for over HTTP has a sequence too, so that it changes nothing else. */
  readonly exchanges: Random
  readonly requests: Sampler
  readonly requestBytes: Sampler
  readonly responseBytes: Sampler
  readonly thinkTime: Sampler
  readonly serverTime: Sampler
  readonly rtt: Sampler
  readonly returnGap: Sampler | null
  readonly closes: readonly Close[]
  readonly chooseClose: Sampler
  opened: number
  /** Ticks with their fraction, so that rounding does not add up. */
  nextArrival: number
}

export class TrafficGenerator {
  /** Connections that could not be opened: their client had no free source port towards the destination. */
  withoutPort = 0
  connections = 0
  packets = 0
  /** Tick of the last event. */
  now = 0
  private readonly scenario: Scenario
  private readonly writer: TraceWriter
  private readonly streams: readonly StreamState[]
  private readonly ports: SourcePorts
  /** By destination: which of them share their clients' source ports. */
  private readonly portPool: Uint32Array
  private readonly heap: EventHeap = new EventHeap()
  private readonly lastOpening: number
  private readonly isTcp: Uint8Array
  private readonly headerBytes: Uint8Array

  // Records: connections, streams waiting for their next arrival, clients waiting to return. Grown together.
  private capacity = 1024
  private used = 0
  private readonly free: number[] = []
  private phase = new Uint8Array(this.capacity)
  private stream = new Uint16Array(this.capacity)
  private handle = new Int32Array(this.capacity)
  /** Address id; of a returning client its number in the stream. */
  private client = new Uint32Array(this.capacity)
  private destination = new Uint32Array(this.capacity)
  private port = new Uint16Array(this.capacity)
  /** Requests, or visits of a returning client, still to come. */
  private left = new Uint32Array(this.capacity)
  /** Bytes of the message under way. */
  private bytesLeft = new Float64Array(this.capacity)
  /** Segments of the message under way that wait for an ACK. */
  private unacknowledged = new Uint8Array(this.capacity)
  private halfRtt = new Uint32Array(this.capacity)
  /** HTTP: index + 1 of the request whose first segment is still to be sent; 0 for none. */
  private asking = new Uint32Array(this.capacity)
  /** HTTP: of the response to the request under way. */
  private answerBytes = new Float64Array(this.capacity)
  /** HTTP: by position among its stream's destinations, which requests there are. */
  private position = new Uint32Array(this.capacity)

  constructor(scenario: Scenario, plan: TrafficPlan, seed: number, writer: TraceWriter) {
    this.scenario = scenario
    this.writer = writer
    this.lastOpening = scenario.durationSeconds * TICKS_PER_SECOND
    const addresses = addressCount(plan.addresses)
    const v4 = plan.addresses.v4.length / 4
    this.ports = new SourcePorts(addresses, plan.destinations.length, new Random(seed, 'source ports'))
    // Where a name leads is not known yet, perhaps to another destination's address: then ports are the client's alone.
    const named = plan.destinations.some(({ to }) => to === 'name')
    this.portPool = Uint32Array.from(plan.destinations, ({ protocol }, i) =>
      named ? plan.destinations.findIndex((other) => other.protocol === protocol) : i,
    )
    this.isTcp = Uint8Array.from(plan.destinations, ({ protocol }) => (protocol === 6 ? 1 : 0))
    this.headerBytes = Uint8Array.from(
      plan.destinations,
      ({ address, protocol }) => IP_HEADER_BYTES[address < v4 ? 'v4' : 'v6'] + TRANSPORT_HEADER_BYTES[protocol],
    )
    this.streams = plan.streams.map((streamPlan, i) => {
      const { stream, clientAddresses } = streamPlan
      const random = (purpose: string) => new Random(seed, `stream ${i} ${purpose}`)
      return {
        plan: streamPlan,
        // The plan has refused destinations of a family that no client has.
        clientsByDestination: Array.from(
          streamPlan.destinations,
          (destination) => clientAddresses[plan.destinations[destination]!.address < v4 ? 'v4' : 'v6']!,
        ),
        choices: random('choices'),
        arrivals: random('arrivals'),
        contents: random('contents'),
        exchanges: random('exchanges'),
        requests: sampler(stream.requests),
        requestBytes: sampler(stream.requestBytes),
        responseBytes: sampler(stream.responseBytes),
        thinkTime: sampler(stream.thinkTime),
        serverTime: sampler(stream.serverTime),
        rtt: sampler(stream.rtt),
        returnGap: stream.returning === null ? null : sampler(stream.returning.gap),
        closes: stream.close.map(({ how }) => how),
        chooseClose: weighted(stream.close.map(({ weight }) => weight)),
        opened: 0,
        nextArrival: stream.startSeconds * TICKS_PER_SECOND,
      }
    })
    this.streams.forEach((state, i) => {
      if (state.plan.stream.arrivals.process === 'poisson') this.advanceArrival(state)
      const record = this.allocate(ARRIVAL, i)
      if (this.arrivesAgain(state)) this.heap.push(Math.round(state.nextArrival), record)
    })
  }

  /**
   * Write the next packets.
   *
   * @param events  how many steps to make at most
   * @returns false when the last packet has been written
   */
  run(events: number): boolean {
    const { heap } = this
    for (let i = 0; i < events && heap.size > 0; i++) {
      this.now = heap.topTime
      const next = this.step(heap.topId, this.now)
      if (next < 0) heap.pop()
      else heap.replaceTop(next)
    }
    return heap.size > 0
  }

  /** A record's event: what it sends now, and the tick of its next event, or -1 when it has none. */
  private step(record: number, now: number): number {
    const destination = this.destination[record]!
    const header = this.headerBytes[destination]!
    switch (this.phase[record]) {
      case ARRIVAL:
        return this.arrive(record, now)
      case RETURN:
        return this.comeBack(record, now)
      case SYN:
        this.send(record, now, FLAG_SYN, header + SYN_OPTION_BYTES)
        return this.goOn(record, SYN_ACK, now + this.halfRtt[record]!)
      case SYN_ACK:
        this.send(record, now, FLAG_SYN | FLAG_ACK | FLAG_REPLY, header + SYN_OPTION_BYTES)
        return this.goOn(record, HANDSHAKE_ACK, now + this.halfRtt[record]!)
      case HANDSHAKE_ACK:
        this.send(record, now, FLAG_ACK, header)
        return this.left[record] === 0 ? this.close(record, now) : this.request(record, now + SEGMENT_TICKS)
      case REQUEST:
        return this.sendRequest(record, now)
      case REQUEST_ACK:
        this.send(record, now, FLAG_ACK | FLAG_REPLY, header)
        this.unacknowledged[record] = 0
        return this.bytesLeft[record] === 0
          ? this.afterExchange(record, now)
          : this.goOn(record, REQUEST, now + SEGMENT_TICKS)
      case RESPONSE:
        return this.sendResponse(record, now)
      case RESPONSE_ACK:
        this.send(record, now, FLAG_ACK, header)
        this.unacknowledged[record] = 0
        return this.bytesLeft[record] === 0
          ? this.afterExchange(record, now)
          : this.goOn(record, RESPONSE, now + SEGMENT_TICKS)
      case FIN:
        this.send(record, now, FLAG_FIN | FLAG_ACK, header)
        return this.goOn(record, FIN_REPLY, now + this.halfRtt[record]!)
      case FIN_REPLY:
        this.send(record, now, FLAG_FIN | FLAG_ACK | FLAG_REPLY, header)
        return this.goOn(record, LAST_ACK, now + this.halfRtt[record]!)
      case LAST_ACK:
        this.send(record, now, FLAG_ACK, header)
        return this.finish(record)
      case RESET:
        this.send(record, now, FLAG_RST | FLAG_ACK, header)
        return this.finish(record)
      default:
        this.send(record, now, FLAG_RST | FLAG_ACK | FLAG_REPLY, header)
        return this.finish(record)
    }
  }

  private send(record: number, now: number, flags: number, length: number): void {
    this.writer.packet(this.handle[record]!, now, flags, length)
    this.packets++
  }

  private goOn(record: number, phase: number, tick: number): number {
    this.phase[record] = phase
    return tick
  }

  private arrive(record: number, now: number): number {
    const state = this.streams[this.stream[record]!]!
    if (this.connections >= this.scenario.connections) return -1
    // Returning clients arrive once each, in their order.
    const number = state.returnGap === null ? state.plan.chooseClient(state.choices) : state.opened
    state.opened++
    this.open(this.stream[record]!, number, now)
    if (state.returnGap !== null)
      this.scheduleReturn(this.stream[record]!, number, now, state.plan.stream.returning!.visits)
    this.advanceArrival(state)
    return this.arrivesAgain(state) ? Math.max(now + 1, Math.round(state.nextArrival)) : -1
  }

  private arrivesAgain(state: StreamState): boolean {
    const { connections } = state.plan.stream.arrivals
    if (state.returnGap !== null && state.opened >= state.plan.clients) return false
    // A stream that says how many connections it has, has them all.
    return connections === Number.POSITIVE_INFINITY ? state.nextArrival <= this.lastOpening : state.opened < connections
  }

  private advanceArrival(state: StreamState): void {
    const { process, perSecond } = state.plan.stream.arrivals
    const factor = process === 'constant' ? 1 : -Math.log(1 - state.arrivals.fraction())
    state.nextArrival += (factor * TICKS_PER_SECOND) / perSecond
  }

  /** A returning client's next connection; `visits` is how many it may make, the one just opened included. */
  private scheduleReturn(stream: number, client: number, now: number, visits: number): void {
    if (visits <= 1) return
    const state = this.streams[stream]!
    const gap = Math.round(state.returnGap!(state.arrivals) * TICKS_PER_SECOND)
    const next = now + Math.max(1, gap)
    if (next > this.lastOpening) return
    const record = this.allocate(RETURN, stream)
    this.client[record] = client
    this.left[record] = Math.min(visits - 1, UNLIMITED)
    this.heap.push(next, record)
  }

  private comeBack(record: number, now: number): number {
    const client = this.client[record]!
    const stream = this.stream[record]!
    const visits = this.left[record]!
    if (this.connections < this.scenario.connections) {
      this.open(stream, client, now)
      this.scheduleReturn(stream, client, now, visits === UNLIMITED ? Number.POSITIVE_INFINITY : visits)
    }
    this.free.push(record)
    return -1
  }

  /** Open a connection and send its first packet. */
  private open(stream: number, client: number, now: number): void {
    const state = this.streams[stream]!
    const position = state.plan.chooseDestination(state.choices)
    const destination = state.plan.destinations[position]!
    const address = state.clientsByDestination[position]![client]!
    const port = this.ports.take(address, this.portPool[destination]!)
    if (port === 0) {
      this.withoutPort++
      return
    }
    const record = this.allocate(SYN, stream)
    this.client[record] = address
    this.destination[record] = destination
    this.position[record] = position
    this.port[record] = port
    this.halfRtt[record] = Math.max(1, Math.round(state.rtt(state.contents) * (TICKS_PER_SECOND / 2)))
    this.left[record] = Math.min(Math.round(state.requests(state.contents)), UNLIMITED)
    const tcp = this.isTcp[destination] === 1
    if (!tcp) {
      this.left[record] = Math.max(1, this.left[record]!)
      this.request(record, now)
    }
    this.handle[record] = this.writer.defineConnection(address, destination, port)
    this.connections++
    const next = this.step(record, now)
    if (next >= 0) this.heap.push(next, record)
  }

  /** The next request begins at `tick`. */
  private request(record: number, tick: number): number {
    const state = this.streams[this.stream[record]!]!
    this.bytesLeft[record] = this.messageBytes(record, state.requestBytes(state.contents))
    this.unacknowledged[record] = 0
    const { http } = state.plan
    if (http !== null) {
      this.asking[record] = http.requests[this.position[record]!]![http.choose(state.exchanges)]! + 1
      // The row of the request tells the size of its answer, so that it is drawn before the answer's time.
      this.answerBytes[record] = Math.round(state.responseBytes(state.contents))
    }
    return this.goOn(record, REQUEST, tick)
  }

  private sendRequest(record: number, now: number): number {
    const requestBytes = this.bytesLeft[record]!
    this.sendSegment(record, now, 0)
    if (this.asking[record]! > 0) this.ask(record, requestBytes)
    const tcp = this.isTcp[this.destination[record]!] === 1
    if (this.bytesLeft[record]! > 0) {
      const acknowledge = tcp && this.unacknowledged[record] === 2
      return this.goOn(record, acknowledge ? REQUEST_ACK : REQUEST, now + SEGMENT_TICKS)
    }
    const state = this.streams[this.stream[record]!]!
    const bytes = state.plan.http === null ? Math.round(state.responseBytes(state.contents)) : this.answerBytes[record]!
    const arrives = now + this.halfRtt[record]!
    if (bytes === 0) return tcp ? this.goOn(record, REQUEST_ACK, arrives) : this.afterExchange(record, now)
    this.bytesLeft[record] = bytes
    this.unacknowledged[record] = 0
    return this.goOn(record, RESPONSE, arrives + this.ticks(state.serverTime, state))
  }

  /** The segment just sent begins a request. A size that the trace cannot hold is one that is not known. */
  private ask(record: number, requestBytes: number): void {
    this.writer.request(
      this.handle[record]!,
      this.asking[record]! - 1,
      Math.min(requestBytes, UNKNOWN_BYTES),
      Math.min(this.answerBytes[record]!, UNKNOWN_BYTES),
    )
    this.asking[record] = 0
  }

  private sendResponse(record: number, now: number): number {
    this.sendSegment(record, now, FLAG_REPLY)
    const tcp = this.isTcp[this.destination[record]!] === 1
    if (this.bytesLeft[record]! > 0) {
      const acknowledge = tcp && this.unacknowledged[record] === 2
      return this.goOn(record, acknowledge ? RESPONSE_ACK : RESPONSE, now + SEGMENT_TICKS)
    }
    return tcp ? this.goOn(record, RESPONSE_ACK, now + this.halfRtt[record]!) : this.afterExchange(record, now)
  }

  private sendSegment(record: number, now: number, direction: number): void {
    const destination = this.destination[record]!
    const left = this.bytesLeft[record]!
    const payload = Math.min(left, this.streams[this.stream[record]!]!.plan.stream.mss)
    this.bytesLeft[record] = left - payload
    this.unacknowledged[record]!++
    const flags = this.isTcp[destination] === 1 ? (payload === left ? FLAG_PSH | FLAG_ACK : FLAG_ACK) : 0
    this.send(record, now, flags | direction, this.headerBytes[destination]! + payload)
  }

  private afterExchange(record: number, now: number): number {
    this.left[record]!--
    if (this.left[record] === 0) return this.close(record, now)
    const state = this.streams[this.stream[record]!]!
    return this.request(record, now + Math.max(SEGMENT_TICKS, this.ticks(state.thinkTime, state)))
  }

  private close(record: number, now: number): number {
    const state = this.streams[this.stream[record]!]!
    if (this.isTcp[this.destination[record]!] === 0) return this.finish(record)
    switch (state.closes[state.chooseClose(state.contents)]!) {
      case 'fin':
        return this.goOn(record, FIN, now + SEGMENT_TICKS)
      case 'client-rst':
        return this.goOn(record, RESET, now + SEGMENT_TICKS)
      case 'rst':
        return this.goOn(record, RESET_REPLY, now + this.halfRtt[record]!)
      case 'none':
        return this.finish(record)
    }
  }

  private finish(record: number): number {
    this.writer.release(this.handle[record]!)
    this.ports.release(this.client[record]!, this.portPool[this.destination[record]!]!, this.port[record]!)
    this.free.push(record)
    return -1
  }

  /** A TCP message has a byte at least; a datagram may be empty. */
  private messageBytes(record: number, bytes: number): number {
    return Math.max(this.isTcp[this.destination[record]!]!, Math.round(bytes))
  }

  private ticks(sample: Sampler, state: StreamState): number {
    return Math.round(sample(state.contents) * TICKS_PER_SECOND)
  }

  private allocate(phase: number, stream: number): number {
    const record = this.free.pop() ?? this.used++
    if (record >= this.capacity) this.grow()
    this.phase[record] = phase
    this.stream[record] = stream
    return record
  }

  private grow(): void {
    this.capacity *= 2
    const larger = <T extends { set(from: T): void }>(type: new (length: number) => T, from: T): T => {
      const to = new type(this.capacity)
      to.set(from)
      return to
    }
    this.phase = larger(Uint8Array, this.phase)
    this.stream = larger(Uint16Array, this.stream)
    this.handle = larger(Int32Array, this.handle)
    this.client = larger(Uint32Array, this.client)
    this.destination = larger(Uint32Array, this.destination)
    this.port = larger(Uint16Array, this.port)
    this.left = larger(Uint32Array, this.left)
    this.bytesLeft = larger(Float64Array, this.bytesLeft)
    this.unacknowledged = larger(Uint8Array, this.unacknowledged)
    this.halfRtt = larger(Uint32Array, this.halfRtt)
    this.asking = larger(Uint32Array, this.asking)
    this.answerBytes = larger(Float64Array, this.answerBytes)
    this.position = larger(Uint32Array, this.position)
  }
}
