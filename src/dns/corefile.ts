/**
 * A Corefile as far as it changes answers: server blocks and what their plugins do.
 *
 * Where there is no Corefile, kubeadm's stands in; where there is one, CoreDNS' own defaults fill it (ttl 5, pods disabled).
 * What dpemu does not model is a warning with its line, what CoreDNS would refuse to start over is a UserError E_COREFILE.
 * Source: coredns/coredns plugin/kubernetes/setup.go and README, plugin/cache README, core/dnsserver/register.go;
 * kubernetes/kubernetes cmd/kubeadm/app/phases/addons/dns/manifests.go.
 */
import ipaddr from 'ipaddr.js'
import { UserError, type Warning } from '../errors.ts'
import type { CorefileText } from '../k8s/corefile-parts.ts'
import { nearestName } from '../nearest.ts'
import { COREFILE_WHERE, corefileError, type Directive, parseCaddyfile, type SyntaxBlock } from './caddyfile.ts'
import { absolute, isReverse, lower, nameFault } from './domain-names.ts'
import { type HostsPlugin, parseHosts } from './hosts.ts'
import { recordType } from './records.ts'
import { parseRewrite, type RewriteRule } from './rewrite.ts'
import { parseTemplate, type TemplatePlugin } from './template.ts'
import { parseView, type View } from './view.ts'

export interface KubernetesPlugin {
  /** Absolute, folded, in the order written. */
  readonly zones: readonly string[]
  /** The first zone that is no reverse zone: PTR records point into it. */
  readonly primaryZone: string
  readonly pods: 'disabled' | 'insecure' | 'verified'
  /** Seconds. */
  readonly ttl: number
  /** Empty: all of them. */
  readonly namespaces: ReadonlySet<string>
  readonly endpointPodNames: boolean
  readonly ignoreEmptyService: boolean
  readonly noEndpoints: boolean
  /** Names of one topology zone's endpoints: `ZONE.pin._zone.SERVICE.…`. */
  readonly zonal: boolean
  /** Zones whose missing names go on to the next plugin. */
  readonly fallthrough: readonly string[]
}

/** One of the two halves of `cache`: positive (success) and negative (denial) replies. */
export interface CacheHalf {
  /** Seconds: the most a reply is kept, whatever its TTL. */
  readonly maxTtl: number
  readonly minTtl: number
  /** Zones for which it is off. */
  readonly disabledZones: readonly string[]
}

export interface CachePlugin {
  readonly zones: readonly string[]
  readonly success: CacheHalf
  readonly denial: CacheHalf
  readonly servfailTtl: number
}

/** `forward`: which names go to a resolver outside, and to which. */
export interface ForwardPlugin {
  readonly zone: string
  readonly to: readonly string[]
  readonly except: readonly string[]
}

/** One line of `acl`: what it does, for which types, of which clients. */
export interface AclRule {
  readonly zones: readonly string[]
  readonly action: 'allow' | 'block' | 'filter' | 'drop'
  /** Empty: all. */
  readonly types: ReadonlySet<string>
  /** Empty: all. */
  readonly nets: readonly string[]
}

export interface ServerBlock {
  readonly zones: readonly string[]
  /** All have to be met for a question to be this block's. */
  readonly views: readonly View[]
  /** `metadata` is on: views can ask whose pod the client is. */
  readonly hasMetadata: boolean
  readonly rewrites: readonly RewriteRule[]
  readonly acl: readonly AclRule[]
  readonly templates: readonly TemplatePlugin[]
  readonly hosts: HostsPlugin | null
  readonly forwards: readonly ForwardPlugin[]
  /** `autopath @kubernetes`: the zones where the search list is walked in the server; null without it. */
  readonly autopath: readonly string[] | null
  /** A plugin that is not modelled may answer what nothing else does: no SERVFAIL for want of `forward`. */
  readonly answersElsewhere: boolean
  readonly kubernetes: KubernetesPlugin | null
  readonly cache: CachePlugin | null
  /** Addresses are shuffled in each reply. */
  readonly loadbalance: boolean
  /** The most a client's EDNS0 size counts for (plugin bufsize), or null. */
  readonly bufsize: number | null
}

export interface Corefile {
  readonly blocks: readonly ServerBlock[]
  readonly warnings: readonly Warning[]
}

/** The CoreDNS that answers are those of. Source: coremain/version.go of coredns/coredns at 4b26cce. */
export const COREDNS_VERSION = '1.14.7'

const words = (text: string): ReadonlySet<string> => new Set(text.split(/\s+/))
/** Plugins that leave every answer as it is, here. */
const NO_INFLUENCE = words(
  `any bind cancel chaos debug dnstap errors geoip grpc_server health https https3 local log loop metadata metrics minimal
  multisocket nsid on pprof prometheus proxyproto quic ready reload root shed startup shutdown timeouts tls trace transfer`,
)
/** The others of plugin.cfg, and external ones that clusters are known to run: they answer, or change answers. */
const UNMODELLED_PLUGINS = words(
  `alias alternate auto azure clouddns dns64 dnsredir dnssec erratic etcd fanout file finalize grpc header import k8s_crd
  k8s_dns_chaos k8s_event k8s_external k8s_gateway kubenodes kubernetai mdns nomad ocp_dnsnameresolver proxy redis
  route53 secondary sign sqlite tsig unbound whoami wgsd meship netbox gslb lighthouse multicluster`,
)
/** Of those, the ones that only change what others answer. */
const CHANGES_ONLY = words('dns64 dnssec finalize header minimal sign tsig ocp_dnsnameresolver')
/** Options of `kubernetes` that only tell how to reach the API server, by the arguments that they take. */
const CONNECTION_OPTIONS: ReadonlyMap<string, readonly [least: number, most: number]> = new Map([
  ['endpoint', [1, 99]],
  ['tls', [3, 3]],
  ['kubeconfig', [1, 2]],
  ['startup_timeout', [1, 99]],
  ['apiserver_qps', [1, 1]],
  ['apiserver_burst', [1, 1]],
  ['apiserver_max_inflight', [1, 1]],
])
/** What older releases took, and read without effect towards the end. */
const REMOVED_OPTIONS: ReadonlySet<string> = new Set(['resyncperiod', 'upstream', 'transfer'])
const UNMODELLED_OPTIONS: ReadonlyMap<string, readonly [least: number, most: number]> = new Map([
  ['labels', [1, 99]],
  ['namespace_labels', [1, 99]],
  ['multicluster', [0, 99]],
])
const MODELLED_PLUGINS = words('kubernetes cache bufsize loadbalance rewrite acl template hosts forward autopath view')
const POD_MODES: ReadonlySet<string> = new Set(['disabled', 'insecure', 'verified'])

/** kubeadm's Corefile (up to the release that stopped caching the cluster's zone). */
export function kubeadmCorefile(clusterDomain: string): string {
  return `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes ${clusterDomain} in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
`
}

/**
 * @param written        null for kubeadm's
 * @param clusterDomain  used only for kubeadm's
 *
 * Errors: UserError E_COREFILE, where it names the ConfigMap, the key where it is imported, and the line.
 */
export function readCorefile(written: CorefileText | null, clusterDomain: string): Corefile {
  if (written === null) return parseCorefile(null, clusterDomain)
  return atOrigin(written, () => parseCorefile(written.text, clusterDomain))
}

/** Faults and warnings get the places where their lines were written, in place of those in the whole text. */
function atOrigin({ where, origins }: CorefileText, read: () => Corefile): Corefile {
  const placed = (at: string): string => {
    const line = at.startsWith(COREFILE_WHERE) ? /, line (\d+)$/.exec(at)?.[1] : undefined
    return line === undefined ? at.replace(COREFILE_WHERE, where) : (origins[Number(line) - 1] ?? at)
  }
  try {
    const { blocks, warnings } = read()
    return { blocks, warnings: warnings.map((warning) => ({ ...warning, where: placed(warning.where) })) }
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    throw new UserError(error.code, error.message, { where: placed(error.where), hint: error.hint })
  }
}

/** Of a text alone, see readCorefile. */
export function parseCorefile(text: string | null, clusterDomain: string): Corefile {
  const warnings: Warning[] = []
  const written = parseCaddyfile(text ?? kubeadmCorefile(clusterDomain), checkDirective)
  for (const { keys, directives } of written) {
    if (keys.length > 0) continue
    for (const directive of directives) warnings.push(notModelled(directive, `import ${directive.args.join(' ')}`))
  }
  const blocks = written.filter(({ keys }) => keys.length > 0).map((block) => readBlock(block, warnings))
  if (blocks.length === 0) {
    throw new UserError('E_COREFILE', 'the Corefile has no server block', {
      where: COREFILE_WHERE,
      hint: 'write `.:53 { … }`',
    })
  }
  if (blocks.every((block) => block.kubernetes === null)) {
    warnings.push({
      code: 'W_NO_KUBERNETES_PLUGIN',
      where: COREFILE_WHERE,
      message: 'no server block has the kubernetes plugin: no name of the cluster is answered',
    })
  }
  return { blocks, warnings }
}

/**
 * The Corefile of NodeLocal DNSCache, which has no zone of the cluster itself. Its placeholder for the cluster's domain is filled;
 * those for servers are left to who forwards.
 *
 * Errors: UserError E_COREFILE, where it names that ConfigMap.
 */
export function parseNodeCorefile(written: CorefileText, clusterDomain: string): Corefile {
  return atOrigin(written, () => {
    const warnings: Warning[] = []
    const filled = written.text.replaceAll('__PILLAR__DNS__DOMAIN__', clusterDomain)
    const blocks = parseCaddyfile(filled, checkDirective).flatMap((block) =>
      block.keys.length === 0 ? [] : [readBlock(block, warnings)],
    )
    return { blocks, warnings }
  })
}

/** What is no plugin ends CoreDNS' reading there and then. @param before  the directive before it in its block */
function checkDirective({ name, line }: Directive, before: Directive | undefined): void {
  if (MODELLED_PLUGINS.has(name) || NO_INFLUENCE.has(name) || UNMODELLED_PLUGINS.has(name)) return
  const near = nearestName(name, [...MODELLED_PLUGINS, ...NO_INFLUENCE])
  const glued = [before?.name ?? '', ...(before?.args ?? [])].find((word) => word.length > 1 && word.endsWith('{'))
  const hint =
    glued === undefined
      ? near === null
        ? ''
        : `did you mean ${near}?`
      : `in the line before, ${glued} is one word: a { opens a block only with a space before it`
  throw corefileError(line, `unknown directive ${name}: CoreDNS does not start`, hint)
}

function notModelled(directive: Directive, what: string): Warning {
  return {
    code: 'W_NOT_MODELLED',
    where: `${COREFILE_WHERE}, line ${directive.line}`,
    message: `${what} is not modelled: answers are as without it`,
  }
}

function readBlock(syntax: SyntaxBlock, warnings: Warning[]): ServerBlock {
  const zones = syntax.keys.flatMap((key) => zonesOf(key, syntax.line))
  const views: View[] = []
  const rewrites: RewriteRule[] = []
  const acl: AclRule[] = []
  const templates: TemplatePlugin[] = []
  const forwards: ForwardPlugin[] = []
  let hosts: HostsPlugin | null = null
  let autopath: readonly string[] | null = null
  let kubernetes: KubernetesPlugin | null = null
  let cache: CachePlugin | null = null
  let bufsize: number | null = null
  let loadbalance = false
  let answersElsewhere = false
  const once = new Set<string>()
  for (const directive of syntax.directives) {
    const { name, args, line } = directive
    const single = name === 'kubernetes' || name === 'hosts' || name === 'cache'
    if (single && once.has(name)) throw corefileError(line, `${name} can only be used once in a server block`)
    once.add(name)
    if (name === 'kubernetes') kubernetes = readKubernetes(directive, zones, warnings)
    else if (name === 'cache') cache = readCache(directive, zones, warnings)
    else if (name === 'bufsize')
      bufsize = args[0] === undefined ? 1232 : wholeNumber(args[0], 512, 4096, 'bufsize', line)
    else if (name === 'loadbalance') {
      loadbalance = true
      if (args[0] !== undefined && args[0] !== 'round_robin' && args[0] !== 'weighted')
        throw corefileError(line, `loadbalance ${args[0]} is neither round_robin nor weighted`)
      if (args[0] === 'weighted') warnings.push(notModelled(directive, 'loadbalance weighted'))
    } else if (name === 'rewrite') {
      const rule = parseRewrite(directive)
      if (rule !== null) rewrites.push(rule)
    } else if (name === 'view') views.push(...readViews(directive, warnings))
    else if (name === 'acl') acl.push(...readAcl(directive, zones))
    else if (name === 'template') {
      const template = parseTemplate(directive, zones, zonesOf)
      if (template !== null) templates.push(template)
      else warnings.push(notModelled(directive, 'this template'))
    } else if (name === 'hosts') {
      hosts = parseHosts(directive, zones, zonesOf)
      const file = args[0] ?? (hosts.addresses.size > 0 ? undefined : '/etc/hosts')
      if (file !== undefined)
        warnings.push(notModelled(directive, `the hosts file ${file}, which is not in the Corefile,`))
    } else if (name === 'forward') forwards.push(readForward(directive))
    else if (name === 'autopath') {
      if (args[0] === '@kubernetes')
        autopath = args.length > 1 ? args.slice(1).flatMap((zone) => zonesOf(zone, line)) : zones
      else warnings.push(notModelled(directive, `plugin ${[name, ...args].join(' ')}`))
    } else if (UNMODELLED_PLUGINS.has(name)) {
      answersElsewhere ||= !CHANGES_ONLY.has(name)
      warnings.push(notModelled(directive, `plugin ${[name, ...args].join(' ')}`))
    }
  }
  if (autopath !== null && kubernetes?.pods !== 'verified') {
    warnings.push({
      code: 'W_AUTOPATH',
      where: `${COREFILE_WHERE}, line ${syntax.line}`,
      message: 'autopath @kubernetes does nothing without `pods verified`',
    })
    autopath = null
  }
  if (zones.includes('.') && forwards.length === 0 && !answersElsewhere) {
    warnings.push({
      code: 'W_NO_FORWARD',
      where: `${COREFILE_WHERE}, line ${syntax.line}`,
      message:
        'no forward plugin: CoreDNS answers SERVFAIL for names outside its zones; records given as upstream are answered',
    })
  }
  return {
    zones,
    views,
    hasMetadata: once.has('metadata'),
    rewrites,
    acl,
    templates,
    hosts,
    forwards,
    autopath,
    answersElsewhere,
    kubernetes,
    cache,
    loadbalance,
    bufsize,
  }
}

/** Those that are not read hold always. */
function readViews(directive: Directive, warnings: Warning[]): View[] {
  const { args, body, line } = directive
  if (args.length !== 1 || body.length === 0) throw corefileError(line, 'view takes a name and an expr in its block')
  return body.flatMap(({ name, args: words, line: at }) => {
    if (name !== 'expr') throw corefileError(at, `view: unknown property ${name}: CoreDNS does not start`)
    const view = parseView(words.join(' '), at)
    if (view === null) warnings.push(notModelled(directive, `plugin view ${args[0]}`))
    return view ?? []
  })
}

const FORWARD_OPTIONS = words(
  `except max_fails max_connect_attempts health_check force_tcp prefer_udp tls tls_servername expire max_age max_idle_conns
  read_timeout doh_method policy max_concurrent next next_on_nodata failfast_all_unhealthy_upstreams failover resolver
  source_address`,
)

function readForward(directive: Directive): ForwardPlugin {
  const [from, ...to] = directive.args
  if (from === undefined || to.length === 0) throw corefileError(directive.line, 'forward takes a zone and where to')
  const except: string[] = []
  for (const { name, args, line } of directive.body) {
    if (!FORWARD_OPTIONS.has(name))
      throw corefileError(line, `forward: unknown property ${name}: CoreDNS does not start`)
    if (name === 'except') except.push(...args.flatMap((zone) => zonesOf(zone, line)))
    if (name === 'policy' && !['random', 'round_robin', 'sequential'].includes(args[0] ?? ''))
      throw corefileError(line, `forward policy ${args[0] ?? ''} is none of random, round_robin, sequential`)
  }
  return { zone: zonesOf(from, directive.line)[0]!, to, except }
}

function readAcl(directive: Directive, blockZones: readonly string[]): AclRule[] {
  const zones = directive.args.length > 0 ? directive.args.flatMap((zone) => zonesOf(zone, directive.line)) : blockZones
  return directive.body.map(({ name, args, line }) => {
    const action = lower(name)
    if (action !== 'allow' && action !== 'block' && action !== 'filter' && action !== 'drop')
      throw corefileError(line, `acl ${name} is none of allow, block, filter, drop`)
    const types = new Set<string>()
    const nets: string[] = []
    let section = ''
    for (const word of args) {
      if (lower(word) === 'type' || lower(word) === 'net') section = lower(word)
      else if (section === '') throw corefileError(line, `acl: ${word} stands where type or net is expected`)
      else if (word === '*') continue
      else if (section === 'type') {
        const type = recordType(word)
        if (type === null) throw corefileError(line, `acl: ${word} is no record type`)
        types.add(type)
      } else {
        const net = word.includes('/') ? word : `${word}/${word.includes(':') ? 128 : 32}`
        if (!ipaddr.isValidCIDR(net)) throw corefileError(line, `acl: ${word} is no CIDR`)
        nets.push(net)
      }
    }
    return { zones, action, types, nets }
  })
}

function readKubernetes(directive: Directive, blockZones: readonly string[], warnings: Warning[]): KubernetesPlugin {
  const { line } = directive
  const zones = directive.args.length > 0 ? directive.args.flatMap((zone) => zonesOf(zone, line)) : blockZones
  const primaryZone = zones.find((zone) => !isReverse(zone))
  if (primaryZone === undefined) {
    throw corefileError(
      line,
      'kubernetes serves reverse zones only',
      'name the cluster domain too: kubernetes cluster.local in-addr.arpa ip6.arpa',
    )
  }
  let pods: KubernetesPlugin['pods'] = 'disabled'
  let ttl = 5
  const namespaces = new Set<string>()
  let fallthrough: readonly string[] = []
  const flags = {
    endpointPodNames: false,
    ignoreEmptyService: false,
    noEndpoints: false,
    zonal: false,
  }
  for (const option of directive.body) {
    const { name, args } = option
    if (name === 'pods') {
      if (args.length !== 1 || !POD_MODES.has(args[0]!)) {
        throw corefileError(option.line, `pods ${args.join(' ')} is none of disabled, insecure, verified`)
      }
      pods = args[0] as KubernetesPlugin['pods']
    } else if (name === 'ttl') ttl = wholeNumber(args[0] ?? '', 0, 3600, 'ttl', option.line)
    else if (name === 'namespaces') {
      if (args.length === 0) throw corefileError(option.line, 'namespaces needs at least one namespace')
      for (const namespace of args) namespaces.add(namespace)
    } else if (name === 'fallthrough')
      fallthrough = args.length === 0 ? ['.'] : args.flatMap((zone) => zonesOf(zone, option.line))
    else if (name === 'endpoint_pod_names' || name === 'noendpoints' || name === 'zonal') {
      checkCount(option, [0, 0])
      flags[name === 'noendpoints' ? 'noEndpoints' : name === 'zonal' ? 'zonal' : 'endpointPodNames'] = true
    } else if (name === 'ignore') {
      // Without a word behind it CoreDNS passes it over.
      if (args.length === 0) continue
      if (args[0] !== 'empty_service')
        throw corefileError(option.line, `ignore ${args.join(' ')} is not known`, 'write `ignore empty_service`')
      flags.ignoreEmptyService = true
    } else if (UNMODELLED_OPTIONS.has(name)) {
      checkCount(option, UNMODELLED_OPTIONS.get(name)!)
      warnings.push(notModelled(option, `kubernetes option ${[name, ...args].join(' ')}`))
    } else if (CONNECTION_OPTIONS.has(name)) checkCount(option, CONNECTION_OPTIONS.get(name)!)
    else if (REMOVED_OPTIONS.has(name)) {
      warnings.push({
        code: 'W_COREFILE_OLD',
        where: `${COREFILE_WHERE}, line ${option.line}`,
        message: `kubernetes option ${name} is of older releases: CoreDNS ${COREDNS_VERSION} does not start with it; read as if it were not there`,
      })
    } else {
      throw corefileError(
        option.line,
        `unknown property ${name} of the kubernetes plugin: CoreDNS does not start`,
        `an option of CoreDNS ${COREDNS_VERSION}`,
      )
    }
  }
  if (namespaces.size > 0 && directive.body.some(({ name }) => name === 'namespace_labels'))
    throw corefileError(line, 'namespaces and namespace_labels exclude each other: CoreDNS does not start')
  if (flags.zonal && flags.noEndpoints)
    throw corefileError(line, 'zonal requires the endpoints that noendpoints leaves out: CoreDNS does not start')
  return { zones, primaryZone, pods, ttl, namespaces, fallthrough, ...flags }
}

/** Defaults of plugin/cache: an hour for what is there, half an hour for what is not, five seconds at least. */
function readCache(directive: Directive, blockZones: readonly string[], warnings: Warning[]): CachePlugin {
  const [first, ...rest] = directive.args
  const ttl =
    first !== undefined && /^\d+$/.test(first) ? wholeNumber(first, 1, 0x7fffffff, 'cache', directive.line) : null
  const zoneArgs = ttl === null ? directive.args : rest
  const half = (fallback: number): { maxTtl: number; minTtl: number; disabledZones: string[] } => ({
    maxTtl: ttl ?? fallback,
    minTtl: 5,
    disabledZones: [],
  })
  const halves = { success: half(3600), denial: half(1800) }
  const zones = zoneArgs.length > 0 ? zoneArgs.flatMap((zone) => zonesOf(zone, directive.line)) : blockZones
  let servfailTtl = 5
  for (const option of directive.body) {
    const { name, args, line } = option
    if (name === 'success' || name === 'denial') {
      wholeNumber(args[0] ?? '', 0, 0x7fffffff, `cache ${name}`, line)
      if (args[1] !== undefined) halves[name].maxTtl = wholeNumber(args[1], 1, 0x7fffffff, `cache ${name}`, line)
      if (args[2] !== undefined) halves[name].minTtl = wholeNumber(args[2], 0, 0x7fffffff, `cache ${name}`, line)
    } else if (name === 'disable') {
      const [which, ...disabled] = args
      if (which !== 'success' && which !== 'denial')
        throw corefileError(line, `disable ${which ?? ''} is neither success nor denial`)
      halves[which].disabledZones = disabled.length > 0 ? disabled.flatMap((zone) => zonesOf(zone, line)) : ['.']
    } else if (name === 'servfail') {
      servfailTtl = wholeNumber(/^(\d+)s?$/.exec(args[0] ?? '')?.[1] ?? args[0] ?? '', 0, 300, 'servfail', line)
    } else if (name === 'serve_stale') warnings.push(notModelled(option, 'cache serve_stale'))
    else if (!CACHE_OPTIONS.has(name))
      throw corefileError(line, `cache: unknown property ${name}: CoreDNS does not start`)
  }
  return { zones, ...halves, servfailTtl }
}

/** Of `cache`, what does not change how long an answer may be kept. */
const CACHE_OPTIONS = words('prefetch keepttl serve_stale_policy')

function checkCount({ name, args, line }: Directive, [least, most]: readonly [number, number]): void {
  if (args.length < least || args.length > most) {
    throw corefileError(
      line,
      `kubernetes option ${name} takes ${least === most ? least : `${least} or more`} words, not ${args.length}`,
    )
  }
}

function wholeNumber(text: string, least: number, most: number, what: string, line: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw corefileError(line, `${what} ${text} is not a whole number from ${least} to ${most}`)
  }
  return value
}

/**
 * The zones that a key or argument names: `dns://example.org:53` and `.` one, a CIDR its reverse zones. A prefix that
 * does not end on a label's border stands for all the zones it covers (at most 128).
 */
function zonesOf(key: string, line: number): string[] {
  const host = key.replace(/^[a-z]+:\/\//i, '')
  if (ipaddr.isValidCIDR(host.replace(/:\d+$/, ''))) return reverseZones(host.replace(/:\d+$/, ''))
  if (ipaddr.isValidCIDR(host)) return reverseZones(host)
  const zone = lower(absolute(host.replace(/:\d+$/, '')))
  const fault = zone === '.' ? null : nameFault(zone)
  if (fault !== null) throw corefileError(line, `the zone ${key} ${fault}`)
  return [zone]
}

function reverseZones(cidr: string): string[] {
  const [address, prefix] = ipaddr.parseCIDR(cidr)
  const bytes = address.toByteArray()
  const bitsPerLabel = address.kind() === 'ipv4' ? 8 : 4
  const digits = bitsPerLabel === 8 ? bytes : bytes.flatMap((byte) => [byte >> 4, byte & 15])
  const whole = Math.floor(prefix / bitsPerLabel)
  const rest = prefix % bitsPerLabel
  const fixed = digits.slice(0, whole).map((digit) => digit.toString(bitsPerLabel === 8 ? 10 : 16))
  const tree = bitsPerLabel === 8 ? 'in-addr.arpa.' : 'ip6.arpa.'
  const zone = (labels: readonly string[]): string => [...[...labels].reverse(), tree].join('.')
  if (rest === 0) return [zone(fixed)]
  const count = 2 ** (bitsPerLabel - rest)
  const start = digits[whole]! - (digits[whole]! % count)
  return Array.from({ length: count }, (_, i) => zone([...fixed, (start + i).toString(bitsPerLabel === 8 ? 10 : 16)]))
}
