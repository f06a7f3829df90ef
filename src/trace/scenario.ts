/**
 * A scenario: what traffic to generate, as scenario.yaml says it. docs/scenario.md documents every field.
 *
 * Parsing is strict: an unknown field or a value out of range is an E_SCENARIO_FIELD that names file and field path.
 * Times are seconds and sizes bytes from here on; defaults are filled in.
 */
import { load } from 'js-yaml'
import { UserError } from '../errors.ts'
import { readHost } from '../ingress/index.ts'
import { INGRESS_PATHS, type IngressPath } from '../ingress-path.ts'
import { canonicalIp, parseCidr } from '../k8s/ip.ts'
import { LIBCS } from '../libc.ts'
import { readTextFile } from '../text-file.ts'
import type { Distribution } from './distributions.ts'
import { ADDRESS_TYPES, type AddressType, DEFAULT_DNS, type TraceChange, type TraceDns } from './format.ts'
import { Field } from './scenario-fields.ts'

export interface Scenario {
  readonly name: string
  readonly description: string
  readonly seed: number
  /** No connection opens later; those under way finish. Infinity where `connections` alone ends the trace. */
  readonly durationSeconds: number
  /** The most connections over all streams; Infinity where left out. */
  readonly connections: number
  /** Files and folders, as written: relative to the scenario. */
  readonly manifests: readonly string[]
  readonly traffic: readonly Stream[]
  /** Of the cluster, in the order of their times. */
  readonly changes: readonly TraceChange[]
  /** A file with a Timeline, one as a map, or its events alone; undefined without. */
  readonly timeline: unknown
  /** How clients resolve the names that targets give. */
  readonly dns: TraceDns
  /** The scenario's text, for the trace's provenance. */
  readonly text: string
}

export interface Stream {
  /** `traffic[0]` or the stream's name, for messages. */
  readonly name: string
  readonly from: Source
  /** Zipf exponent of the clients' popularity; 0 is uniform. */
  readonly clientExponent: number
  readonly to: readonly Target[]
  /** Zipf exponent over the targets in their order, multiplied with their weights; 0 leaves the weights alone. */
  readonly targetExponent: number
  /** First arrival not before. */
  readonly startSeconds: number
  readonly arrivals: Arrivals
  /** Clients arrive once each and come back, or null. */
  readonly returning: Returning | null
  /** What exchanges ask for, drawn for each by weight; empty for a stream that does not speak HTTP. */
  readonly http: readonly HttpExchange[]
  /** Request and response exchanges of a connection; a draw is rounded. */
  readonly requests: Distribution
  readonly requestBytes: Distribution
  readonly responseBytes: Distribution
  readonly thinkTime: Distribution
  readonly serverTime: Distribution
  readonly rtt: Distribution
  /** The most payload of a packet. */
  readonly mss: number
  readonly close: readonly { readonly how: Close; readonly weight: number }[]
}

export interface HttpExchange {
  readonly host: string
  readonly path: string
  readonly method: string
  readonly weight: number
}

export type Source =
  | {
      readonly kind: 'pods'
      readonly namespace: string | null
      readonly name: string | null
      readonly workload: string | null
      readonly selector: Readonly<Record<string, string>>
    }
  | { readonly kind: 'external'; readonly cidr: string; readonly addresses: number }
  | { readonly kind: 'nat'; readonly cidr: string; readonly clients: number; readonly addresses: number }
  | { readonly kind: 'addresses'; readonly addresses: readonly string[] }

export type Via = 'auto' | 'clusterIP' | 'nodePort' | 'loadBalancerIP' | 'externalIP'

export type Target =
  | {
      readonly kind: 'service'
      readonly namespace: string
      readonly name: string
      readonly port: number | string | null
      readonly via: Via
      readonly node: string | null
      readonly weight: number
      readonly field: string
    }
  | {
      readonly kind: 'ingress'
      readonly namespace: string
      readonly name: string
      /** null: 443 where the Ingress has spec.tls, else 80. */
      readonly port: 80 | 443 | null
      /** Way in; null: as the Ingress's controller has it. */
      readonly path: IngressPath | null
      readonly weight: number
      readonly field: string
    }
  | {
      readonly kind: 'name'
      /** As a client types it. */
      readonly name: string
      readonly port: number
      readonly protocol: 6 | 17 | 132
      readonly weight: number
      readonly field: string
    }
  | {
      readonly kind: 'address'
      readonly address: string
      readonly port: number
      readonly protocol: 6 | 17 | 132
      readonly weight: number
      readonly field: string
    }

export interface Arrivals {
  readonly process: 'poisson' | 'constant'
  readonly perSecond: number
  /** Exactly so many, or Infinity. */
  readonly connections: number
}

export interface Returning {
  /** From the opening of a connection to the opening of the client's next. */
  readonly gap: Distribution
  /** The most connections of a client; Infinity where left out. */
  readonly visits: number
}

export const CLOSES = ['fin', 'rst', 'client-rst', 'none'] as const
/** `fin`: both sides; `rst`: the server resets; `client-rst`: the client does; `none`: the last packet is the last data. */
export type Close = (typeof CLOSES)[number]

/** Benchmarking addresses (RFC 2544): no one's clients. */
const DEFAULT_CLIENT_CIDR = '198.18.0.0/15'
const MAX_CLIENTS = 2 ** 22
const MAX_STREAMS = 1000
/** The core's clock ends after 24.8 days (compile/horizon.ts), and timeouts need some of it. */
const MAX_DURATION_SECONDS = 24 * 86_400
/** Of a scenario or a stream: some terabytes of trace, and days to make it. */
const MAX_CONNECTIONS = 1e9
const constant = (value: number): Distribution => ({ kind: 'constant', value })

/** Errors: E_SCENARIO_NOT_FOUND, E_SCENARIO_YAML, E_SCENARIO_FIELD. */
export function readScenario(path: string): Scenario {
  return parseScenario(readTextFile(path, 'scenario', 'E_SCENARIO_NOT_FOUND'), path)
}

/** @param file  for messages */
export function parseScenario(text: string, file: string): Scenario {
  let value: unknown
  try {
    value = load(text)
  } catch (error) {
    throw new UserError('E_SCENARIO_YAML', `the scenario is not YAML: ${(error as Error).message}`, { where: file })
  }
  const root = new Field(value, file, '')
  const fields = root.map([
    ...([
      'name',
      'description',
      'seed',
      'duration',
      'connections',
      'manifests',
      'traffic',
      'changes',
      'timeline',
      'dns',
    ] as const),
  ])
  const durationSeconds = fields.duration.missing ? Number.POSITIVE_INFINITY : fields.duration.duration()
  const connections = fields.connections.missing
    ? Number.POSITIVE_INFINITY
    : fields.connections.integer(1, MAX_CONNECTIONS)
  if (Number.isFinite(durationSeconds) && durationSeconds > MAX_DURATION_SECONDS)
    fields.duration.fail('must be at most 24 days', 'a replay counts milliseconds in 32 bits')
  const streams = fields.traffic.list()
  if (streams.length > MAX_STREAMS) fields.traffic.fail(`has more than ${MAX_STREAMS} streams`)
  const traffic = streams.map((stream) => parseStream(stream, durationSeconds, connections))
  if (durationSeconds + connections === Number.POSITIVE_INFINITY && durationSeconds === connections) {
    const endless = traffic.some(
      (stream) => stream.arrivals.connections === Number.POSITIVE_INFINITY || stream.returning,
    )
    if (endless) root.fail('has no end', 'give duration or connections')
  }
  return {
    name: fields.name.text(),
    description: fields.description.textOr(''),
    seed: fields.seed.missing ? 1 : fields.seed.integer(0),
    durationSeconds,
    connections,
    manifests: fields.manifests.missing ? [] : fields.manifests.list().map((item) => item.text()),
    traffic,
    changes: fields.changes.missing ? [] : parseChanges(fields.changes),
    timeline: fields.timeline.missing ? undefined : readTimeline(fields.timeline),
    dns: fields.dns.missing ? DEFAULT_DNS : parseDns(fields.dns),
    text,
  }
}

/** What is in it is found out with the manifests at hand. */
function readTimeline(field: Field): unknown {
  const { value } = field
  if (typeof value === 'string' || typeof value === 'object') return value
  return field.fail('must be a file with a Timeline, or its fields')
}

/** Whether an object is one is found out where the changes are applied, with the manifests at hand. */
function parseChanges(changes: Field): TraceChange[] {
  const parsed = changes.list().map((change): TraceChange => {
    const { at, apply, delete: removed } = change.map(['at', 'apply', 'delete'])
    if (apply.missing === removed.missing) change.fail('needs exactly one of apply and delete')
    return {
      timeSeconds: at.duration(),
      ...(apply.missing ? { delete: removed.value } : { apply: apply.value }),
    }
  })
  return parsed.sort((a, b) => a.timeSeconds - b.timeSeconds)
}

/** `name ttl type data`, as a zone file has it. */
const RECORD = /^\S+\s+\d+\s+(?:IN\s+)?([A-Za-z]\w*)\s+(\S.*?)\s*$/
/** At most 253 characters, labels of at most 63. */
const DOMAIN_NAME = /^(?=.{1,253}\.?$)(?:[^.\s]{1,63}\.)*[^.\s]{1,63}\.?$/

function parseDns(dns: Field): TraceDns {
  const { families, cacheSeconds, upstream, resolver } = dns.map(['families', 'cacheSeconds', 'upstream', 'resolver'])
  const types = families.missing ? ADDRESS_TYPES : families.list().map((type) => type.oneOf(ADDRESS_TYPES))
  return {
    families: ADDRESS_TYPES.filter((type: AddressType) => types.includes(type)),
    cacheSeconds: cacheSeconds.missing ? 0 : cacheSeconds.duration(),
    ...(resolver.missing ? {} : { resolver: resolver.oneOf(LIBCS) }),
    upstream: upstream.missing ? [] : upstream.list().map(parseRecord),
  }
}

function parseRecord(record: Field): string {
  const text = record.text()
  const [, type, data] =
    RECORD.exec(text) ?? record.fail('must be `name ttl type data`', 'db.example.com. 60 A 192.0.2.53')
  const family = type!.toUpperCase()
  if (family === 'A' || family === 'AAAA') {
    const address = canonicalIp(data!)
    if (address === null || address.includes(':') !== (family === 'AAAA'))
      record.fail(`${data} is no address of type ${family}`)
  }
  return text
}

function parseStream(stream: Field, durationSeconds: number, connections: number): Stream {
  const fields = stream.map([
    ...(['name', 'from', 'popularity', 'to', 'targetPopularity', 'start', 'arrivals', 'returning'] as const),
    ...([
      'requests',
      'requestBytes',
      'responseBytes',
      'thinkTime',
      'serverTime',
      'rtt',
      'mss',
      'close',
      'http',
    ] as const),
  ])
  const startSeconds = fields.start.missing ? 0 : fields.start.duration()
  const returning = fields.returning.missing ? null : parseReturning(fields.returning)
  if (returning !== null && !fields.popularity.missing) {
    fields.popularity.fail('has no meaning with returning', 'every client arrives once and then returns by itself')
  }
  const to = fields.to.list().map(parseTarget)
  const http = fields.http.missing ? [] : fields.http.list().map(parseHttpExchange)
  if (http.length === 0 && to.some(({ kind }) => kind === 'ingress')) {
    fields.http.fail('is missing, and an Ingress routes by host and path', '[{ host: app.example.com, path: / }]')
  }
  return {
    name: fields.name.textOr(stream.path),
    from: parseSource(fields.from),
    clientExponent: parsePopularity(fields.popularity),
    to,
    targetExponent: parsePopularity(fields.targetPopularity),
    startSeconds,
    arrivals: parseArrivals(fields.arrivals, durationSeconds - startSeconds, connections),
    returning,
    http,
    requests: fields.requests.missing ? constant(1) : fields.requests.distribution('count'),
    requestBytes: fields.requestBytes.missing ? constant(200) : fields.requestBytes.distribution('size'),
    responseBytes: fields.responseBytes.missing ? constant(1000) : fields.responseBytes.distribution('size'),
    thinkTime: fields.thinkTime.missing ? constant(0) : fields.thinkTime.distribution('duration'),
    serverTime: fields.serverTime.missing ? constant(0) : fields.serverTime.distribution('duration'),
    rtt: fields.rtt.missing ? constant(0.001) : fields.rtt.distribution('duration'),
    mss: fields.mss.missing ? 1460 : fields.mss.integer(1, 65_000),
    close: parseClose(fields.close),
  }
}

function parseSource(from: Field): Source {
  const [kind, field] = from.choice(['pods', 'external', 'nat', 'addresses'])
  switch (kind) {
    case 'pods': {
      const { namespace, name, workload, selector } = field.map(['namespace', 'name', 'workload', 'selector'])
      return {
        kind,
        namespace: namespace.missing ? null : namespace.text(),
        name: name.missing ? null : name.text(),
        workload: workload.missing ? null : workload.text(),
        selector: selector.missing ? {} : parseLabels(selector),
      }
    }
    case 'external': {
      const { cidr, addresses } = field.map(['cidr', 'addresses'])
      return { kind, cidr: parseClientCidr(cidr), addresses: addresses.integer(1, MAX_CLIENTS) }
    }
    case 'nat': {
      const { cidr, clients, addresses } = field.map(['cidr', 'clients', 'addresses'])
      return {
        kind,
        cidr: parseClientCidr(cidr),
        clients: clients.integer(1, MAX_CLIENTS),
        addresses: addresses.integer(1, MAX_CLIENTS),
      }
    }
    case 'addresses':
      return { kind, addresses: field.list().map(parseAddress) }
  }
}

const TARGET_FIELDS = [
  'service',
  'address',
  'name',
  'ingress',
  'path',
  'port',
  'protocol',
  'via',
  'node',
  'weight',
] as const
type TargetField = (typeof TARGET_FIELDS)[number]
type TargetFields = Readonly<Record<TargetField, Field>>

/** What a client dials: an Ingress, a name, a Service or an address, told apart by which of those fields there is. */
function parseTarget(target: Field): Target {
  const fields: TargetFields = target.map(TARGET_FIELDS)
  const common = { weight: fields.weight.missing ? 1 : fields.weight.number(1e-9), field: target.path }
  if (!fields.ingress.missing) return { ...parseIngressTarget(fields), ...common }
  if (!fields.path.missing) fields.path.fail('goes with ingress only')
  if (!fields.name.missing) return { ...parseNameTarget(fields), ...common }
  if (fields.address.missing) return { ...parseServiceTarget(fields), ...common }
  refuse(fields, ['service', 'via', 'node'], 'address')
  return {
    kind: 'address',
    address: parseAddress(fields.address),
    port: fields.port.integer(1, 65_535),
    protocol: parseProtocol(fields.protocol),
    ...common,
  }
}

type TargetOf<Kind extends Target['kind']> = Omit<Extract<Target, { readonly kind: Kind }>, 'weight' | 'field'>

/** Fields that do not go with the one that says what the target is. */
function refuse(fields: TargetFields, names: readonly TargetField[], kind: TargetField): void {
  for (const name of names) if (!fields[name].missing) fields[name].fail(`does not go with ${kind}`)
}

function parseProtocol(protocol: Field): 6 | 17 | 132 {
  const numbers = { TCP: 6, UDP: 17, SCTP: 132 } as const
  return numbers[protocol.missing ? 'TCP' : protocol.oneOf(['TCP', 'UDP', 'SCTP'])]
}

function parseIngressTarget(fields: TargetFields): TargetOf<'ingress'> {
  refuse(fields, ['service', 'address', 'name', 'protocol', 'via', 'node'], 'ingress')
  const port = fields.port.missing ? null : fields.port.integer(1, 65_535)
  if (port !== null && port !== 80 && port !== 443) fields.port.fail('of an Ingress must be 80 or 443')
  return {
    kind: 'ingress',
    ...parseNamespaced(fields.ingress),
    port: port as 80 | 443 | null,
    path: fields.path.missing ? null : fields.path.oneOf(INGRESS_PATHS),
  }
}

function parseNameTarget(fields: TargetFields): TargetOf<'name'> {
  refuse(fields, ['service', 'address', 'via', 'node'], 'name')
  const name = fields.name.text()
  if (!DOMAIN_NAME.test(name)) fields.name.fail(`is no domain name: ${name}`)
  return { kind: 'name', name, port: fields.port.integer(1, 65_535), protocol: parseProtocol(fields.protocol) }
}

function parseServiceTarget({ service, protocol, port, via, node }: TargetFields): TargetOf<'service'> {
  if (!protocol.missing) protocol.fail('comes from the Service; leave it out')
  return {
    kind: 'service',
    ...parseNamespaced(service),
    port: port.missing ? null : typeof port.value === 'number' ? port.integer(1, 65_535) : port.text(),
    via: via.missing ? 'auto' : via.oneOf(['auto', 'clusterIP', 'nodePort', 'loadBalancerIP', 'externalIP']),
    node: node.missing ? null : node.text(),
  }
}

/** `name` is of namespace default. */
function parseNamespaced(object: Field): { namespace: string; name: string } {
  const text = object.text()
  const [namespace, name, ...more] = `${text.includes('/') ? '' : 'default/'}${text}`.split('/')
  if (!namespace || !name || more.length > 0) object.fail('must be name or namespace/name')
  return { namespace: namespace!, name: name! }
}

/** The characters of a method (RFC 9110, 5.6.2) and of a path as it travels: no spaces, nothing that is not ASCII. */
const METHOD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const REQUEST_PATH = /^\/[\x21-\x7e]*$/

/** Hosts and paths that no rule knows are as welcome as others: they are answered by the proxy. */
function parseHttpExchange(exchange: Field): HttpExchange {
  const { host, path, method, weight } = exchange.map(['host', 'path', 'method', 'weight'])
  const name = host.text()
  if (!/^[\x21-\x7e]+$/.test(name) || readHost(name) === null) host.fail(`is no host name: ${name}`, 'app.example.com')
  const asked = path.textOr('/')
  if (!REQUEST_PATH.test(asked)) path.fail('must begin with / and have no spaces', 'escape what is not ASCII: %C3%A9')
  const verb = method.textOr('GET')
  if (!METHOD.test(verb)) method.fail(`is no HTTP method: ${verb}`)
  return { host: name, path: asked, method: verb.toUpperCase(), weight: weight.missing ? 1 : weight.number(1e-9) }
}

function parseArrivals(arrivals: Field, seconds: number, limit: number): Arrivals {
  const { process, rate, connections } = arrivals.map(['process', 'rate', 'connections'])
  const count = connections.missing ? Number.POSITIVE_INFINITY : connections.integer(1, MAX_CONNECTIONS)
  if (rate.missing && !Number.isFinite(count / seconds)) {
    arrivals.fail('needs a rate (connections per second)', 'connections alone needs the duration of the scenario too')
  }
  const perSecond = rate.missing ? count / seconds : rate.number(1e-6, 1e7)
  const expected = Math.min(count, limit, perSecond * seconds)
  if (Number.isFinite(expected) && expected > MAX_CONNECTIONS)
    arrivals.fail(`come to about ${Math.round(expected)} connections; a scenario has at most ${MAX_CONNECTIONS}`)
  return {
    process: process.missing ? 'poisson' : process.oneOf(['poisson', 'constant']),
    perSecond,
    connections: count,
  }
}

function parseReturning(returning: Field): Returning {
  const { gap, visits } = returning.map(['gap', 'visits'])
  return {
    gap: gap.distribution('duration'),
    visits: visits.missing ? Number.POSITIVE_INFINITY : visits.integer(1),
  }
}

/** `uniform` or `{ zipf: exponent }`. */
function parsePopularity(popularity: Field): number {
  if (popularity.missing) return 0
  if (typeof popularity.value === 'string') {
    popularity.oneOf(['uniform'])
    return 0
  }
  return popularity.map(['zipf']).zipf.number(0, 10)
}

function parseClose(close: Field): Stream['close'] {
  if (close.missing) return [{ how: 'fin', weight: 1 }]
  if (typeof close.value === 'string') return [{ how: close.oneOf(CLOSES), weight: 1 }]
  const ways = Object.entries(close.map(CLOSES)).filter(([, field]) => !field.missing)
  const weights = ways.map(([how, field]) => ({ how: how as Close, weight: field.number(0) }))
  return weights.some(({ weight }) => weight > 0) ? weights : close.fail('needs a way with a weight above 0')
}

function parseLabels(labels: Field): Record<string, string> {
  if (typeof labels.value !== 'object' || Array.isArray(labels.value)) labels.fail('must be a map of labels')
  return Object.fromEntries(Object.entries(labels.value as object).map(([label, value]) => [label, String(value)]))
}

function parseAddress(address: Field): string {
  const text = address.text()
  return canonicalIp(text) ?? address.fail(`is no IP address: ${text}`)
}

function parseClientCidr(cidr: Field): string {
  const text = cidr.textOr(DEFAULT_CLIENT_CIDR)
  return parseCidr(text)?.text ?? cidr.fail(`is no CIDR: ${text}`)
}
