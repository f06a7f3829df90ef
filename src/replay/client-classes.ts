/**
 * Addresses that every rule of every proxy treats alike, so that a request is routed once for a class of clients.
 *
 * Two addresses are of one class where each list of allowed and denied clients says the same of both, and both are in the
 * cluster or both outside. Between the first address of a block and the one behind its last nothing changes but at other
 * blocks' ends, so those ends, and the lowest address of each family, stand for all there are.
 * Cost: lists × blocks once, lists for an address.
 */
import ipaddr from 'ipaddr.js'
import { allows, type SourceRanges } from '../ingress/source-ranges.ts'

export interface ClientClass {
  /** An address of it. */
  readonly address: string
  readonly isInside: boolean
}

export class ClientClasses {
  /** Never empty. The first is for where nothing depends on the client. */
  readonly list: readonly ClientClass[]
  private readonly lists: readonly SourceRanges[]
  private readonly inside: ReadonlySet<string>
  private readonly ids = new Map<string, number>()

  /** @param inside  addresses that tell a client in the cluster, empty where it makes no difference */
  constructor(lists: Iterable<SourceRanges>, inside: ReadonlySet<string>) {
    this.lists = [...new Set(lists)]
    this.inside = inside
    const found: ClientClass[] = []
    for (const isInside of inside.size > 0 ? [false, true] : [false]) {
      for (const address of this.lists.length > 0 ? ends(this.lists) : ['0.0.0.0']) {
        const key = this.key(address, isInside)
        if (this.ids.has(key)) continue
        this.ids.set(key, found.length)
        found.push({ address, isInside })
      }
    }
    this.list = found
  }

  /** Position in `list`. */
  of(address: string): number {
    const id = this.ids.get(this.key(address, this.inside.has(address)))
    if (id === undefined) throw new Error(`no class of clients holds ${address}`)
    return id
  }

  private key(address: string, isInside: boolean): string {
    return `${isInside ? 1 : 0}${this.lists.map((ranges) => (allows(ranges, address) ? 1 : 0)).join('')}`
  }
}

function ends(lists: readonly SourceRanges[]): Set<string> {
  const found = new Set(['0.0.0.0', '::'])
  for (const { allow, deny } of lists) {
    for (const [network, bits] of [...allow, ...deny]) {
      const bytes = network.toByteArray()
      const first = bytes.map((byte, i) => byte & (0xff << Math.max(0, 8 - Math.max(0, bits - i * 8))))
      found.add(ipaddr.fromByteArray(first.map((byte) => byte & 0xff)).toString())
      const behind = next(first, bits)
      if (behind !== null) found.add(ipaddr.fromByteArray(behind).toString())
    }
  }
  return found
}

/** The first address behind a block; null behind the last one there is. */
function next(first: readonly number[], bits: number): number[] | null {
  const bytes = first.map((byte) => byte & 0xff)
  let at = Math.ceil(bits / 8) - 1
  let carry = bits % 8 === 0 ? 1 : 1 << (8 - (bits % 8))
  for (; at >= 0; at--) {
    const sum = bytes[at]! + carry
    bytes[at] = sum & 0xff
    carry = sum >> 8
    if (carry === 0) return bytes
  }
  return null
}
