/**
 * What a replay will do, decided before anything runs: the cluster, the rule sets of all runs, sizes, shards.
 *
 * Pure but for reading manifests and model; everything after it only carries it out. Memory is known here: a worker holds
 * its share of connection lines, one conntrack table for all nodes and one window of packets.
 */
import {
  DNS_TCP_PACKETS,
  MAX_ENTRIES,
  NAMES_CLIENT_CACHE_MS,
  type ResultExtent,
  type RuleColumns,
  SETTING_IPVS_UDP_MS,
  SETTING_RANDOM_FULLY,
} from '../../native-free-core/index.ts'
import { type Compiled, compileRules } from '../compile/compile.ts'
import type { NameTables } from '../compile/dns-columns.ts'
import { beyondHorizon } from '../compile/horizon.ts'
import type { ProxyMode } from '../compile/kube-proxy.ts'
import { DEFAULT_MODEL, type Model, readModel } from '../compile/model.ts'
import { Registry } from '../compile/registry.ts'
import { isExternallyReachable } from '../compile/usable.ts'
import { UserError, type Warning } from '../errors.ts'
import type { IngressPath } from '../ingress/index.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { deriveCluster } from '../k8s/derive.ts'
import { parseManifests, readManifestFiles, requireObjects } from '../k8s/load.ts'
import { objectTexts } from '../k8s/reduce.ts'
import { withVersion } from '../kubernetes-version.ts'
import { versionOf } from '../rollout/site.ts'
import { TICKS_PER_SECOND } from '../trace/format.ts'
import type { TraceFile } from '../trace/read.ts'
import { bindTrace } from './bind.ts'
import { planNames } from './dns-questions.ts'
import { followedEndpoints } from './followed-endpoints.ts'
import { type IngressPlan, planIngress } from './ingress.ts'
import { type LatencySlots, latencySlots } from './latency-slots.ts'
import { ENTRIES_ON_A_NODE } from './quotas.ts'
import { changedClusters, changesOf, type Stage, sharedByStage, stagesOf } from './stages.ts'
import { planTimeline, type TimelinePlan, timelineOf } from './timeline.ts'

export type PolicyName = 'cluster' | 'local' | 'as-is'

export interface ReplayOptions {
  readonly trace: string
  readonly manifests: readonly string[]
  readonly policies: readonly PolicyName[]
  /** Empty: as the manifests say, else nftables. */
  readonly proxyModes: readonly ProxyMode[]
  /** Ways from Ingresses' clients to backends to run side by side; left out or empty: as each Ingress has it. */
  readonly ingressPaths?: readonly IngressPath[]
  /** Minor release of Kubernetes 1; left out or null: as the Nodes tell. */
  readonly kubernetesMinor?: number | null
  readonly workers: number
  /** Slices that the flows are divided into; at most the trace's lanes. */
  readonly shards: number
  /** null: the trace's own. */
  readonly seed: number | null
  readonly model: string | null
  /** False: without `series` in the report. */
  readonly series?: boolean
  /** Of the placements of pods that kube-scheduler could have made; left out or 0: the one that is derived. */
  readonly placement?: number
  /** A file with a Timeline; left out: that of the manifests or the trace, if there is one. */
  readonly timeline?: string | null
  /** A node's conntrack table at a time of the trace is wanted; only for a replay of one run. */
  readonly dumpConntrack?: { readonly node: string; readonly seconds: number } | undefined
}

export interface PlannedRun {
  readonly policy: PolicyName
  readonly mode: ProxyMode
  /** Where HTTP requests go through proxies: how. */
  readonly ingress: IngressPlan | null
  readonly compiled: Compiled
  /** The rules after each change of the cluster that the trace carries. */
  readonly changes: readonly { readonly tick: number; readonly compiled: Compiled }[]
}

export interface ReplayPlan {
  readonly cluster: Cluster
  /** It, and what it is after each change that the trace carries. */
  readonly clusters: readonly Cluster[]
  readonly registry: Registry
  readonly model: Model
  readonly runs: readonly PlannedRun[]
  readonly comparedServices: readonly string[]
  readonly seed: number
  /** The objects of the manifests that were used, as texts. */
  readonly manifests: readonly string[]
  readonly shards: number
  readonly workers: number
  readonly entries: number
  readonly settles: boolean
  /** Flows that a connection can make, those of its name queries included. */
  readonly flowsPerConnection: number
  /** Most hops that the questions for one name leave. */
  readonly hopsOfNames: number
  readonly latencies: LatencySlots
  /** Endpoints whose connections are followed over time, those of the compared Services first; null: no series is wanted. */
  readonly seriesEndpoints: Int32Array | null
  readonly warnings: readonly Warning[]
  /** What a Timeline does to the cluster; null without one. */
  readonly timeline: TimelinePlan | null
}

/** Nodes that a connection can cross, and so the entries it can cost: through another node's node port. */
export const MAX_HOPS = 3

export function planReplay(options: ReplayOptions, trace: TraceFile, stdin?: () => string): ReplayPlan {
  const { header, totals } = trace
  const { placement = 0 } = options
  const files = options.manifests.length > 0 ? readManifestFiles(options.manifests, stdin) : header.manifests
  const parsed = requireObjects(parseManifests(files), options.manifests)
  // Of what a trace holds, only its writer saw what was left out and misspelt.
  const loadWarnings = options.manifests.length > 0 ? parsed.warnings : (header.warnings ?? parsed.warnings)
  const timeline = timelineOf(options.timeline ?? null, files, header, trace.path)
  const minor = options.kubernetesMinor ?? (timeline === null ? null : versionOf(timeline))
  const cluster = withVersion(deriveCluster(parsed.objects, undefined, placement), minor)
  const model = options.model === null ? DEFAULT_MODEL : readModel(options.model)
  const registry = new Registry()
  registry.preload(header.addresses.v4, header.addresses.v6)
  const binding = bindTrace(header, cluster, registry)
  const isPlayed = ({ message }: Warning): boolean => timeline !== null && message.startsWith('Timeline ')
  const warnings: Warning[] = [
    ...loadWarnings.filter((one) => !isPlayed(one)),
    ...cluster.warnings,
    ...binding.warnings,
  ]
  const durationSeconds = totals.durationTicks / TICKS_PER_SECOND
  const endMs = Math.ceil(durationSeconds * 1000)
  const gcSeconds = model.gcIntervalSeconds || Math.min(60, Math.max(1, durationSeconds / 1024))
  const modes: readonly (ProxyMode | null)[] = options.proxyModes.length > 0 ? options.proxyModes : [null]
  const changed = changedClusters(parsed.objects, cluster, changesOf(trace, timeline), placement, warnings)
  const timed =
    timeline === null
      ? null
      : planTimeline({
          timeline,
          objects: parsed.objects,
          cluster,
          trace,
          minor,
          seed: options.seed ?? header.provenance.seed,
          modes,
          fromTrace: options.manifests.length === 0,
          runs: options.policies.length * modes.length,
          warnings,
        })
  const [first, ...stages] = stagesOf(cluster, changed, timed)
  const clusters = [first!.cluster, ...stages.map((stage) => stage.cluster)]
  const lastTick = stages.at(-1)?.tick ?? null
  const names = planNames(header, clusters, binding.clientMap, registry, warnings, { trace, lastTick })
  const asked = options.ingressPaths ?? []
  const ingressPlans = (asked.length > 0 ? asked : [null]).map((path) =>
    planIngress(header, clusters, binding.destinations, path, registry, warnings),
  )
  if (asked.length > 0 && ingressPlans[0] === null) warnings.push(noIngress(trace))
  const ways = ingressPlans.some((ingress) => ingress === null) ? [null] : ingressPlans
  const combinations = options.policies.flatMap((policy) =>
    modes.flatMap((mode) => ways.map((ingress) => ({ policy, mode, ingress }))),
  )
  const planned = combinations.map(({ policy, mode, ingress }) => {
    const compile = (stage: Stage, at: number, before: Compiled | null): Compiled =>
      compileRules(stage.cluster, registry, {
        policy: policy === 'as-is' ? null : policy === 'local' ? 'Local' : 'Cluster',
        mode,
        model,
        destinations: ingress?.destinations ?? binding.destinations,
        clientMap: binding.clientMap,
        gcIntervalMs: Math.ceil(gcSeconds * 1000),
        endMs,
        names: names?.[at] ?? null,
        ingress: ingress?.tables[at] ?? null,
        views: stage.moment?.views(policy === 'as-is' ? null : policy, shared(stage)) ?? null,
        before: before?.columns ?? null,
      })
    const shared = sharedByStage()
    const compiled = compile(first!, 0, null)
    warnings.push(...compiled.warnings)
    let before = compiled
    const changes = stages.map((stage, i) => {
      before = compile(stage, i + 1, timed === null ? null : before)
      return { tick: stage.tick, compiled: before }
    })
    return { policy, mode: compiled.settings.mode, ingress, compiled, changes }
  })
  checkHorizon(endMs, planned, trace.path)
  const dialled = new Set(header.destinations.flatMap(({ service }) => service ?? []))
  const latencies = latencySlots(registry, dialled, names !== null || ways[0] !== null)
  if (latencies.left > 0) warnings.push(withoutSlot(latencies))
  const shards = shardsFor(options.shards, trace, planned, warnings)
  for (const ingress of ways) warnings.push(...ingressNotes(ingress))
  const maxima = planned.map(({ compiled }) => sum(compiled.columns.nodeConntrackMax))
  const proxied = ways[0] === null ? 0 : trace.requestCount
  const flowsPerConnection = 1 + mostQueryFlows(names)
  const flows = totals.connections * flowsPerConnection + proxied
  const wanted = Math.max(64, Math.min(Math.max(...maxima), flows * MAX_HOPS))
  if (wanted > MAX_ENTRIES) {
    throw new UserError(
      'E_TOO_MANY_ENTRIES',
      `the nodes' conntrack tables could hold ${wanted} entries together; ${MAX_ENTRIES} can be emulated`,
      {
        where: trace.path,
        hint: 'set a smaller conntrackMax in a model file (--model)',
        exitCode: 2,
      },
    )
  }
  const smallest = Math.min(
    ...planned.map(({ compiled }) => compiled.columns.nodeConntrackMax.reduce(least, 0x7fffffff)),
  )
  const compared = cluster.services
    .filter(isExternallyReachable)
    .map((service) => `${service.namespace}/${service.name}`)
  return {
    cluster,
    clusters,
    registry,
    manifests: objectTexts(parsed),
    model,
    runs: planned,
    comparedServices: compared,
    seed: options.seed ?? header.provenance.seed,
    shards,
    workers: Math.max(1, Math.min(options.workers, shards)),
    entries: wanted,
    settles: flows * ENTRIES_ON_A_NODE > smallest,
    flowsPerConnection,
    hopsOfNames: mostQueryPackets(names) * MAX_HOPS,
    latencies,
    seriesEndpoints: options.series === false ? null : followedEndpoints(registry, compared),
    warnings: unique(warnings),
    timeline: timed,
  }
}

/** @throws UserError E_TRACE_TOO_LONG where an expiry would not fit into the core's clock (compile/horizon.ts) */
function checkHorizon(endMs: number, planned: readonly PlannedRun[], path: string): void {
  const days = (ms: number): string => `${(Math.floor(ms / 8640) / 10_000).toFixed(1)} days`
  for (const { compiled, changes } of planned) {
    for (const { columns } of [compiled, ...changes.map((change) => change.compiled)]) {
      const longest = beyondHorizon(endMs, [
        ...columns.timeouts,
        columns.settings[SETTING_IPVS_UDP_MS]!,
        ...columns.serviceAffinityMs,
        columns.nameSettings[NAMES_CLIENT_CACHE_MS] ?? 0,
      ])
      if (longest === null) continue
      throw new UserError(
        'E_TRACE_TOO_LONG',
        `the trace lasts ${days(endMs)}; with this cluster's timeouts a run can last ${days(longest)}`,
        {
          where: path,
          hint: 'times are milliseconds in 32 bits: replay it in parts, or generate it with a shorter duration',
        },
      )
    }
  }
}

/** What the results of a run hold beside nodes and endpoints; the same for all runs. */
export function extentOf({ latencies, registry, runs }: ReplayPlan): ResultExtent {
  const most = (counts: readonly number[]): number => counts.reduce((highest, count) => Math.max(highest, count), 0)
  return {
    latencies: latencies.services.length + 1,
    podQueues: registry.podQueues.length,
    routes: most(runs.map(({ ingress }) => ingress?.routes.length ?? 0)),
    proxies: most(runs.map(({ ingress }) => ingress?.proxies.length ?? 0)),
  }
}

/**
 * A trace is laid out so that what must stay together is in one lane. Other manifests may need more to stay together (a
 * Service got ClientIP affinity); then one shard does all, which is exact and slower.
 */
function shardsFor(wanted: number, trace: TraceFile, runs: readonly PlannedRun[], warnings: Warning[]): number {
  const needs = trace.header.destinations.some((written, i) => {
    if (written.steer !== 'tuple') return false
    return runs.some(({ compiled: { columns } }) => hasAffinity(columns, destinationIn(columns, i)))
  })
  if (needs) {
    warnings.push({
      code: 'W_STEERING',
      where: trace.path,
      message:
        'these manifests use ClientIP affinity where the trace was laid out for none; the replay runs on one worker. Generate the trace again with them to use all',
    })
    return 1
  }
  if (mixesDns(trace.header.destinations)) {
    warnings.push({
      code: 'W_STEERING',
      where: trace.path,
      message:
        'the trace dials names, and does not keep all of a client’s connections and DNS queries in one lane; the replay runs on one worker',
    })
    return 1
  }
  if (
    runs.some(({ mode, compiled }) => mode === 'iptables' && compiled.columns.serviceAffinityMs.some((ms) => ms > 0))
  ) {
    warnings.push({
      code: 'W_RECENT_LISTS',
      where: 'proxy mode iptables',
      message:
        'an affinity list of iptables holds 100 clients over the whole node, in the order they came; the replay runs on one worker to keep that order',
    })
    return 1
  }
  if (runs.some(({ ingress }) => ingress?.sharesAffinity === true)) {
    warnings.push({
      code: 'W_STEERING',
      where: 'Ingress',
      message:
        'backends with ClientIP affinity see one client, the proxy, whose affinity entry all requests share; the replay runs on one worker',
    })
    return 1
  }
  if (runs.some(({ compiled }) => compiled.columns.settings[SETTING_RANDOM_FULLY] === 0)) {
    warnings.push({
      code: 'W_SOURCE_PORTS',
      where: 'model, snatRandomFully: 0',
      message:
        "masquerading keeps a client's port where it is free, and only one search over all of a node's connections knows that; the replay runs on one worker",
    })
    return 1
  }
  // A worker process of a proxy has pools and turns of its own: it belongs to one shard, with all its connections.
  const processes = runs.flatMap(({ ingress }) => ingress?.proxies.map(({ workers }) => workers) ?? [])
  let shards = 1
  while (shards * 2 <= Math.min(wanted, trace.header.lanes) && processes.every((count) => count % (shards * 2) === 0)) {
    shards *= 2
  }
  return shards
}

function withoutSlot({ services, left }: LatencySlots): Warning {
  return {
    code: 'W_LATENCY_SLOTS',
    where: 'services of the report',
    message: `latencies are kept apart for ${services.length} Service ports, those that the trace dials first; those of the other ${left} are in the totals only`,
  }
}

function noIngress(trace: TraceFile): Warning {
  return {
    code: 'W_NO_INGRESS',
    where: trace.path,
    message: 'no request of the trace goes through an Ingress, so --ingress-path changes nothing',
  }
}

function ingressNotes(ingress: IngressPlan | null): Warning[] {
  const where = `ingress path ${ingress?.path ?? 'of the manifests'}`
  return (ingress?.notes ?? []).map((message) => ({ code: 'W_ASSUMED', where, message }))
}

/** Flows that the questions of one name can make: one a step of the search list, and one a truncated reply. */
function mostQueryFlows(names: readonly NameTables[] | null): number {
  const walks = names?.[0]?.walks.flat() ?? []
  return walks.reduce((most, walk) => Math.max(most, walk.length + walk.flat().length), 0)
}

/** Packets of the questions of one name and their replies: two a question, or an exchange over TCP. */
function mostQueryPackets(names: readonly NameTables[] | null): number {
  const walks = names?.flatMap((table) => table.walks.flat()) ?? []
  return walks.reduce(
    (most, walk) =>
      Math.max(
        most,
        walk.flat().reduce((sum, { tcpBytes }) => sum + 2 + (tcpBytes > 0 ? DNS_TCP_PACKETS : 0), 0),
      ),
    0,
  )
}

/** A resolver's questions are made in the lane of its client: recorded ones of the same client must be there too. */
function mixesDns(destinations: TraceFile['header']['destinations']): boolean {
  if (destinations.every(({ name }) => name === undefined)) return false
  return destinations.some(
    ({ name, steer, protocol, port }) => steer !== 'client' && (name !== undefined || (protocol === 17 && port === 53)),
  )
}

function destinationIn(
  { destinationAddress, destinationPort, destinationProtocol }: RuleColumns,
  i: number,
): { readonly address: number; readonly port: number; readonly protocol: number } {
  return { address: destinationAddress[i]!, port: destinationPort[i]!, protocol: destinationProtocol[i]! }
}

function hasAffinity(
  columns: RuleColumns,
  destination: { readonly address: number; readonly port: number; readonly protocol: number },
): boolean {
  const { frontendTable, frontendServicePort, serviceAffinityMs } = columns
  for (let i = 0; i < frontendTable.length; i += 4) {
    if (frontendTable[i + 3] === 0 || frontendTable[i + 1] !== destination.port) continue
    if (frontendTable[i + 2] !== destination.protocol) continue
    const address = frontendTable[i]!
    if (address >= 0 && address !== destination.address) continue
    if (serviceAffinityMs[frontendServicePort[frontendTable[i + 3]! - 1]!]! > 0) return true
  }
  return false
}

function sum(values: Int32Array): number {
  return values.reduce((total, value) => total + value, 0)
}

function least(a: number, b: number): number {
  return Math.min(a, b)
}

function unique(warnings: readonly Warning[]): Warning[] {
  const seen = new Set<string>()
  return warnings.filter(({ where, message }) => {
    const key = `${where}\n${message}`
    if (seen.has(key)) return false
    seen.add(key)
    return true
  })
}
