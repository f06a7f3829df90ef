/**
 * What a node in ipvs mode does with the first packet of a connection: kube-proxy's iptables rules, then the virtual server.
 *
 * A virtual server's address is on a dummy interface, so packets to it are delivered to INPUT, where ipvs takes them after the filter
 * table; those of the node itself are taken in OUTPUT, after nat and before filter. Marks of the nat table decide who is masqueraded.
 * Without a real server of some weight the client is refused. Source: linux net/netfilter/ipvs/ip_vs_core.c (hooks and priorities).
 */
import { ipToBigInt } from '../../k8s/ip.ts'
import type { Family } from '../node-rules.ts'
import { Follower, type Leaf, type Outcome, type Packet } from './follow.ts'
import { serverKey, type VirtualServer } from './ipvs-save.ts'
import type { Program } from './program.ts'

export class IpvsFollower {
  private readonly servers: ReadonlyMap<string, VirtualServer>
  private readonly rules: Follower | null
  private readonly addresses: ReadonlySet<string>

  constructor(servers: ReadonlyMap<string, VirtualServer>, program: Program | null, family: Family) {
    this.servers = servers
    this.rules = program === null ? null : new Follower(program)
    this.addresses = new Set(
      [...servers.values()].filter((server) => server.family === family).map(({ address }) => address),
    )
  }

  follow(asked: Packet): Outcome {
    const isBound = this.addresses.has(asked.destinationText)
    // What the node has on its dummy interface it reaches from that very address.
    const fromVip = asked.fromNode && isBound && !asked.destinationIsLocal
    const packet: Packet = {
      ...asked,
      ...(fromVip ? { source: asked.destination, sourceText: asked.destinationText } : {}),
      destinationIsLocal: asked.destinationIsLocal || isBound,
    }
    const server = this.servers.get(serverKey(packet.destinationText, packet.protocol, packet.port))
    if (this.rules === null) {
      return { leaves: this.balance(server, packet, 0), sources: new Set(), unknown: new Set() }
    }
    if (server === undefined) return this.rules.follow(packet)
    const before = this.rules.marks(
      packet,
      packet.fromNode
        ? [['output', 'nat']]
        : [
            ['prerouting', 'nat'],
            ['input', 'filter'],
          ],
    )
    const behind = packet.fromNode ? this.rules.marks(packet, [['output', 'filter']]) : null
    const refused = [...before.leaves, ...(behind?.leaves ?? [])].filter(
      ({ verdict }) => verdict === 'drop' || verdict === 'reject',
    )
    const leaves = refused.length > 0 ? refused : this.balance(server, packet, before.mark)
    return { leaves, sources: before.sources, unknown: new Set([...before.unknown, ...(behind?.unknown ?? [])]) }
  }

  private balance(server: VirtualServer | undefined, packet: Packet, mark: number): Leaf[] {
    const leaf = {
      with: 'port-unreachable',
      address: '',
      port: 0,
      masquerade: false,
      hairpin: true,
      remembers: [],
      list: '',
      seconds: 0,
      line: server?.line ?? 0,
    } as const
    if (server === undefined) return [{ ...leaf, verdict: 'none', weight: 1 }]
    const usable = server.servers.filter(({ weight }) => weight > 0)
    const total = usable.reduce((sum, { weight }) => sum + weight, 0)
    if (total === 0) return [{ ...leaf, verdict: 'reject', weight: 1 }]
    return usable.flatMap(({ address, port, weight }): Leaf[] => {
      const bits = ipToBigInt(address)
      const towards: Packet = { ...packet, destination: bits, destinationText: address, port }
      const masquerade = this.rules?.masquerades(mark, towards) ?? false
      const hairpin = this.rules?.masquerades(mark, { ...towards, source: bits, sourceText: address }) ?? false
      const remembers = [`${address} ${port}`]
      const own = { ...leaf, verdict: 'dnat', address, port, masquerade, hairpin, remembers } as const
      const kept = server.persistentSeconds
      return [
        { ...own, weight: weight / total },
        ...(kept > 0 ? [{ ...own, weight: 0, list: remembers[0]!, seconds: kept }] : []),
      ]
    })
  }
}
