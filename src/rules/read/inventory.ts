/**
 * What a packet filter that was read is about: the addresses and ports it has rules for, the settings that show in it, and source blocks.
 *
 * Found by looking at every rule and element, reachable or not: a frontend that no packet reaches is compared, and then does nothing.
 */

import { canonicalIp, ipFromBigInt } from '../../k8s/ip.ts'
import type { KubeProxyConfiguration } from '../../k8s/types.ts'
import type { Dump } from './dump.ts'
import { isKubeProxys } from './follow.ts'
import { type Interval, type Program, placeOf, protocolText, type Rule, type Verdict } from './program.ts'

export interface DumpFrontend {
  /** '' for a node port. */
  readonly address: string
  readonly protocol: string
  readonly port: number
  /** Whom the rule's comment or chain names, `default/web:http`; '' where it names nobody. */
  readonly service: string
  /** `file, line 12`; without a line in JSON. */
  readonly where: string
}

export function frontendKey(address: string, protocol: string, port: number): string {
  return `${address} ${protocol} ${port}`
}

/** By `frontendKey`, the first rule for each. */
export function frontendsOf(program: Program): Map<string, DumpFrontend> {
  const found = new Map<string, DumpFrontend>()
  const add = (address: string, protocol: string, port: number, service: string, line: number): void => {
    const key = frontendKey(address, protocol, port)
    const known = found.get(key)
    if (known !== undefined && (known.service !== '' || service === '')) return
    const where = line > 0 ? placeOf(program, line) : program.file
    found.set(key, { address, protocol, port, service, where: known?.where ?? where })
  }
  for (const { rules } of program.chains.values()) {
    for (const rule of rules) {
      const address = onlyAddress(rule, program)
      const port = rule.steps.find((step) => step.kind === 'port')
      const protocol = rule.steps.find((step) => step.kind === 'protocol')
      if (address === null || port?.kind !== 'port' || protocol?.kind !== 'protocol' || port.not) continue
      const service = serviceOf(rule)
      for (const [first, last] of port.ranges) {
        if (first === last) for (const one of protocol.protocols) add(address, one, first, service, rule.line)
      }
    }
    // Maps written in place have frontends too, when somebody writes them so.
    for (const { steps, line } of rules) {
      for (const step of steps) if (step.kind === 'choose' && typeof step.map !== 'string') addKeys(step.map, line)
    }
  }
  for (const map of program.maps.values()) addKeys(map, 0)
  return found

  function addKeys(map: ReadonlyMap<string, Verdict>, line: number): void {
    for (const [key, verdict] of map) {
      const parts = key.split(' . ')
      const port = Number(parts.at(-1))
      if (!(port > 0) || parts.length < 2 || parts.length > 3) continue
      const protocol = protocolText(parts.at(-2)!)
      const address = parts.length === 3 ? canonicalIp(parts[0]!) : ''
      if (address !== null) add(address, protocol, port, 'chain' in verdict ? serviceOfChain(verdict.chain) : '', line)
    }
  }
}

/** The one destination of a rule, '' for one without; null for one that is for many. */
function onlyAddress({ steps }: Rule, { family }: Program): string | null {
  const destination = steps.find((step) => step.kind === 'destination')
  if (destination?.kind !== 'destination') return ''
  const [interval] = destination.intervals
  if (destination.not || destination.intervals.length !== 1 || interval!.first !== interval!.last) return null
  return ipFromBigInt(interval!.first, family)
}

/** kube-proxy's comments begin with the Service port: `ns1/svc1:p80 cluster IP`. */
function serviceOf(rule: Rule): string {
  const named = /^([a-z0-9.-]+\/[a-z0-9.-]+(:[A-Za-z0-9.-]*)?)( |$)/.exec(rule.comment)?.[1]
  if (named !== undefined) return named
  return serviceOfChain(chainAtEnd(rule))
}

/** `service-ULMVA6XW-ns1/svc1/tcp/p80` */
function serviceOfChain(chain: string): string {
  const found = /^[a-z]+-[A-Z2-7]{8}-([^/]+)\/([^/]+)\/[^/]+\/(.*)$/.exec(chain)
  if (found === null) return ''
  const [, namespace, service, port] = found
  return port === '' ? `${namespace}/${service}` : `${namespace}/${service}:${port}`
}

/** Addresses of which a rule says something whatever the port: `ip daddr @cluster-ips reject`. */
export function wholeAddresses(program: Program): Set<string> {
  const found = new Set<string>()
  for (const { rules } of program.chains.values()) {
    for (const { steps } of rules) {
      if (steps.some(({ kind }) => kind === 'port' || kind === 'choose')) continue
      const member = steps.find((step) => step.kind === 'member')
      if (member?.kind !== 'member' || member.fields.join() !== 'destination') continue
      const set = program.sets.get(member.set)
      if (set !== undefined && set.parts.length === 0) for (const address of set.members) found.add(address)
    }
  }
  return found
}

/** Every block that some rule compares a source with. */
export function sourceBlocks(program: Program): Interval[] {
  const found: Interval[] = []
  for (const { rules } of program.chains.values()) {
    for (const { steps } of rules) for (const step of steps) if (step.kind === 'source') found.push(...step.intervals)
  }
  for (const set of program.sets.values()) {
    found.push(...set.intervals)
    for (const list of set.networks.values()) found.push(...list)
  }
  return found
}

/** What kube-proxy must have been told for a node to have these rules; for manifests that do not say. */
export function settingsOf(dump: Dump): Partial<KubeProxyConfiguration> {
  const settings: Record<string, unknown> = { mode: dump.mode, ...masqueradeSettings(dump) }
  const { addresses, servesAll, excludesLocalhost } = servedNodePorts(dump)
  if (!servesAll && addresses.length > 0) settings['nodePortAddresses'] = addresses
  else if (servesAll && dump.mode === 'nftables') settings['nodePortAddresses'] = ['0.0.0.0/0', '::/0']
  if (dump.mode === 'iptables' && excludesLocalhost) {
    settings['iptables'] = { ...(settings['iptables'] as object | undefined), localhostNodePorts: false }
  }
  return settings as Partial<KubeProxyConfiguration>
}

/** Where node ports are served, as far as the rules show it. */
interface ServedNodePorts {
  /** CIDRs of single addresses. */
  readonly addresses: readonly string[]
  readonly servesAll: boolean
  /** A rule of IPv4 leaves a destination out: 127.0.0.0/8, kube-proxy writes no other. */
  readonly excludesLocalhost: boolean
}

function servedNodePorts(dump: Dump): ServedNodePorts {
  const addresses: string[] = []
  let servesAll = false
  let excludesLocalhost = false
  for (const program of dump.programs.values()) {
    for (const rule of nodePortJumps(program)) {
      const address = onlyAddress(rule, program)
      if (address !== null && address !== '') addresses.push(hostCidr(address))
      else servesAll = true
      excludesLocalhost ||=
        program.family === 'IPv4' && rule.steps.some((step) => step.kind === 'destination' && step.not)
    }
    if (dump.mode !== 'nftables') continue
    const serving = program.sets.get('nodeport-ips')
    if (serving === undefined) servesAll = true
    else addresses.push(...[...serving.members].map(hostCidr))
  }
  return { addresses, servesAll, excludesLocalhost }
}

/** iptables' rules that lead to node ports. */
function nodePortJumps({ chains }: Program): Rule[] {
  return [...chains.values()].flatMap(({ name, rules }) =>
    / KUBE-SERVICES$/.test(name) ? rules.filter((rule) => / KUBE-NODEPORTS$/.test(chainAtEnd(rule))) : [],
  )
}

/** The chain that a rule leads to; '' where it leads to none. */
function chainAtEnd({ steps }: Rule): string {
  const last = steps.at(-1)
  return last !== undefined && 'chain' in last ? last.chain : ''
}

/** Whose traffic is masqueraded: everybody's, or that of sources outside a block, or not in by an interface. */
function masqueradeSettings(dump: Dump): Record<string, unknown> {
  const { always, cidrs, interfaces } = markingRules(dump)
  const conditional = totalOf(cidrs) + totalOf(interfaces)
  const settings: Record<string, unknown> = {}
  if (always > conditional) settings[dump.mode] = { masqueradeAll: true }
  // Each family has a block of its own.
  if (cidrs.size > 0) settings['clusterCIDR'] = [...cidrs.keys()].slice(0, 2).join(',')
  else if (interfaces.size > 0) {
    const name = [...interfaces].sort(([, a], [, b]) => b - a)[0]![0]
    const isPrefix = name.startsWith('*')
    settings['detectLocalMode'] = isPrefix ? 'InterfaceNamePrefix' : 'BridgeInterface'
    settings['detectLocal'] = isPrefix ? { interfaceNamePrefix: name.slice(1) } : { bridgeInterface: name }
  }
  return settings
}

function totalOf(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0)
}

/** Rules that mark traffic to one address for masquerading, counted by what they ask of its source. */
interface MarkingRules {
  readonly always: number
  /** By the text of the block. */
  readonly cidrs: ReadonlyMap<string, number>
  /** By name, with * before a prefix. */
  readonly interfaces: ReadonlyMap<string, number>
}

function markingRules(dump: Dump): MarkingRules {
  const cidrs = new Map<string, number>()
  const interfaces = new Map<string, number>()
  let always = 0
  const count = (counts: Map<string, number>, text: string): void => {
    counts.set(text, (counts.get(text) ?? 0) + 1)
  }
  for (const program of dump.programs.values()) {
    const rules = [...program.chains.values()].flatMap((chain) => chain.rules)
    for (const rule of rules) {
      if (!marks(program, rule) || onlyAddress(rule, program) === '') continue
      const source = rule.steps.find((step) => step.kind === 'source')
      const incoming = rule.steps.find((step) => step.kind === 'interface')
      if (source?.kind === 'source' && source.not) {
        count(cidrs, source.intervals.map((one) => intervalText(one, program)).join(','))
      } else if (incoming?.kind === 'interface' && incoming.not) {
        count(interfaces, `${incoming.isPrefix ? '*' : ''}${incoming.name}`)
      } else always++
    }
  }
  return { always, cidrs, interfaces }
}

/** Whether cluster IPs have endpoints' chains with marks or without: nothing can be told of a cluster without endpoints. */
export function showsDetector(dump: Dump): boolean {
  for (const program of dump.programs.values()) {
    for (const { rules } of program.chains.values()) {
      for (const { steps } of rules) {
        if (steps.some(({ kind }) => kind === 'dnat')) return true
      }
    }
  }
  return false
}

function marks(program: Program, { steps }: Rule): boolean {
  const last = steps.at(-1)
  if (last?.kind === 'mark-as') return true
  if (last?.kind !== 'jump') return false
  const rules = program.chains.get(last.chain)?.rules ?? []
  return (
    rules.length > 0 && rules.every((rule) => rule.steps.every(({ kind }) => kind === 'mark-as' || kind === 'no-op'))
  )
}

function hostCidr(address: string): string {
  return `${address}/${address.includes(':') ? 128 : 32}`
}

/** As a CIDR where it is one. */
export function intervalText({ first, last }: Interval, { family }: Pick<Program, 'family'>): string {
  const bits = family === 'IPv4' ? 32 : 128
  const size = last - first + 1n
  const host = size.toString(2).length - 1
  const isBlock = size === 1n << BigInt(host) && first % size === 0n
  return isBlock
    ? `${ipFromBigInt(first, family)}/${bits - host}`
    : `${ipFromBigInt(first, family)}-${ipFromBigInt(last, family)}`
}

/** Built-in chains that nothing leads from to kube-proxy's, though its chains are there. */
export function missingHooks(program: Program, isIpvs: boolean): string[] {
  const needed: readonly (readonly [string, string])[] =
    program.tool === 'iptables'
      ? [
          ['nat PREROUTING', 'KUBE-SERVICES'],
          ['nat OUTPUT', 'KUBE-SERVICES'],
          ['nat POSTROUTING', 'KUBE-POSTROUTING'],
          ...(isIpvs ? [] : ([['filter FORWARD', 'KUBE-SERVICES']] as const)),
        ]
      : []
  const missing = needed.flatMap(([chain, to]) => {
    const rules = program.chains.get(chain)?.rules ?? []
    const leads = rules.some(
      (rule) => isKubeProxys(rule) && (rule.steps.at(-1) as { chain: string }).chain.endsWith(to),
    )
    return leads ? [] : [`${chain.split(' ').reverse().join(' of table ')} does not lead to ${to}`]
  })
  if (program.tool === 'nft') {
    for (const hook of ['prerouting', 'output', 'postrouting'] as const) {
      const has = [...program.chains.values()].some(({ base }) => base?.hook === hook && base.type === 'nat')
      if (!has) missing.push(`no nat chain hangs on ${hook}`)
    }
  }
  return missing
}

/** Chains of other software that the same hooks lead to. */
export function foreignChains(program: Program): string[] {
  const names = new Set<string>()
  if (program.tool !== 'iptables') return []
  for (const { base, rules } of program.chains.values()) {
    if (base === null) continue
    for (const rule of rules) {
      const last = rule.steps.at(-1)
      if (last !== undefined && 'chain' in last && !isKubeProxys(rule)) names.add(last.chain.split(' ')[1]!)
    }
  }
  return [...names].sort()
}
