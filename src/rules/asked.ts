/** The frontends that a comparison asks about: the manifests', the dump's, and another port of addresses that refuse all others. */
import {
  FRONTEND_BALANCER_PROXY,
  NODE_PORT_ADDRESS,
  NODE_PORT_ADDRESS_IPV6,
  type RuleColumns,
} from '../../native-free-core/index.ts'
import type { Registry } from '../compile/registry.ts'
import { ipFamily } from '../k8s/ip.ts'
import { type Family, slots } from './node-rules.ts'
import { type DumpFrontend, frontendKey } from './read/inventory.ts'

export const PROTOCOL_NUMBERS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 }
const PROTOCOL_NAMES: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' }
/** No Service has it: what is said of a cluster IP's other ports. */
export const UNUSED_PORT = 9

/** A frontend of the manifests, or of the dump, or of both. */
export interface Asked {
  readonly address: string
  readonly protocol: string
  readonly port: number
  readonly dumped: DumpFrontend | null
}

/** Of one family, each once, in the order in which they are added. */
export class AskedFrontends {
  private readonly asked = new Map<string, Asked>()
  private readonly family: Family
  private readonly nodePortAddresses: readonly string[]

  /** @param nodePortAddresses  where a node port is asked for */
  constructor(family: Family, nodePortAddresses: readonly string[]) {
    this.family = family
    this.nodePortAddresses = nodePortAddresses
  }

  addCompiled(rules: RuleColumns, registry: Registry): void {
    const anyNode = this.family === 'IPv4' ? NODE_PORT_ADDRESS : NODE_PORT_ADDRESS_IPV6
    for (const slot of slots(rules)) {
      const protocol = PROTOCOL_NAMES[slot.protocol]
      if (protocol === undefined || rules.frontendKind[slot.frontend] === FRONTEND_BALANCER_PROXY) continue
      if (slot.address === anyNode) this.addNodePort(protocol, slot.port, null)
      if (slot.address < 0) continue
      const address = registry.addressText(slot.address)
      if (ipFamily(address) === this.family) this.add(address, protocol, slot.port, null)
    }
  }

  /** @param dumped  by family and `frontendKey` */
  addDumped(dumped: ReadonlyMap<string, DumpFrontend>): void {
    for (const [key, frontend] of dumped) {
      const { address, protocol, port } = frontend
      if (!key.startsWith(`${this.family} `) || PROTOCOL_NUMBERS[protocol] === undefined) continue
      if (address === '') this.addNodePort(protocol, port, frontend)
      else this.add(address, protocol, port, frontend)
    }
  }

  /** A port that is nobody's, at each of the addresses that is of this family. */
  addOtherPorts(addresses: Iterable<string>): void {
    for (const address of addresses) if (ipFamily(address) === this.family) this.add(address, 'tcp', UNUSED_PORT, null)
  }

  list(): Asked[] {
    return [...this.asked.values()]
  }

  private addNodePort(protocol: string, port: number, dumped: DumpFrontend | null): void {
    for (const address of this.nodePortAddresses) this.add(address, protocol, port, dumped)
  }

  private add(address: string, protocol: string, port: number, dumped: DumpFrontend | null): void {
    const key = frontendKey(address, protocol, port)
    const known = this.asked.get(key)
    if (known === undefined) this.asked.set(key, { address, protocol, port, dumped })
    else if (known.dumped === null && dumped !== null) this.asked.set(key, { ...known, dumped })
  }
}
