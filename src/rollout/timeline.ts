/**
 * The Timeline document: what happens to a cluster and when, and what no manifest says about its workloads, clients and clouds.
 *
 *   apiVersion: dpemu/v1
 *   kind: Timeline
 *   events:
 *     - { at: 60s, rollout: deployment/web }
 *     - { at: 6m, drain: node-b, then: delete, after: 30s }
 *   workloads:
 *     deployment/web: { startup: 8s, onSigterm: { accept: stop } }
 *   loadBalancer: gke-l4
 *
 * An event states a cause; what comes of it is computed. Events of one instant take place in the order of the file. A Timeline may
 * stand among manifests or in a file of its own; one a run. Names are looked up when the cluster is known (`site.ts`).
 * Errors: E_TIMELINE (exit 3) with file, document and field, and the nearest known name.
 */
import { resolve } from 'node:path'
import { UserError } from '../errors.ts'
import type { ManifestFile } from '../k8s/files.ts'
import { isMap } from '../k8s/schema.ts'
import { parseDocuments } from '../k8s/yaml.ts'
import { suggestion } from '../nearest.ts'
import { readTextFile } from '../text-file.ts'
import { findDocument } from './document.ts'
import { Field } from './fields.ts'
import {
  CONTROL_PLANES,
  type ControlPlane,
  DEFAULT_CONTROL_PLANE,
  LOAD_BALANCERS,
  type LoadBalancer,
  type ProbeKind,
  type ProbeSettings,
} from './profiles.ts'

/** A number of pods, a share of them, or all. */
export type PodCount = { readonly count: number } | { readonly fraction: number }

interface EventBase {
  readonly atMs: number
  /** For messages: `friday.yaml, document 1, events[3]`. */
  readonly where: string
}

export type TimelineEvent = EventBase &
  (
    | {
        readonly verb: 'rollout'
        readonly target: string
        /** Laid over the pod template of the new revision. */
        readonly patch: Readonly<Record<string, unknown>> | null
        /** Of the new revision's pods, in place of the workload's; Infinity: never ready. */
        readonly startup: Span | null
      }
    | { readonly verb: 'scale'; readonly target: string; readonly to: number }
    | {
        readonly verb: 'delete' | 'crash'
        readonly target: string
        readonly pods: PodCount | null
        readonly force: boolean
      }
    | {
        readonly verb: 'unready'
        readonly target: string
        readonly pods: PodCount | null
        readonly forMs: number
        readonly everyMs: number
        readonly times: number
      }
    | {
        readonly verb: 'drain'
        readonly node: string
        readonly thenDelete: boolean
        readonly afterMs: number
        readonly timeoutMs: number
      }
    | { readonly verb: 'fail'; readonly node: string; readonly backMs: number }
    | { readonly verb: 'taint'; readonly node: string; readonly as: 'cluster-autoscaler' }
    | { readonly verb: 'shutdown'; readonly node: string; readonly forMs: number; readonly backMs: number }
    | {
        readonly verb: 'stop'
        /** The process, its syncs alone, or the renewal of the node's lease. */
        readonly what: 'kube-proxy' | 'sync' | 'heartbeat'
        readonly node: string
        readonly forMs: number
      }
    /** Whole objects, as manifests hold them. Only in a replay. */
    | { readonly verb: 'apply'; readonly objects: readonly unknown[] }
  )

/** From the least to the most, drawn for each pod. */
export interface Span {
  readonly minMs: number
  readonly maxMs: number
}

/** What no manifest says about the pods of a workload. */
export interface WorkloadSettings {
  readonly startup: Span
  /** On SIGTERM the process stops accepting connections at once, or accepts until it ends. */
  readonly accept: 'stop' | 'keep'
  /** What becomes of idle connections on SIGTERM. */
  readonly idle: 'close' | 'keep'
  /** Whether requests in progress are finished before the process ends. */
  readonly inFlight: 'finish' | 'abort'
  /** From SIGTERM to the end of the process, at least. */
  readonly exitAfterMs: number
  readonly request: { readonly durationMs: number; readonly distribution: 'fixed' | 'exponential' }
  /** Requests of one connection, one after the other. */
  readonly perConnection: number
}

export const DEFAULT_WORKLOAD: WorkloadSettings = {
  startup: { minMs: 8000, maxMs: 8000 },
  accept: 'stop',
  idle: 'close',
  inFlight: 'finish',
  exitAfterMs: 0,
  request: { durationMs: 40, distribution: 'fixed' },
  perConnection: 1,
}

export interface ClientSettings {
  /** How long a client keeps a DNS answer: as its TTL says, for ever, or so many milliseconds. */
  readonly dns: 'ttl' | 'never' | number
  /** Times that a SYN without an answer is sent again. */
  readonly synRetries: number
  /** Clients give up waiting for an answer to their SYN after this; Infinity: after the last retransmission. */
  readonly connectTimeoutMs: number
}

export interface TrafficSettings {
  /** `default/web`, or null for the Services of the workload. */
  readonly service: string | null
  readonly from: 'outside' | 'inside' | 'ingress' | null
  readonly perSecond: number | null
  /** Client addresses that they come from: matters with ClientIP affinity. */
  readonly clients: number
}

export interface Timeline {
  /** For messages: `friday.yaml, document 1`; '' where there is none. */
  readonly where: string
  readonly events: readonly TimelineEvent[]
  /** By reference as written, with where it stands. */
  readonly workloads: ReadonlyMap<
    string,
    { readonly where: string; readonly settings: WorkloadSettings; readonly given: ReadonlySet<string> }
  >
  readonly loadBalancer: LoadBalancer | null
  readonly controlPlane: ControlPlane
  readonly controlPlaneGiven: boolean
  /** How long kube-proxy takes to write its rules on single nodes. */
  readonly nodeSyncMs: ReadonlyMap<string, { readonly where: string; readonly syncMs: number }>
  readonly clients: ClientSettings
  readonly traffic: TrafficSettings
  /** Of node-monitor-grace-period; null: by release. */
  readonly nodeMonitorGraceMs: number | null
  readonly tolerationMs: number
  /** As written, `1.34`. */
  readonly kubeVersion: string | null
  readonly runs: number | null
  /** How long is watched, from 0; null: until all has settled. */
  readonly durationMs: number | null
}

const VERBS = [
  'rollout',
  'scale',
  'delete',
  'crash',
  'unready',
  'drain',
  'fail',
  'shutdown',
  'taint',
  'stop',
  'apply',
] as const
/** Fields beside `at` and the verb. */
const EVENT_FIELDS: Readonly<Record<(typeof VERBS)[number], readonly string[]>> = {
  rollout: ['set', 'patch', 'startup'],
  scale: ['to'],
  delete: ['pods', 'force'],
  crash: ['pods', 'exit'],
  unready: ['pods', 'for', 'every', 'times'],
  drain: ['then', 'after', 'timeout'],
  fail: ['back'],
  shutdown: ['for', 'back'],
  taint: ['as'],
  stop: ['node', 'for'],
  apply: [],
}
const TOP_FIELDS = [
  ...['apiVersion', 'kind', 'metadata', 'events', 'workloads', 'loadBalancer', 'controlPlane', 'clients', 'traffic'],
  ...['kubeVersion', 'runs', 'duration', 'nodeMonitorGracePeriod', 'tolerationSeconds'],
]
/** A flap that says neither how often nor how long. */
const DEFAULT_FLAPS = 10
const DEFAULT_TOLERATION_MS = 300_000

/**
 * The one Timeline of the files, or null.
 *
 * @throws UserError E_TIMELINE: what is wrong with it, or that there are two
 */
export function findTimeline(files: readonly ManifestFile[]): Timeline | null {
  const found = findDocument(files)
  return found === null ? null : parseTimeline(found.value, found.where, found.folder)
}

/**
 * @param where   file and document, for messages
 * @param folder  that files of `apply` are in
 * @throws UserError E_TIMELINE
 */
export function parseTimeline(value: unknown, where: string, folder = '.'): Timeline {
  const root = new Field(value, where)
  const top = root.map(TOP_FIELDS)
  if (top('apiVersion').value !== 'dpemu/v1') throw top('apiVersion').refuse('expected dpemu/v1')
  const events = top('events')
    .list()
    .flatMap((event) => readEvent(event, folder))
    // Stable: events of one instant stay in the order of the file.
    .sort((a, b) => a.atMs - b.atMs)
  const controlPlane = top('controlPlane')
  const durationMs = top('duration').or((field) => field.duration(), null)
  for (const event of events) {
    if (durationMs !== null && event.atMs > durationMs)
      throw new UserError('E_TIMELINE', 'the event is beyond the end of the timeline (duration)', {
        where: event.where,
      })
  }
  refuseOverlaps(events)
  return {
    where,
    events,
    workloads: new Map(
      top('workloads')
        .entries()
        .map(([name, field]) => [name, { where: field.where, ...readWorkload(field) }]),
    ),
    loadBalancer: top('loadBalancer').or(readLoadBalancer, null),
    controlPlane: readControlPlane(controlPlane),
    controlPlaneGiven: !controlPlane.isAbsent,
    nodeSyncMs: readNodeSync(controlPlane),
    clients: readClients(top('clients')),
    traffic: readTraffic(top('traffic')),
    nodeMonitorGraceMs: top('nodeMonitorGracePeriod').or((field) => field.duration(), null),
    tolerationMs: top('tolerationSeconds').or((field) => field.integer(0) * 1000, DEFAULT_TOLERATION_MS),
    kubeVersion: top('kubeVersion').or((field) => String(field.value), null),
    runs: top('runs').or((field) => field.integer(1, 100_000), null),
    durationMs,
  }
}

function readEvent(event: Field, folder: string): TimelineEvent[] {
  const all = event.map(['at', ...VERBS, ...new Set(Object.values(EVENT_FIELDS).flat())])
  const verbs = VERBS.filter((name) => !all(name).isAbsent)
  const [verb] = verbs
  if (verb === undefined) throw event.refuse(`expected one of ${VERBS.join(', ')}`)
  if (verbs.length > 1) throw event.refuse(`expected one of ${verbs.join(' and ')}`)
  const fields = event.map(['at', verb, ...EVENT_FIELDS[verb]])
  const base = { atMs: fields('at').duration(), where: event.where }
  const target = fields(verb)
  switch (verb) {
    case 'rollout':
      return [
        {
          ...base,
          verb,
          target: target.text(),
          patch: fields('patch').or(readPatch, null),
          startup: fields('startup').or(readStartup, null),
        },
      ]
    case 'scale':
      return [{ ...base, verb, target: target.text(), to: fields('to').integer(0, 150_000) }]
    case 'delete':
    case 'crash': {
      const pods = fields('pods').or(readPods, null)
      const force = verb === 'delete' && fields('force').or((field) => field.boolean(), false)
      if (verb === 'crash') fields('exit').or((field) => field.text(), '')
      return [{ ...base, verb, target: target.text(), pods, force }]
    }
    case 'unready': {
      const forMs = fields('for').duration()
      const everyMs = fields('every').or((field) => field.duration(), 0)
      if (everyMs > 0 && everyMs <= forMs) throw fields('every').refuse('expected more than `for`')
      const times = fields('times').or((field) => field.integer(1, 10_000), everyMs > 0 ? DEFAULT_FLAPS : 1)
      return [{ ...base, verb, target: target.text(), pods: fields('pods').or(readPods, null), forMs, everyMs, times }]
    }
    case 'drain': {
      const thenDelete = fields('then').or((field) => field.oneOf('delete') === 'delete', false)
      return [
        {
          ...base,
          verb,
          node: target.text(),
          thenDelete,
          afterMs: fields('after').or((field) => field.duration(), 0),
          timeoutMs:
            fields('timeout').or((field) => field.duration(), Number.POSITIVE_INFINITY) || Number.POSITIVE_INFINITY,
        },
      ]
    }
    case 'fail':
      return [
        {
          ...base,
          verb,
          node: target.text(),
          backMs: fields('back').or((f) => f.duration(), Number.POSITIVE_INFINITY),
        },
      ]
    case 'shutdown':
      return [
        {
          ...base,
          verb,
          node: target.text(),
          forMs: fields('for').duration(),
          backMs: fields('back').or((f) => f.duration(), Number.POSITIVE_INFINITY),
        },
      ]
    case 'taint':
      return [{ ...base, verb, node: target.text(), as: fields('as').oneOf('cluster-autoscaler') }]
    case 'stop':
      return [
        {
          ...base,
          verb,
          what: target.oneOf('kube-proxy', 'sync', 'heartbeat'),
          node: fields('node').text(),
          forMs: fields('for').or((field) => field.duration(), Number.POSITIVE_INFINITY),
        },
      ]
    case 'apply':
      return [{ ...base, verb, objects: readApplied(target, folder) }]
  }
}

/** A whole object, or the name of a file with such. */
function readApplied(field: Field, folder: string): unknown[] {
  if (isMap(field.value)) return [field.value]
  const name = resolve(folder, field.text())
  const objects: unknown[] = []
  const text = readManifest(field, name)
  for (const { value, problem } of parseDocuments({ name, text })) {
    if (problem !== null) throw field.refuse(`${name}: ${problem.message}`)
    if (value !== null && value !== undefined) objects.push(value)
  }
  if (objects.length === 0) throw field.refuse(`there is nothing in ${name}`)
  return objects
}

function readManifest(field: Field, name: string): string {
  try {
    return readTextFile(name, 'manifest', 'E_TIMELINE')
  } catch (error) {
    if (error instanceof UserError) throw field.refuse(`${error.message}: ${name}`)
    throw error
  }
}

function readPatch(field: Field): Record<string, unknown> {
  return Object.fromEntries(field.entries().map(([name, one]) => [name, one.value]))
}

function readPods(field: Field): PodCount {
  const { value } = field
  if (typeof value === 'number' && Number.isInteger(value) && value > 0) return { count: value }
  const percent = typeof value === 'string' ? /^(\d{1,3})%$/.exec(value)?.[1] : undefined
  if (percent !== undefined && Number(percent) <= 100) return { fraction: Number(percent) / 100 }
  if (value === 'all') return { fraction: 1 }
  throw field.refuse('expected a number of pods, a percentage such as 50%, or all')
}

/** `8s`, `{ min: 6s, max: 12s }` or `never`. */
function readStartup(field: Field): Span {
  if (field.value === 'never') return { minMs: Number.POSITIVE_INFINITY, maxMs: Number.POSITIVE_INFINITY }
  if (!isMap(field.value)) {
    const ms = field.duration()
    return { minMs: ms, maxMs: ms }
  }
  const span = field.map(['min', 'max'])
  const [minMs, maxMs] = [span('min').duration(), span('max').duration()]
  if (maxMs < minMs) throw span('max').refuse('expected at least `min`')
  return { minMs, maxMs }
}

function readWorkload(field: Field): { settings: WorkloadSettings; given: ReadonlySet<string> } {
  const own = field.map(['startup', 'onSigterm', 'requests'])
  const sigterm = own('onSigterm').isAbsent ? null : own('onSigterm').map(['accept', 'idle', 'inFlight', 'exitAfter'])
  const requests = own('requests').isAbsent ? null : own('requests').map(['duration', 'mean', 'perConnection'])
  const pick = <T>(get: ((name: string) => Field) | null, name: string, read: (field: Field) => T, fallback: T): T =>
    get === null ? fallback : get(name).or(read, fallback)
  const given = new Set(['startup', 'onSigterm', 'requests'].filter((name) => !own(name).isAbsent))
  const mean = pick(requests, 'mean', (one) => one.duration(), -1)
  const fixed = pick(requests, 'duration', (one) => one.duration(), DEFAULT_WORKLOAD.request.durationMs)
  const settings: WorkloadSettings = {
    startup: own('startup').or(readStartup, DEFAULT_WORKLOAD.startup),
    accept: pick(sigterm, 'accept', (one) => one.oneOf('stop', 'keep'), DEFAULT_WORKLOAD.accept),
    idle: pick(sigterm, 'idle', (one) => one.oneOf('close', 'keep'), DEFAULT_WORKLOAD.idle),
    inFlight: pick(sigterm, 'inFlight', (one) => one.oneOf('finish', 'abort'), DEFAULT_WORKLOAD.inFlight),
    exitAfterMs: pick(sigterm, 'exitAfter', (one) => one.duration(), DEFAULT_WORKLOAD.exitAfterMs),
    request:
      mean >= 0 ? { durationMs: mean, distribution: 'exponential' } : { durationMs: fixed, distribution: 'fixed' },
    perConnection: pick(requests, 'perConnection', (one) => one.integer(1), DEFAULT_WORKLOAD.perConnection),
  }
  return { settings, given }
}

/** A node that is down cannot fail, and a kube-proxy that has stopped cannot stop. */
function refuseOverlaps(events: readonly TimelineEvent[]): void {
  const until = new Map<string, number>()
  for (const event of events) {
    if (event.verb !== 'fail' && event.verb !== 'stop' && event.verb !== 'shutdown') continue
    const key = `${event.verb === 'stop' ? event.what : 'down'} ${event.node}`
    const endMs = event.atMs + (event.verb === 'stop' ? event.forMs : event.backMs)
    if (event.atMs < (until.get(key) ?? 0)) {
      const what =
        event.verb === 'stop'
          ? `${event.what} on ${event.node} has stopped already`
          : `node ${event.node} is down already`
      throw new UserError('E_TIMELINE', what, { where: event.where })
    }
    until.set(key, endMs)
  }
}

const LB_FIELDS = [
  ...['profile', 'targets', 'probe', 'interval', 'unhealthy', 'healthy', 'timeout', 'propagation'],
  ...['deregister', 'register', 'dead', 'onUnhealthy', 'hashing', 'failOpen', 'readinessGate', 'local', 'cluster'],
]
const PROBE_FIELDS = ['probe', 'interval', 'unhealthy', 'healthy', 'timeout']

/** The name of a profile, or fields laid over one (over `gke-l4`'s where none is named, without propagation). */
function readLoadBalancer(field: Field): LoadBalancer {
  if (typeof field.value === 'string') return profileOf(field, LOAD_BALANCERS)
  const own = field.map(LB_FIELDS)
  const base = own('profile').or((one) => profileOf(one, LOAD_BALANCERS), LOAD_BALANCERS[0]!)
  const both = (settings: ProbeSettings): ProbeSettings => readProbe(own, settings)
  const side = (name: 'local' | 'cluster'): ProbeSettings =>
    own(name).or((one) => readProbe(one.map(PROBE_FIELDS), both(base[name])), both(base[name]))
  return {
    name: own('profile').or((one) => one.text(), 'as given'),
    targets: own('targets').or((one) => one.oneOf('nodes', 'pods', 'leader', 'routes'), base.targets),
    cluster: side('cluster'),
    local: side('local'),
    propagationMs: own('propagation').or((one) => one.duration(), base.propagationMs),
    deregisterMs: own('deregister').or((one) => one.duration(), base.deregisterMs),
    registerMs: own('register').or((one) => one.duration(), base.registerMs),
    deadMs: own('dead').or((one) => one.duration(), base.deadMs),
    onUnhealthy: own('onUnhealthy').or((one) => one.oneOf('reset', 'keep', 'move'), base.onUnhealthy),
    hashing: own('hashing').or((one) => one.oneOf('modulo', 'resilient'), base.hashing),
    failOpen: own('failOpen').or((one) => one.boolean(), base.failOpen),
    readinessGate: own('readinessGate').or((one) => one.boolean(), base.readinessGate),
    source: field.where,
  }
}

function readProbe(own: (name: string) => Field, base: ProbeSettings): ProbeSettings {
  const intervalMs = own('interval').or((one) => one.duration(), base.intervalMs)
  if (intervalMs <= 0) throw own('interval').refuse('expected more than 0')
  return {
    kind: own('probe').or((one) => one.oneOf<ProbeKind>('healthz', 'health-check-port', 'node-port'), base.kind),
    intervalMs,
    unhealthy: own('unhealthy').or((one) => one.integer(1, 100), base.unhealthy),
    healthy: own('healthy').or((one) => one.integer(1, 100), base.healthy),
    timeoutMs: own('timeout').or((one) => one.duration(), Math.min(base.timeoutMs, intervalMs)),
  }
}

function readControlPlane(field: Field): ControlPlane {
  const standard = CONTROL_PLANES.find(({ name }) => name === DEFAULT_CONTROL_PLANE)!
  if (field.isAbsent) return standard
  if (typeof field.value === 'string') return profileOf(field, CONTROL_PLANES)
  const own = field.map(['profile', 'slice', 'watch', 'sync', 'minSync', 'relist', 'removal', 'nodes'])
  const base = own('profile').or((one) => profileOf(one, CONTROL_PLANES), standard)
  const sync = own('sync')
  return {
    name: base.name,
    sliceMs: own('slice').or((one) => one.duration(), base.sliceMs),
    watchMs: own('watch').or((one) => one.duration(), base.watchMs),
    syncMs: sync.or((one) => one.duration(), base.syncMs),
    syncQuantiles: sync.isAbsent ? base.syncQuantiles : null,
    minSyncMs: own('minSync').or((one) => one.duration(), base.minSyncMs),
    relistMs: own('relist').or((one) => one.duration(), base.relistMs),
    removalMs: own('removal').or((one) => one.duration(), base.removalMs),
    source: field.where,
  }
}

function readNodeSync(field: Field): Timeline['nodeSyncMs'] {
  if (!isMap(field.value)) return new Map()
  return new Map(
    field
      .step('nodes')
      .entries()
      .map(([name, node]) => [name, { where: node.where, syncMs: node.map(['sync'])('sync').duration() }]),
  )
}

/** Linux: net.ipv4.tcp_syn_retries. */
const LINUX_SYN_RETRIES = 6

function readClients(field: Field): ClientSettings {
  if (field.isAbsent) return { dns: 'ttl', synRetries: LINUX_SYN_RETRIES, connectTimeoutMs: Number.POSITIVE_INFINITY }
  const own = field.map(['dns', 'synRetries', 'connectTimeout'])
  return {
    dns: own('dns').or(
      (one) => (one.value === 'ttl' || one.value === 'never' ? one.value : one.duration()),
      'ttl' as const,
    ),
    synRetries: own('synRetries').or((one) => one.integer(0, 20), LINUX_SYN_RETRIES),
    connectTimeoutMs: own('connectTimeout').or((one) => one.duration(), Number.POSITIVE_INFINITY),
  }
}

function readTraffic(field: Field): TrafficSettings {
  const own = field.isAbsent ? null : field.map(['service', 'from', 'rate', 'clients'])
  return {
    service: own?.('service').or((one) => one.text(), null) ?? null,
    from: own?.('from').or((one) => one.oneOf('outside', 'inside', 'ingress'), null) ?? null,
    perSecond: own?.('rate').or(readRate, null) ?? null,
    clients: own?.('clients').or((one) => one.integer(1, 1_000_000), 100) ?? 100,
  }
}

/** `200/s`, `6000/m`, or a number a second. */
function readRate(field: Field): number {
  const rate = perSecond(field.value)
  if (rate === null) throw field.refuse('expected a rate such as 200/s')
  return rate
}

export function perSecond(value: unknown): number | null {
  const match = /^(\d+(?:\.\d+)?)(?:\/(s|m|h))?$/.exec(String(value).trim())
  if (match === null) return null
  const rate = Number(match[1]) / (match[2] === 'm' ? 60 : match[2] === 'h' ? 3600 : 1)
  return rate > 0 && rate <= 1e6 ? rate : null
}

function profileOf<T extends { readonly name: string }>(field: Field, profiles: readonly T[]): T {
  const names = profiles.map(({ name }) => name)
  const found = profiles.find(({ name }) => name === field.value)
  if (found === undefined) throw field.refuse('there is no such profile', suggestion(String(field.value), names))
  return found
}

/** What holds where there is no Timeline. */
export const EMPTY_TIMELINE: Timeline = parseTimeline({ apiVersion: 'dpemu/v1', kind: 'Timeline' }, '')
