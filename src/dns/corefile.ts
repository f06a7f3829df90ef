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
import { notModelled, wholeNumber, zonesOf } from './corefile-arguments.ts'
import { lower } from './domain-names.ts'
import { type HostsPlugin, parseHosts } from './hosts.ts'
import { type KubernetesPlugin, readKubernetes } from './kubernetes-plugin.ts'
import { recordType } from './records.ts'
import { parseRewrite, type RewriteRule } from './rewrite.ts'
import { parseTemplate, type TemplatePlugin } from './template.ts'
import { parseView, type View } from './view.ts'

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
  if (PLUGIN_READERS.has(name) || NO_INFLUENCE.has(name) || UNMODELLED_PLUGINS.has(name)) return
  const near = nearestName(name, [...PLUGIN_READERS.keys(), ...NO_INFLUENCE])
  const glued = [before?.name ?? '', ...(before?.args ?? [])].find((word) => word.length > 1 && word.endsWith('{'))
  const hint =
    glued === undefined
      ? near === null
        ? ''
        : `did you mean ${near}?`
      : `in the line before, ${glued} is one word: a { opens a block only with a space before it`
  throw corefileError(line, `unknown directive ${name}: CoreDNS does not start`, hint)
}

/** A server block while its directives are read, in their order. */
interface OpenBlock {
  readonly zones: readonly string[]
  readonly views: View[]
  readonly rewrites: RewriteRule[]
  readonly acl: AclRule[]
  readonly templates: TemplatePlugin[]
  readonly forwards: ForwardPlugin[]
  hosts: HostsPlugin | null
  autopath: readonly string[] | null
  answersElsewhere: boolean
  kubernetes: KubernetesPlugin | null
  cache: CachePlugin | null
  loadbalance: boolean
  bufsize: number | null
}

type PluginReader = (directive: Directive, block: OpenBlock, warnings: Warning[]) => void

/** What is modelled, each with what it puts into its block. */
const PLUGIN_READERS: ReadonlyMap<string, PluginReader> = new Map<string, PluginReader>([
  [
    'kubernetes',
    (directive, block, warnings) => {
      block.kubernetes = readKubernetes(directive, block.zones, warnings)
    },
  ],
  [
    'cache',
    (directive, block, warnings) => {
      block.cache = readCache(directive, block.zones, warnings)
    },
  ],
  [
    'bufsize',
    ({ args: [size], line }, block) => {
      block.bufsize = size === undefined ? 1232 : wholeNumber(size, 512, 4096, 'bufsize', line)
    },
  ],
  ['loadbalance', readLoadbalance],
  [
    'rewrite',
    (directive, block) => {
      const rule = parseRewrite(directive)
      if (rule !== null) block.rewrites.push(rule)
    },
  ],
  [
    'acl',
    (directive, block) => {
      block.acl.push(...readAcl(directive, block.zones))
    },
  ],
  [
    'template',
    (directive, block, warnings) => {
      const template = parseTemplate(directive, block.zones, zonesOf)
      if (template !== null) block.templates.push(template)
      else warnings.push(notModelled(directive, 'this template'))
    },
  ],
  ['hosts', readHosts],
  [
    'forward',
    (directive, block) => {
      block.forwards.push(readForward(directive))
    },
  ],
  ['autopath', readAutopath],
  [
    'view',
    (directive, block, warnings) => {
      block.views.push(...readViews(directive, warnings))
    },
  ],
])
/** CoreDNS refuses a second one in a server block. */
const ONLY_ONCE = words('kubernetes hosts cache')

function readBlock(syntax: SyntaxBlock, warnings: Warning[]): ServerBlock {
  const block: OpenBlock = {
    zones: syntax.keys.flatMap((key) => zonesOf(key, syntax.line)),
    views: [],
    rewrites: [],
    acl: [],
    templates: [],
    forwards: [],
    hosts: null,
    autopath: null,
    answersElsewhere: false,
    kubernetes: null,
    cache: null,
    loadbalance: false,
    bufsize: null,
  }
  const names = new Set<string>()
  for (const directive of syntax.directives) {
    const { name, args, line } = directive
    if (ONLY_ONCE.has(name) && names.has(name))
      throw corefileError(line, `${name} can only be used once in a server block`)
    names.add(name)
    const read = PLUGIN_READERS.get(name)
    if (read !== undefined) read(directive, block, warnings)
    else if (UNMODELLED_PLUGINS.has(name)) {
      block.answersElsewhere ||= !CHANGES_ONLY.has(name)
      warnings.push(notModelled(directive, `plugin ${[name, ...args].join(' ')}`))
    }
  }
  checkTogether(block, syntax.line, warnings)
  return { ...block, hasMetadata: names.has('metadata') }
}

/** What a plugin needs of the others in its block. */
function checkTogether(block: OpenBlock, line: number, warnings: Warning[]): void {
  const where = `${COREFILE_WHERE}, line ${line}`
  if (block.autopath !== null && block.kubernetes?.pods !== 'verified') {
    const message = 'autopath @kubernetes does nothing without `pods verified`'
    warnings.push({ code: 'W_AUTOPATH', where, message })
    block.autopath = null
  }
  if (block.zones.includes('.') && block.forwards.length === 0 && !block.answersElsewhere) {
    const message =
      'no forward plugin: CoreDNS answers SERVFAIL for names outside its zones; records given as upstream are answered'
    warnings.push({ code: 'W_NO_FORWARD', where, message })
  }
}

function readLoadbalance(directive: Directive, block: OpenBlock, warnings: Warning[]): void {
  const [policy] = directive.args
  block.loadbalance = true
  if (policy !== undefined && policy !== 'round_robin' && policy !== 'weighted')
    throw corefileError(directive.line, `loadbalance ${policy} is neither round_robin nor weighted`)
  if (policy === 'weighted') warnings.push(notModelled(directive, 'loadbalance weighted'))
}

function readHosts(directive: Directive, block: OpenBlock, warnings: Warning[]): void {
  const hosts = parseHosts(directive, block.zones, zonesOf)
  const file = directive.args[0] ?? (hosts.addresses.size > 0 ? undefined : '/etc/hosts')
  if (file !== undefined) warnings.push(notModelled(directive, `the hosts file ${file}, which is not in the Corefile,`))
  block.hosts = hosts
}

function readAutopath(directive: Directive, block: OpenBlock, warnings: Warning[]): void {
  const { name, args, line } = directive
  const [resolver, ...zones] = args
  if (resolver !== '@kubernetes') warnings.push(notModelled(directive, `plugin ${[name, ...args].join(' ')}`))
  else block.autopath = zones.length > 0 ? zones.flatMap((zone) => zonesOf(zone, line)) : block.zones
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
