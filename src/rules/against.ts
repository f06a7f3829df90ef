/**
 * A node's rules beside what its manifests say: both asked about the same packets, and where they answer differently.
 *
 * Asked is `decide` on the compiled columns on one side and the follower of the dump on the other, for every frontend of either and for
 * sources of every kind: outside, pods, the node, other nodes, and the two sides of each border of a source block that either compares
 * with. Endpoints, their shares, affinity, masquerading and refusals are compared, not text, so a chain may have any name and shape.
 * Cost: a few packets a frontend, each as many rules as it meets; a Service with n endpoints takes n of them a packet.
 */
import {
  ACTION_ACCEPT,
  ACTION_DNAT,
  ACTION_DROP,
  ACTION_NAMES,
  ACTION_NONE,
  ACTION_REJECT,
  ADDRESS_CLUSTER_IP,
  ADDRESS_EXTERNAL_FRONTEND,
  ADDRESS_LOOPBACK,
  ADDRESS_NODE,
  ADDRESS_POD,
  createDecision,
  type Decision,
  decide,
  dialsFromItsAddress,
  FRONTEND_BALANCER_PROXY,
  FRONTEND_HEALTH_CHECK,
  FRONTEND_NAMES,
  findFrontend,
  type RuleColumns,
} from '../../native-free-core/index.ts'
import { type Compiled, compileRules } from '../compile/compile.ts'
import type { ProxyMode } from '../compile/kube-proxy.ts'
import { DEFAULT_MODEL } from '../compile/model.ts'
import { Registry } from '../compile/registry.ts'
import { UserError, type Warning } from '../errors.ts'
import type { Cluster, ClusterNode } from '../k8s/cluster.ts'
import { canonicalIp, ipFamily, ipFromBigInt, ipToBigInt, parseCidr } from '../k8s/ip.ts'
import type { KubeProxyConfiguration } from '../k8s/types.ts'
import { type Asked, AskedFrontends, PROTOCOL_NUMBERS, UNUSED_PORT } from './asked.ts'
import { borders, rangesOf } from './borders.ts'
import { compareAnswers, type Difference, gather, type Raw, type SourceKind } from './differences.ts'
import { type Family, joinPort } from './node-rules.ts'
import type { Dump } from './read/dump.ts'
import { Follower, type Packet } from './read/follow.ts'
import {
  type DumpFrontend,
  foreignChains,
  frontendKey,
  frontendsOf,
  missingHooks,
  settingsOf,
  showsDetector,
  sourceBlocks,
  wholeAddresses,
} from './read/inventory.ts'
import { IpvsFollower } from './read/ipvs-follow.ts'
import { type Interval, placeOf } from './read/program.ts'

export interface Comparison {
  readonly node: string
  readonly mode: ProxyMode
  readonly files: readonly string[]
  /** Settings of kube-proxy that the manifests do not say and that were taken from the dump; null where they say. */
  readonly taken: Partial<KubeProxyConfiguration> | null
  readonly frontends: number
  readonly packets: number
  readonly differences: readonly Difference[]
  /** Chains of other software at the same hooks. */
  readonly passedOver: readonly string[]
  /** What this dump cannot tell. */
  readonly notCompared: readonly string[]
  readonly warnings: readonly Warning[]
}

/** A client outside of everything: the first of these that is in no block. Documentation and benchmarking networks. */
const OUTSIDERS: Readonly<Record<Family, readonly string[]>> = {
  IPv4: ['198.51.100.77', '203.0.113.77', '192.0.2.77', '198.18.77.77', '8.8.8.8', '100.64.77.77'],
  IPv6: ['2001:db8:77::77', '2001:db8:ffff::77', '2600:77::77'],
}
/** A frontend with the number that decide gave it, and its service port's; -1 where the manifests have none there. */
type Decided = Asked & { readonly servicePort: number; readonly frontend: number }

/** What was heard of one frontend while its sources were asked. */
interface Heard {
  asked: Decided
  readonly raws: Raw[]
  /** The dump does something with a packet of some source. */
  isFound: boolean
  /** The manifests do. */
  isExpected: boolean
  /** The load balancer ends connections itself: nothing of them comes to the rules. */
  isProxied: boolean
}

interface Source {
  readonly text: string
  readonly bits: bigint
  readonly id: number
  readonly kind: SourceKind
}

/** @throws UserError  for a node that the manifests do not have, and dumps that cannot be followed */
export function compareDump(cluster: Cluster, dump: Dump, nodeName: string): Comparison {
  const node = cluster.nodes.find(({ name }) => name === nodeName)
  if (node === undefined) {
    throw new UserError('E_NODE', `there is no node "${nodeName}"`, {
      hint: `the manifests have ${cluster.nodes.map(({ name }) => name).join(', ')}`,
      exitCode: 2,
    })
  }
  return new Judge(cluster, dump, node).run()
}

class Judge {
  private readonly cluster: Cluster
  private readonly dump: Dump
  private readonly node: ClusterNode
  private readonly registry = new Registry()
  private readonly taken: Partial<KubeProxyConfiguration> | null
  private readonly blocks: Interval[] = []
  private readonly raws: Raw[] = []
  private readonly unknown = new Set<string>()
  private readonly out = createDecision()
  private compiled!: Compiled
  private packets = 0
  /** By service port and address. */
  private endpointIds: Map<string, number> | null = null

  constructor(cluster: Cluster, dump: Dump, node: ClusterNode) {
    this.dump = dump
    this.node = node
    const told = cluster.kubeProxy
    this.taken = told === null && showsDetector(dump) ? settingsOf(dump) : null
    this.cluster =
      this.taken === null
        ? cluster
        : {
            ...cluster,
            kubeProxy: {
              apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
              kind: 'KubeProxyConfiguration',
              metadata: { name: 'kube-proxy' },
              origin: { file: dump.files.join(', '), document: 1, item: -1 },
              ...this.taken,
            },
          }
  }

  run(): Comparison {
    const dumped = new Map<string, DumpFrontend>()
    const whole = new Set<string>()
    for (const program of this.dump.programs.values()) {
      for (const [key, frontend] of frontendsOf(program)) dumped.set(`${program.family} ${key}`, frontend)
      for (const text of wholeAddresses(program)) {
        const address = canonicalIp(text)
        if (address !== null) whole.add(address)
      }
      this.blocks.push(...sourceBlocks(program))
    }
    for (const server of this.dump.servers?.values() ?? []) {
      const where = `${this.dump.files.join(', ')}, line ${server.line}`
      const { address, protocol, port } = server
      dumped.set(`${server.family} ${frontendKey(address, protocol, port)}`, {
        address,
        protocol,
        port,
        service: '',
        where,
      })
    }
    this.register(dumped, whole)
    this.compiled = compileRules(this.cluster, this.registry, {
      policy: null,
      mode: this.dump.mode,
      model: DEFAULT_MODEL,
      destinations: [],
      clientMap: new Int32Array(0),
      gcIntervalMs: 60_000,
    })
    const notCompared: string[] = []
    let frontends = 0
    for (const family of ['IPv4', 'IPv6'] as const) {
      const asked = this.frontends(family, dumped, whole)
      if (asked.length === 0) continue
      const follower = this.followerOf(family)
      if (follower === null) {
        const hasServices = this.compiled.services.some((one) => one.family === family)
        if (hasServices) notCompared.push(`${family}: the dump has nothing of it`)
        continue
      }
      notCompared.push(...this.limits(family))
      frontends += asked.length
      const sources = this.sourcesOf(family)
      for (const one of asked) this.compare(family, one, sources, follower)
      const program = this.dump.programs.get(family)
      if (program !== undefined) {
        for (const text of missingHooks(program, this.dump.mode === 'ipvs')) {
          this.raws.push({
            ...NO_FRONTEND,
            kind: 'hook',
            text: `${family}: ${text}`,
            source: null,
            where: program.file,
          })
        }
      }
    }
    const written = this.cluster.kubeProxy?.mode ?? ''
    if (this.taken === null && written !== '' && written !== this.dump.mode) {
      const text = `the manifests say mode ${written}, the node has rules of ${this.dump.mode}`
      this.raws.push({ ...NO_FRONTEND, kind: 'mode', text, source: null, where: '' })
    }
    for (const mode of this.dump.leftovers) {
      const text = `rules of ${mode} mode are there too: an earlier kube-proxy's, which still match packets`
      this.raws.push({ ...NO_FRONTEND, kind: 'mode', text, source: null, where: '' })
    }
    return {
      node: this.node.name,
      mode: this.dump.mode,
      files: this.dump.files,
      taken: this.taken,
      frontends,
      packets: this.packets,
      differences: gather(this.raws),
      passedOver: [...new Set([...this.dump.programs.values()].flatMap(foreignChains))],
      notCompared,
      warnings: [
        ...this.otherNode(),
        ...this.compiled.warnings,
        ...[...this.unknown].map((text) => {
          const [where = '', message = ''] = text.split(/: (.*)/s)
          return { code: 'W_DUMP_RULE', where, message: `not understood, taken for one that never matches: ${message}` }
        }),
      ],
    }
  }

  /** Node ports at another node's addresses and at none of this one's: most likely that one's dump. */
  private otherNode(): Warning[] {
    const served = new Set<string>()
    for (const program of this.dump.programs.values()) {
      for (const address of program.sets.get('nodeport-ips')?.members ?? []) served.add(address)
    }
    for (const { address } of this.dump.servers?.values() ?? []) served.add(address)
    if (this.node.addresses.some((address) => served.has(address))) return []
    const other = this.cluster.nodes.find(({ addresses }) => addresses.some((address) => served.has(address)))
    if (other === undefined) return []
    const address = other.addresses.find((one) => served.has(one))
    return [
      {
        code: 'W_OTHER_NODE',
        where: this.dump.files.join(', '),
        message: `node ports are served at ${address}, which is an address of node ${other.name} and not of ${this.node.name}: is it the dump of that node?`,
      },
    ]
  }

  private followerOf(family: Family): Follower | IpvsFollower | null {
    const program = this.dump.programs.get(family)
    if (this.dump.servers !== null) return new IpvsFollower(this.dump.servers, program ?? null, family)
    return program === undefined ? null : new Follower(program)
  }

  private limits(family: Family): string[] {
    if (this.dump.mode !== 'ipvs') return []
    const program = this.dump.programs.get(family)
    if (program === undefined)
      return [`${family}: masquerading, source ranges and refusals (they are in iptables-save and ipset save)`]
    return program.sets.size === 0 ? [`${family}: what the iptables rules look up in sets (ipset save)`] : []
  }

  /** Everything that will be asked about gets its number before the rules are compiled. */
  private register(dumped: ReadonlyMap<string, DumpFrontend>, whole: ReadonlySet<string>): void {
    const { cluster, registry } = this
    for (const { address } of dumped.values()) if (address !== '') registry.address(address)
    for (const address of whole) registry.address(address)
    for (const one of cluster.nodes) for (const address of one.addresses) registry.address(address)
    for (const pod of cluster.pods) for (const address of pod.addresses) registry.address(address)
    for (const text of ['127.0.0.1', '::1', ...OUTSIDERS.IPv4, ...OUTSIDERS.IPv6]) registry.address(text)
    const cidrs = [
      ...cluster.clusterCidrs,
      ...(cluster.kubeProxy?.clusterCIDR ?? '').split(','),
      ...cluster.nodes.flatMap(({ podCidrs }) => podCidrs),
      ...cluster.services.flatMap(({ sourceRanges }) => sourceRanges),
    ]
    for (const text of cidrs) {
      const cidr = parseCidr(text.trim())
      if (cidr !== null) this.blocks.push({ first: cidr.first, last: cidr.last })
    }
    for (const { loadBalancer } of cluster.services) {
      for (const { ip } of loadBalancer) {
        const address = canonicalIp(ip)
        if (address === null) continue
        const bits = ipToBigInt(address)
        this.blocks.push({ first: bits, last: bits })
      }
    }
    for (const family of this.families())
      for (const bits of borders(family, this.blocks)) registry.address(ipFromBigInt(bits, family))
  }

  private families(): Family[] {
    const all = new Set<Family>(this.dump.programs.keys())
    for (const { family } of this.dump.servers?.values() ?? []) all.add(family)
    return [...all]
  }

  private frontends(family: Family, dumped: ReadonlyMap<string, DumpFrontend>, whole: ReadonlySet<string>): Asked[] {
    const { mode } = this.dump
    const own = this.node.addresses.filter((address) => ipFamily(address) === family)
    const loopback = family === 'IPv4' && mode === 'iptables' ? ['127.0.0.1'] : []
    const asked = new AskedFrontends(family, [...own, ...loopback])
    asked.addCompiled(this.compiled.columns, this.registry)
    asked.addDumped(dumped)
    // What is said of the other ports of cluster IPs, and of addresses that look like one to the node.
    if (mode === 'nftables' || (mode === 'ipvs' && this.hasSets())) {
      const addresses = new Set(whole)
      for (const { service } of this.compiled.services) for (const ip of service.clusterIPs) addresses.add(ip)
      if (mode === 'ipvs') for (const { address } of asked.list()) if (!own.includes(address)) addresses.add(address)
      asked.addOtherPorts(addresses)
    }
    return asked.list()
  }

  private sourcesOf(family: Family): Source[] {
    const { registry, cluster } = this
    const rules = this.compiled.columns
    const texts = new Set<string>()
    const inBlock = (text: string): boolean => {
      const bits = ipToBigInt(text)
      return this.blocks.some(({ first, last }) => bits >= first && bits <= last && last - first < 1n << 24n)
    }
    texts.add(OUTSIDERS[family].find((text) => !inBlock(text)) ?? OUTSIDERS[family][0]!)
    for (const one of cluster.nodes) {
      if (one !== this.node && texts.size > 3) continue
      const own = one.addresses.filter((address) => ipFamily(address) === family)
      // ipvs mode bars the node by its primary address.
      for (const address of this.dump.mode === 'ipvs' ? own.slice(0, 1) : own) texts.add(address)
    }
    let ofNode = 0
    let ofOthers = 0
    for (const { nodeName, addresses, hostNetwork } of cluster.pods) {
      const address = hostNetwork ? undefined : addresses.find((one) => ipFamily(one) === family)
      if (address === undefined) continue
      if (nodeName === this.node.name ? ofNode++ < 1 : ofOthers++ < 1) texts.add(address)
    }
    return [...texts].map((text) => this.source(text, registry.address(text), rules))
  }

  private source(text: string, id: number, rules: RuleColumns): Source {
    const flags = rules.addressFlags[id] ?? 0
    const isOwn = this.node.addresses.includes(text) || (flags & ADDRESS_LOOPBACK) !== 0
    const kind: SourceKind = isOwn
      ? 'node'
      : (flags & ADDRESS_NODE) !== 0
        ? 'other node'
        : (flags & ADDRESS_POD) === 0
          ? 'address'
          : rules.addressNode[id] === this.registry.node(this.node.name)
            ? 'pod of the node'
            : 'pod of another node'
    return { text, bits: ipToBigInt(text), id, kind }
  }

  private compare(family: Family, asked: Asked, first: readonly Source[], follower: Follower | IpvsFollower): void {
    const { registry } = this
    const rules = this.compiled.columns
    const destination = registry.address(asked.address)
    const isLoopback = ((rules.addressFlags[destination] ?? 0) & ADDRESS_LOOPBACK) !== 0
    const seen = new Set<string>()
    const sources = isLoopback ? [this.source(asked.address, destination, rules)] : [...first]
    const heard: Heard = {
      asked: { ...asked, servicePort: -1, frontend: -1 },
      raws: [],
      isFound: false,
      isExpected: false,
      isProxied: false,
    }
    while (sources.length > 0) {
      const source = sources.pop()!
      if (seen.has(source.text)) continue
      seen.add(source.text)
      if (source.id >= rules.addressFlags.length || this.isBound(source)) continue
      const compared = this.ask(heard, source, destination, follower)
      if (isLoopback) continue
      for (const bits of borders(family, compared)) {
        const text = ipFromBigInt(bits, family)
        if (!seen.has(text)) sources.push(this.source(text, registry.address(text), rules))
      }
    }
    this.conclude(family, heard)
  }

  /**
   * One source, of both sides.
   *
   * @returns the source blocks that either compared it with
   */
  private ask(heard: Heard, source: Source, destination: number, follower: Follower | IpvsFollower): Set<Interval> {
    const { registry, out } = this
    const rules = this.compiled.columns
    const node = registry.node(this.node.name)
    const { protocol, port } = heard.asked
    // In ipvs mode a node reaches what is on its dummy interface from that very address.
    const number = PROTOCOL_NUMBERS[protocol]!
    const dialled = findFrontend(rules, destination, port, number)
    const from = dialsFromItsAddress(rules, node, source.id, destination, dialled) ? destination : source.id
    decide(rules, node, { source: from, destination, port, protocol: number }, out)
    const outcome = follower.follow(this.packetOf(heard.asked, source, destination))
    this.packets++
    for (const text of outcome.unknown) this.unknown.add(text)
    const compared = new Set<Interval>(outcome.sources)
    if (out.frontend >= 0) {
      heard.asked = { ...heard.asked, servicePort: out.servicePort, frontend: out.frontend }
      heard.isProxied ||= rules.frontendKind[out.frontend] === FRONTEND_BALANCER_PROXY
      if (out.ranges >= 0) for (const block of rangesOf(rules, out.frontend)) compared.add(block)
    }
    heard.isFound ||= outcome.leaves.some(({ verdict, weight }) => verdict !== 'none' && weight > 0)
    heard.isExpected ||= out.action !== ACTION_NONE
    heard.raws.push(...this.answers(heard.asked, source, out, outcome.leaves))
    return compared
  }

  private packetOf({ address, protocol, port }: Asked, source: Source, destination: number): Packet {
    const flags = this.compiled.columns.addressFlags[destination] ?? 0
    const fromNode = source.kind === 'node'
    return {
      source: source.bits,
      sourceText: source.text,
      destination: ipToBigInt(address),
      destinationText: address,
      protocol,
      port,
      fromNode,
      sourceIsLocal: fromNode,
      destinationIsLocal: this.node.addresses.includes(address) || (flags & ADDRESS_LOOPBACK) !== 0,
      interface: fromNode ? '' : source.kind === 'pod of the node' ? this.podInterface() : 'eth0',
    }
  }

  /** A frontend that only one side has is one difference; otherwise each answer that is not the same is. */
  private conclude(family: Family, { asked, raws, isFound, isExpected, isProxied }: Heard): void {
    if (raws.length === 0 || isProxied) return
    const where = asked.dumped?.where ?? ''
    const label = this.labelOf(asked)
    if (!isFound && isExpected && asked.frontend >= 0) {
      const text = 'the node has no rule for it'
      this.raws.push({ ...label, kind: 'frontend-missing', text, source: null, where: '' })
    } else if (asked.frontend < 0 && asked.port !== UNUSED_PORT) {
      const text = 'the node has rules for it, the manifests have no Service there'
      this.raws.push({ ...label, kind: 'frontend-stale', text, source: null, where })
    } else {
      const whereOf = (line: string): string => (line === '' ? where : this.lineWhere(family, Number(line)))
      this.raws.push(...raws.map((raw) => ({ ...raw, ...label, where: whereOf(raw.where) })))
    }
  }

  /** In ipvs mode Services' addresses are every node's own: nobody else sends from them, and the node does so by itself. */
  private isBound({ id }: Source): boolean {
    const flags = this.compiled.columns.addressFlags[id]!
    const isService = (flags & (ADDRESS_CLUSTER_IP | ADDRESS_EXTERNAL_FRONTEND)) !== 0
    return this.dump.mode === 'ipvs' && isService && (flags & ADDRESS_NODE) === 0
  }

  /** Of a rule, or of a virtual server. */
  private lineWhere(family: Family, line: number): string {
    const program = this.dump.servers === null ? this.dump.programs.get(family) : undefined
    return program === undefined ? `${this.dump.files.join(', ')}, line ${line}` : placeOf(program, line)
  }

  private answers(
    asked: Decided,
    source: Source,
    out: Decision,
    leaves: ReturnType<Follower['follow']>['leaves'],
  ): Raw[] {
    const rules = this.compiled.columns
    const { mode } = this.dump
    const isHealth = asked.frontend >= 0 && rules.frontendKind[asked.frontend] === FRONTEND_HEALTH_CHECK
    // A health check's port is let in by a rule of its own where there are iptables.
    const showsHealth = mode === 'iptables' || (mode === 'ipvs' && this.hasSets())
    const action = out.action === ACTION_ACCEPT && !(isHealth && showsHealth) ? ACTION_NONE : out.action
    const members = action === ACTION_DNAT ? [...rules.members.subarray(out.setStart, out.setStart + out.setCount)] : []
    const seconds = out.servicePort >= 0 ? rules.serviceAffinityMs[out.servicePort]! / 1000 : 0
    const usesIptables = mode !== 'ipvs' || this.hasSets()
    return compareAnswers(
      {
        action: ACTION_NAMES[action] as 'none' | 'accept' | 'dnat' | 'drop' | 'reject',
        endpoints: members.map((id) =>
          joinPort(this.registry.addressText(rules.endpointAddress[id]!), rules.endpointPort[id]!),
        ),
        masquerade: out.masquerade !== 0,
        affinitySeconds: action === ACTION_DNAT ? seconds : 0,
        byRanges: out.ranges >= 0 && (action === ACTION_DROP || action === ACTION_REJECT || out.ranges > 0),
      },
      leaves,
      { kind: source.kind, text: source.text },
      {
        comparesMasquerade: usesIptables,
        comparesRefusals: usesIptables,
        // In ipvs mode a set says who may meet itself: endpoints of this node.
        comparesHairpin: (endpoint) =>
          mode !== 'ipvs' || (this.hasSets() && this.isOfNode(asked.servicePort, endpoint)),
        whatOf: (endpoint) => this.whatOf(asked.servicePort, endpoint),
      },
    )
  }

  /** The dump shows what ipvs mode's iptables rules look into. */
  private hasSets(): boolean {
    return [...this.dump.programs.values()].some(({ sets }) => sets.size > 0)
  }

  private isOfNode(servicePort: number, endpoint: string): boolean {
    const id = this.endpointId(servicePort, endpoint)
    return id >= 0 && this.compiled.columns.endpointNode[id] === this.registry.node(this.node.name)
  }

  /** -1 for one that no EndpointSlice of the Service has. */
  private endpointId(servicePort: number, endpoint: string): number {
    const { registry } = this
    if (this.endpointIds === null) {
      this.endpointIds = new Map()
      for (const [id, one] of registry.endpoints.entries()) {
        const text = joinPort(registry.addressText(one.address), one.port)
        this.endpointIds.set(`${one.servicePort} ${text}`, id)
      }
    }
    return this.endpointIds.get(`${servicePort} ${endpoint}`) ?? -1
  }

  /** Why the manifests do not send packets to an endpoint that the node has. */
  private whatOf(servicePort: number, endpoint: string): string {
    const rules = this.compiled.columns
    const { registry } = this
    const id = this.endpointId(servicePort, endpoint)
    if (id >= 0) {
      const on = rules.endpointNode[id]!
      const whose = on < 0 ? 'of no node' : `on node ${registry.nodes[on]}`
      return `${whose}, not of those that this policy uses here`
    }
    return 'in no EndpointSlice of the Service, or not usable'
  }

  private podInterface(): string {
    const config = (this.cluster.kubeProxy ?? {}) as {
      readonly detectLocal?: { readonly bridgeInterface?: string; readonly interfaceNamePrefix?: string }
    }
    const { bridgeInterface, interfaceNamePrefix } = config.detectLocal ?? {}
    return interfaceNamePrefix !== undefined ? `${interfaceNamePrefix}0` : (bridgeInterface ?? 'cni0')
  }

  private labelOf({
    address,
    protocol,
    port,
    dumped,
    servicePort,
    frontend,
  }: Decided): Pick<Raw, 'service' | 'frontend' | 'what'> {
    const rules = this.compiled.columns
    const isOther = port === UNUSED_PORT && servicePort < 0
    return {
      service: servicePort >= 0 ? this.registry.servicePortText(servicePort) : (dumped?.service ?? ''),
      frontend: isOther ? `${address}, any other port` : `${joinPort(address, port)}/${protocol}`,
      what: frontend >= 0 ? FRONTEND_NAMES[rules.frontendKind[frontend]!]! : '',
    }
  }
}

const NO_FRONTEND = { service: '', frontend: '', what: '' } as const
