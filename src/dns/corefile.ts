/**
 * A Corefile as far as it changes answers: server blocks, the `kubernetes` plugin's options, cache, loadbalance, bufsize.
 *
 * Where there is no Corefile, kubeadm's stands in; where there is one, CoreDNS' own defaults fill it (ttl 5, pods disabled).
 * What dpemu does not model is a warning with its line, what CoreDNS would refuse to start over is a UserError E_COREFILE.
 * Source: coredns/coredns plugin/kubernetes/setup.go and README, plugin/cache README, core/dnsserver/register.go;
 * kubernetes/kubernetes cmd/kubeadm/app/phases/addons/dns/manifests.go.
 */
import ipaddr from 'ipaddr.js'
import { UserError, type Warning } from '../errors.ts'
import { COREFILE_WHERE, corefileError, type Directive, parseCaddyfile, type SyntaxBlock } from './caddyfile.ts'
import { absolute, isReverse, lower, nameFault } from './names.ts'

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
  /** Terminating endpoints that still serve are published too. */
  readonly terminatingEndpoints: boolean
  /** Only endpoints with a host name of their own have a PTR. */
  readonly ptrHostnameOnly: boolean
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

export interface ServerBlock {
  readonly zones: readonly string[]
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

/** Plugins that leave every answer as it is. */
const NO_INFLUENCE: ReadonlySet<string> = new Set(
  'bind cancel chaos debug dnstap errors forward health log loop metadata nsid pprof prometheus ready reload root startup timeouts tls trace'.split(
    ' ',
  ),
)
/** Options of `kubernetes` that only tell how to reach the API server. */
const CONNECTION_OPTIONS: ReadonlySet<string> = new Set(
  'endpoint tls kubeconfig resyncperiod upstream transfer startup_timeout apiserver_qps apiserver_burst apiserver_max_inflight'.split(
    ' ',
  ),
)
const UNMODELLED_OPTIONS: ReadonlySet<string> = new Set(['labels', 'namespace_labels', 'multicluster', 'zonal'])
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
 * @param text           of the Corefile, or null for kubeadm's
 * @param clusterDomain  used only for kubeadm's
 *
 * Errors: UserError E_COREFILE, where it names the ConfigMap and the line.
 */
export function parseCorefile(text: string | null, clusterDomain: string): Corefile {
  const warnings: Warning[] = []
  const blocks = parseCaddyfile(text ?? kubeadmCorefile(clusterDomain)).map((block) => readBlock(block, warnings))
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

function notModelled(directive: Directive, what: string): Warning {
  return {
    code: 'W_NOT_MODELLED',
    where: `${COREFILE_WHERE}, line ${directive.line}`,
    message: `${what} is not modelled: answers are as without it`,
  }
}

function readBlock(syntax: SyntaxBlock, warnings: Warning[]): ServerBlock {
  const zones = syntax.keys.flatMap((key) => zonesOf(key, syntax.line))
  let kubernetes: KubernetesPlugin | null = null
  let cache: CachePlugin | null = null
  let bufsize: number | null = null
  let loadbalance = false
  for (const directive of syntax.directives) {
    const { name, args, line } = directive
    if (name === 'kubernetes') {
      if (kubernetes !== null) throw corefileError(line, 'kubernetes can only be used once in a server block')
      kubernetes = readKubernetes(directive, zones, warnings)
    } else if (name === 'cache') cache = readCache(directive, zones)
    else if (name === 'bufsize')
      bufsize = args[0] === undefined ? 1232 : wholeNumber(args[0], 512, 4096, 'bufsize', line)
    else if (name === 'loadbalance') {
      loadbalance = true
      if (args[0] === 'weighted') warnings.push(notModelled(directive, 'loadbalance weighted'))
    } else if (!NO_INFLUENCE.has(name)) warnings.push(notModelled(directive, `plugin ${[name, ...args].join(' ')}`))
  }
  if (zones.includes('.') && !syntax.directives.some(({ name }) => name === 'forward')) {
    warnings.push({
      code: 'W_NO_FORWARD',
      where: `${COREFILE_WHERE}, line ${syntax.line}`,
      message:
        'no forward plugin: CoreDNS answers SERVFAIL for names outside its zones; dpemu asks a resolver outside all the same',
    })
  }
  return { zones, kubernetes, cache, loadbalance, bufsize }
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
    terminatingEndpoints: false,
    ptrHostnameOnly: false,
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
    else if (name === 'endpoint_pod_names') flags.endpointPodNames = true
    else if (name === 'noendpoints') flags.noEndpoints = true
    else if (name === 'terminating_endpoints') flags.terminatingEndpoints = true
    else if (name === 'ptr_hostname_only') flags.ptrHostnameOnly = true
    else if (name === 'ignore') {
      if (args[0] !== 'empty_service')
        throw corefileError(option.line, `ignore ${args.join(' ')} is not known`, 'write `ignore empty_service`')
      flags.ignoreEmptyService = true
    } else if (UNMODELLED_OPTIONS.has(name))
      warnings.push(notModelled(option, `kubernetes option ${[name, ...args].join(' ')}`))
    else if (!CONNECTION_OPTIONS.has(name))
      throw corefileError(option.line, `${name} is not an option of the kubernetes plugin`)
  }
  return { zones, primaryZone, pods, ttl, namespaces, fallthrough, ...flags }
}

/** Defaults of plugin/cache: an hour for what is there, half an hour for what is not, five seconds at least. */
function readCache(directive: Directive, blockZones: readonly string[]): CachePlugin {
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
  for (const { name, args, line } of directive.body) {
    if (name === 'success' || name === 'denial') {
      if (args[1] !== undefined) halves[name].maxTtl = wholeNumber(args[1], 1, 0x7fffffff, `cache ${name}`, line)
      if (args[2] !== undefined) halves[name].minTtl = wholeNumber(args[2], 0, 0x7fffffff, `cache ${name}`, line)
    } else if (name === 'disable') {
      const [which, ...disabled] = args
      if (which !== 'success' && which !== 'denial')
        throw corefileError(line, `disable ${which ?? ''} is neither success nor denial`)
      halves[which].disabledZones.push(
        ...(disabled.length > 0 ? disabled.flatMap((zone) => zonesOf(zone, line)) : zones),
      )
    } else if (name === 'servfail') {
      servfailTtl = wholeNumber(/^(\d+)s?$/.exec(args[0] ?? '')?.[1] ?? args[0] ?? '', 0, 300, 'servfail', line)
    }
  }
  return { zones, ...halves, servfailTtl }
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
