/**
 * Who has which number: the bridge between names and the core's dense indices.
 *
 * Numbers are handed out on first use and never change, so that rule sets compiled one after another for a changing
 * cluster agree on them, and state that refers to an endpoint still means that endpoint. A trace's addresses keep the
 * numbers that they have in its address table: they are taken in first.
 * Cost: one Map entry an address, with an integer key for IPv4; 1 million addresses take about 0.15 s.
 */
import type {
  AddressId,
  EndpointId,
  FrontendId,
  NodeId,
  Port,
  Protocol,
  ServicePortId,
} from '../../native-free-core/index.ts'
import { ipToBigInt, parseIpv4 } from '../k8s/ip.ts'

export interface FrontendName {
  /** Address id, or NODE_PORT_ADDRESS. */
  readonly address: AddressId
  readonly port: Port
  readonly protocol: Protocol
}

export interface ServicePortName {
  readonly namespace: string
  readonly service: string
  /** Port name, or the port number where it has none. */
  readonly port: string
  readonly family: 'IPv4' | 'IPv6'
}

export interface EndpointName {
  readonly servicePort: ServicePortId
  readonly address: AddressId
  readonly port: Port
}

type Words = [number, number, number, number]

export class Registry {
  readonly frontends: FrontendName[] = []
  readonly servicePorts: ServicePortName[] = []
  readonly endpoints: EndpointName[] = []
  /** Pods that are queues of their own: address id and workers. */
  readonly podQueues: { readonly address: AddressId; readonly workers: number }[] = []
  /** Node names by node index. */
  readonly nodes: string[] = []
  /** Four big-endian words an address, IPv4 mapped into IPv6. */
  private words: Int32Array = new Int32Array(256)
  private wordsOut: Int32Array = new Int32Array(0)
  private addresses = 0
  /** By signed integer: those need no box on the heap, unlike half of the unsigned ones. */
  private readonly v4 = new Map<number, number>()
  private readonly v6 = new Map<string, number>()
  private readonly nodeIds = new Map<string, number>()
  private readonly frontendIds = new Map<string, number>()
  private readonly servicePortIds = new Map<string, number>()
  private readonly stationIds = new Map<string, number>()
  private readonly endpointIds = new Map<string, number>()

  get addressCount(): number {
    return this.addresses
  }

  /** Take in a trace's address table: its ids become ours. Only for an empty registry. */
  preload(v4: Uint8Array, v6: Uint8Array): void {
    if (this.addresses !== 0) throw new Error('registry: addresses were given numbers before the trace')
    this.reserve((v4.length >> 2) + (v6.length >> 4))
    for (let i = 0; i < v4.length; i += 4) {
      const value = (v4[i]! << 24) | (v4[i + 1]! << 16) | (v4[i + 2]! << 8) | v4[i + 3]!
      this.v4.set(value, this.addV4(value))
    }
    const view = new DataView(v6.buffer, v6.byteOffset, v6.byteLength)
    for (let i = 0; i < v6.length; i += 16) {
      const parts = [0, 4, 8, 12].map((at) => view.getInt32(i + at)) as Words
      this.v6.set(parts.join(','), this.addWords(...parts))
    }
  }

  /** Id of a canonical address text; it gets one where it is new. */
  address(text: string): AddressId {
    const unsigned = parseIpv4(text)
    if (unsigned >= 0) {
      const value = unsigned | 0
      const known = this.v4.get(value)
      if (known !== undefined) return known
      const id = this.addV4(value)
      this.v4.set(value, id)
      return id
    }
    const bits = ipToBigInt(text)
    const parts = [96n, 64n, 32n, 0n].map((shift) => Number((bits >> shift) & 0xffffffffn) | 0) as Words
    const key = parts.join(',')
    const known = this.v6.get(key)
    if (known !== undefined) return known
    const id = this.addWords(...parts)
    this.v6.set(key, id)
    return id
  }

  /** The four words of every address, by id; the same array until there are more of them. */
  addressWords(): Int32Array {
    if (this.wordsOut.length !== this.addresses * 4) this.wordsOut = this.words.slice(0, this.addresses * 4)
    return this.wordsOut
  }

  isIpv4(id: AddressId): boolean {
    return this.words[id * 4] === 0 && this.words[id * 4 + 1] === 0 && this.words[id * 4 + 2] === 0xffff
  }

  /** The last word of an address: all of an IPv4 one, as a signed integer. */
  lowWord(id: AddressId): number {
    return this.words[id * 4 + 3]!
  }

  addressText(id: AddressId): string {
    const at = id * 4
    const { words } = this
    const low = words[at + 3]!
    if (this.isIpv4(id)) return `${low >>> 24}.${(low >>> 16) & 255}.${(low >>> 8) & 255}.${low & 255}`
    const groups: number[] = []
    for (let i = 0; i < 4; i++) groups.push((words[at + i]! >>> 16) & 0xffff, words[at + i]! & 0xffff)
    return formatIpv6(groups)
  }

  /** `10.0.0.1:80`, `[2001:db8::1]:80`. */
  addressPort(id: AddressId, port: Port): string {
    const text = this.addressText(id)
    return text.includes(':') ? `[${text}]:${port}` : `${text}:${port}`
  }

  node(name: string): NodeId {
    return intern(this.nodeIds, this.nodes, name, name)
  }

  frontend(address: AddressId, port: Port, protocol: Protocol): FrontendId {
    return intern(this.frontendIds, this.frontends, `${address} ${port} ${protocol}`, { address, port, protocol })
  }

  servicePort(name: ServicePortName): ServicePortId {
    const key = `${name.namespace}/${name.service}:${name.port} ${name.family}`
    return intern(this.servicePortIds, this.servicePorts, key, name)
  }

  endpoint(servicePort: ServicePortId, address: AddressId, port: Port): EndpointId {
    const key = `${servicePort} ${address} ${port}`
    return intern(this.endpointIds, this.endpoints, key, { servicePort, address, port })
  }

  /** Number of the pod at an address; its workers are those it had when first seen. */
  podQueue(address: AddressId, workers: number): number {
    return intern(this.stationIds, this.podQueues, String(address), { address, workers })
  }

  /** `namespace/name:port`. */
  servicePortText(id: ServicePortId): string {
    const { namespace, service, port } = this.servicePorts[id]!
    return `${namespace}/${service}:${port}`
  }

  endpointText(id: EndpointId): string {
    const { address, port } = this.endpoints[id]!
    return this.addressPort(address, port)
  }

  private addV4(value: number): number {
    return this.addWords(0, 0, 0xffff, value)
  }

  private addWords(a: number, b: number, c: number, d: number): number {
    this.reserve(this.addresses + 1)
    const { words } = this
    const at = this.addresses * 4
    words[at] = a
    words[at + 1] = b
    words[at + 2] = c
    words[at + 3] = d
    return this.addresses++
  }

  private reserve(addresses: number): void {
    if (addresses * 4 <= this.words.length) return
    const wider = new Int32Array(Math.max(addresses * 4, this.words.length * 2))
    wider.set(this.words)
    this.words = wider
  }
}

function intern<T>(ids: Map<string, number>, names: T[], key: string, name: T): number {
  const known = ids.get(key)
  if (known !== undefined) return known
  ids.set(key, names.length)
  names.push(name)
  return names.length - 1
}

/** RFC 5952: the longest run of two or more zero groups becomes `::`. */
function formatIpv6(groups: readonly number[]): string {
  let best = -1
  let bestLength = 1
  for (let i = 0; i < 8; i++) {
    let length = 0
    while (i + length < 8 && groups[i + length] === 0) length++
    if (length > bestLength) {
      best = i
      bestLength = length
    }
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':')
  return best < 0 ? text(groups) : `${text(groups.slice(0, best))}::${text(groups.slice(best + bestLength))}`
}
