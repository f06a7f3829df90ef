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
function serviceOf({ comment, steps }: Rule): string {
  const named = /^([a-z0-9.-]+\/[a-z0-9.-]+(:[A-Za-z0-9.-]*)?)( |$)/.exec(comment)?.[1]
  if (named !== undefined) return named
  const last = steps.at(-1)
  return last !== undefined && 'chain' in last ? serviceOfChain(last.chain) : ''
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
  const cidrs = new Map<string, number>()
  const interfaces = new Map<string, number>()
  let always = 0
  let conditional = 0
  const nodePortAddresses: string[] = []
  let servesAll = false
  let excludesLocalhost = false
  let hasLocalhostRule = false
  for (const program of dump.programs.values()) {
    for (const { rules, name } of program.chains.values()) {
      for (const rule of rules) {
        const { steps } = rule
        const leadsTo = steps.at(-1)
        const to = leadsTo !== undefined && 'chain' in leadsTo ? leadsTo.chain : ''
        // Node ports: which addresses lead there.
        const isNodePortRule = / KUBE-NODEPORTS$/.test(to) && / KUBE-SERVICES$/.test(name)
        if (isNodePortRule) {
          const address = onlyAddress(rule, program)
          if (address !== null && address !== '') nodePortAddresses.push(hostCidr(address))
          else servesAll = true
          hasLocalhostRule ||= program.family === 'IPv4'
          excludesLocalhost ||=
            program.family === 'IPv4' && steps.some((step) => step.kind === 'destination' && step.not)
        }
        if (!marks(program, rule) || onlyAddress(rule, program) === '') continue
        const source = steps.find((step) => step.kind === 'source')
        const incoming = steps.find((step) => step.kind === 'interface')
        if (source?.kind === 'source' && source.not) {
          conditional++
          const text = source.intervals.map((one) => intervalText(one, program)).join(',')
          cidrs.set(text, (cidrs.get(text) ?? 0) + 1)
        } else if (incoming?.kind === 'interface' && incoming.not) {
          conditional++
          const text = `${incoming.isPrefix ? '*' : ''}${incoming.name}`
          interfaces.set(text, (interfaces.get(text) ?? 0) + 1)
        } else always++
      }
    }
    const serving = program.sets.get('nodeport-ips')
    if (dump.mode === 'nftables') {
      if (serving === undefined) servesAll = true
      else nodePortAddresses.push(...[...serving.members].map(hostCidr))
    }
  }
  const settings: Record<string, unknown> = { mode: dump.mode }
  const most = (counts: ReadonlyMap<string, number>): string =>
    [...counts].sort(([, a], [, b]) => b - a).map(([text]) => text)[0] ?? ''
  if (conditional + always > 0) {
    if (always > conditional) settings[dump.mode] = { masqueradeAll: true }
    // Each family has a block of its own.
    if (cidrs.size > 0) settings['clusterCIDR'] = [...cidrs.keys()].slice(0, 2).join(',')
    else if (interfaces.size > 0) {
      const name = most(interfaces)
      const detectLocal = name.startsWith('*') ? { interfaceNamePrefix: name.slice(1) } : { bridgeInterface: name }
      settings['detectLocalMode'] = name.startsWith('*') ? 'InterfaceNamePrefix' : 'BridgeInterface'
      settings['detectLocal'] = detectLocal
    }
  }
  if (!servesAll && nodePortAddresses.length > 0) settings['nodePortAddresses'] = nodePortAddresses
  else if (servesAll && dump.mode === 'nftables') settings['nodePortAddresses'] = ['0.0.0.0/0', '::/0']
  if (dump.mode === 'iptables' && hasLocalhostRule && excludesLocalhost) {
    settings['iptables'] = { ...(settings['iptables'] as object | undefined), localhostNodePorts: false }
  }
  return settings as Partial<KubeProxyConfiguration>
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
