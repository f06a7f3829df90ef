/**
 * The rules' decision in words: one step for each thing that decided, with the object and the field behind it.
 *
 * Reads the core's `Decision` and the objects that the rules were compiled from; decides nothing itself.
 */
import {
  ADDRESS_LOOPBACK,
  ADDRESS_NODE,
  ADDRESS_POD,
  FRONTEND_CLUSTER_IP,
  FRONTEND_HEALTH_CHECK,
  FRONTEND_LOAD_BALANCER_IP,
  FRONTEND_NAMES,
  MODE_IPTABLES,
  MODE_IPVS,
  REASON_NO_LOCAL_ENDPOINT,
  REASON_NONE,
  REASONS,
  SETTING_MODE,
  SOURCE_NODE,
  SOURCE_POD,
  USED_CLUSTER,
  USED_FALLBACK,
  USED_LOCAL,
  USED_NONE,
  USED_SHORT_CIRCUIT,
} from '../../native-free-core/index.ts'
import { isFallback, type ProxyEndpoint, topologyEndpoints, topologyHints, topologyMode } from '../compile/usable.ts'
import type { ExplainContext, PortContext } from './context.ts'
import { joinPort, listed } from './dialled-name.ts'
import type { Approach } from './route-to-node.ts'
import type { Step } from './types.ts'

const PROTOCOL_TEXT: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' }

export function protocolText(protocol: number): string {
  return PROTOCOL_TEXT[protocol] ?? String(protocol)
}

/** A decision about a Service, with everything that its steps look at. */
export interface Scene {
  readonly context: ExplainContext
  readonly way: Approach
  readonly port: PortContext
  /** Endpoint ids that a new connection may be given, in rule order. */
  readonly members: readonly number[]
}

export function sceneOf(context: ExplainContext, way: Approach): Scene | null {
  const { decision } = way
  if (decision.servicePort < 0) return null
  const members = Array.from(context.rules.members.subarray(decision.setStart, decision.setStart + decision.setCount))
  return { context, way, port: context.port(decision.servicePort), members }
}

/** `ns/name:port`. */
export function servicePortText({ context, way }: Scene): string {
  return context.registry.servicePortText(way.decision.servicePort)
}

function at({ context, way }: Scene): string {
  return `node ${context.nodeName(way.node)}`
}

function isIpvs({ context }: Scene): boolean {
  return context.rules.settings[SETTING_MODE] === MODE_IPVS
}

function frontendKind({ context, way }: Scene): number {
  return context.rules.frontendKind[way.decision.frontend]!
}

/** How many, with the noun: `1 endpoint`, `3 endpoints`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

/** Steps from the frontend to the endpoint set, or to the refusal. */
export function decisionSteps(scene: Scene): Step[] {
  const { way } = scene
  const steps = [frontendStep(scene)]
  if (frontendKind(scene) === FRONTEND_HEALTH_CHECK) return steps
  const ranges = rangesStep(scene)
  if (ranges !== null) steps.push(ranges)
  if (way.decision.ranges === 0) return steps
  steps.push(policyStep(scene))
  if (way.decision.reason !== REASON_NONE) return [...steps, refusalStep(scene)]
  return steps
}

/** Ready endpoints of a Service port on a node, as its health check counts them: 503 for none. */
export function readyHere(context: ExplainContext, node: number, { endpoints }: PortContext): number {
  const own = context.compiled.settings.isMisnamed ? null : context.nodeName(node)
  return endpoints.filter((one) => one.ready && one.nodeName === own).length
}

function frontendStep(scene: Scene): Step {
  const { context, way } = scene
  const { registry } = context
  const destination = registry.addressText(way.destination)
  const to = `${joinPort(destination, way.port)}/${protocolText(way.protocol)}`
  const kind = frontendKind(scene)
  const where = { at: at(scene), stage: 'frontend' } as const
  if (kind === FRONTEND_HEALTH_CHECK) {
    const ready = readyHere(context, way.node, scene.port)
    const answer = ready > 0 ? '200' : '503'
    const detail = `${to} is the healthCheckNodePort of ${scene.port.title}: kube-proxy itself answers, ${answer} with ${count(ready, 'ready local endpoint')}`
    return { ...where, detail }
  }
  const name = FRONTEND_NAMES[kind]!
  const behind = isIpvs(scene) ? 'is the virtual server' : 'is'
  return { ...where, detail: `${to} ${behind} ${name} of Service ${servicePortText(scene)}` }
}

function rangesStep(scene: Scene): Step | null {
  const { context, way, port } = scene
  const written = port.proxied.service.sourceRanges.filter(
    (range) => range.includes(':') === (port.proxied.family === 'IPv6'),
  )
  if (frontendKind(scene) !== FRONTEND_LOAD_BALANCER_IP || written.length === 0) return null
  const source = context.registry.addressText(way.source)
  const field = `loadBalancerSourceRanges of ${port.title} (${listed(written)})`
  const where = { at: at(scene), stage: 'source-ranges' } as const
  switch (way.decision.ranges) {
    case 1:
      return { ...where, detail: `${source} is in ${field}` }
    case 2:
      return {
        ...where,
        detail: `${source} is a VIP of the Service itself and the node's own address is in ${field}: the node's own traffic is let in`,
      }
    case 0:
      return { ...where, detail: `${source} is in none of ${field}: ${REASONS[way.decision.reason]!.sentence}` }
    default:
      return {
        ...where,
        detail: `${field} is not asked: iptables installs no filter for a Service without endpoints`,
      }
  }
}

/** Who the source is to this node, and how it is known. */
export function sourceText({ context, way }: Scene): string {
  const { registry, rules, compiled } = context
  const { detector, detectorCidrs } = compiled.settings
  const source = registry.addressText(way.source)
  const flags = rules.addressFlags[way.source]!
  const owner = rules.addressNode[way.source]!
  if (way.decision.source === SOURCE_POD) {
    if (detector === 'ClusterCIDR') return `${source} is a pod (in clusterCIDR ${detectorCidrs.join(',')})`
    if (detector === 'NodeCIDR') return `${source} is a pod of this node (in its podCIDR)`
    return `${source} is a pod of this node (it comes in over a pod interface)`
  }
  if (way.decision.source === SOURCE_NODE) {
    return (flags & ADDRESS_LOOPBACK) !== 0 ? `${source} is this node itself` : `${source} is this node's own address`
  }
  if (detector === 'none' && (flags & ADDRESS_POD) !== 0) {
    return `${source} is a pod, but kube-proxy has no detector for local pods (detectLocalMode without a clusterCIDR)`
  }
  if (owner >= 0 && (flags & ADDRESS_NODE) !== 0) {
    return `${source} is node ${context.nodeName(owner)}, which is outside to this node`
  }
  if (owner >= 0)
    return `${source} is a pod of node ${context.nodeName(owner)}, which this node's detector does not count as its own`
  return `${source} is outside the cluster`
}

function policyStep(scene: Scene): Step {
  const { way, port, members } = scene
  const internal = frontendKind(scene) === FRONTEND_CLUSTER_IP
  const field = internal ? 'internalTrafficPolicy' : 'externalTrafficPolicy'
  const local = internal ? port.proxied.internalLocal : port.proxied.externalLocal
  const policy = `${field}: ${local ? 'Local' : 'Cluster'} of ${port.title}`
  const share = `${members.length} of ${port.endpoints.length}`
  const where = { at: at(scene), stage: 'policy' } as const
  switch (way.decision.used) {
    case USED_LOCAL: {
      const who = internal || isIpvs(scene) ? '' : ` and ${sourceText(scene)}`
      return { ...where, detail: `${policy}${who}: only endpoints on this node (${share})` }
    }
    case USED_SHORT_CIRCUIT:
      return {
        ...where,
        detail: `${policy}, but ${sourceText(scene)}: in-cluster clients are short-circuited to endpoints on every node (${share})`,
      }
    case USED_FALLBACK:
      return {
        ...where,
        detail: `${policy}, but this node has no usable endpoint: ipvs falls back to endpoints on every node (${share})`,
      }
    case USED_CLUSTER:
      return { ...where, detail: `${policy}: endpoints on every node (${share})` }
    default:
      return { ...where, detail: policy }
  }
}

function refusalStep(scene: Scene): Step {
  const { way, port } = scene
  const reason = REASONS[way.decision.reason]!
  const where = { at: at(scene), stage: 'endpoint' } as const
  if (port.endpoints.length === 0) {
    const { name } = port.proxied.port
    const own = name === '' ? 'has no name' : `is named '${name}'`
    const why =
      port.misnamed.length === 0
        ? ''
        : `; its EndpointSlices have port ${listed(port.misnamed)}, and the Service port ${own}: they are matched by name`
    return { ...where, detail: `${port.title} has no endpoint for this port: ${reason.sentence}${why}` }
  }
  const usable = port.endpoints.filter((one) => one.ready || isFallback(one))
  const elsewhere =
    reason.code === REASON_NO_LOCAL_ENDPOINT ? `; usable elsewhere: ${describeEndpoints(scene, usable)}` : ''
  const out = leftOut(scene, new Set())
  return { ...where, detail: `${reason.sentence}${elsewhere}${out === '' ? '' : `; not usable: ${out}`}` }
}

function describeEndpoints({ context }: Scene, endpoints: readonly ProxyEndpoint[]): string {
  return listed(
    endpoints.map((one) => {
      const pod = context.directory.podAt(one.address)
      const places = [
        ...(pod === undefined ? [] : [`pod ${pod.namespace}/${pod.name}`]),
        one.nodeName === '' ? 'no node' : `node ${one.nodeName}`,
      ]
      return `${joinPort(one.address, one.port)} (${places.join(', ')})`
    }),
  )
}

/** Endpoints that nothing of policy keeps away but their own state, with that state. */
function leftOut({ port }: Scene, used: ReadonlySet<string>): string {
  const anyReady = port.endpoints.some((one) => one.ready)
  const out = port.endpoints.flatMap((one) => {
    const key = joinPort(one.address, one.port)
    if (used.has(key) || one.ready) return []
    const why = one.terminating
      ? one.serving
        ? anyReady
          ? 'terminating'
          : ''
        : 'terminating, not serving'
      : 'not ready'
    return why === '' ? [] : [`${key} ${why}`]
  })
  return listed(out)
}

/**
 * Which endpoints of the port the set holds, which not, and how one is taken.
 * @param chosen  `ip:port` of the one that was taken, '' where nobody was sent
 * @param why     what was known of the client before, '' where one is chosen
 */
export function endpointStep(scene: Scene, chosen: string, why: string): Step {
  const { context, port, members } = scene
  const used = new Set(members.map((id) => context.registry.endpointText(id)))
  const inSet = port.endpoints.filter((one) => used.has(joinPort(one.address, one.port)))
  const parts = [describeEndpoints(scene, inSet)]
  if (inSet.length > 0 && inSet.every((one) => !one.ready)) {
    parts.push('none is ready, so those that are terminating and still serving are used')
  }
  const topology = topologyText(scene)
  if (topology !== '') parts.push(topology)
  const out = leftOut(scene, used)
  if (out !== '') parts.push(`left out: ${out}`)
  const how = why === '' ? choiceText(scene) : why
  parts.push(chosen === '' ? how : `${how}: ${chosen}`)
  return { at: at(scene), stage: 'endpoint', detail: parts.join('; ') }
}

export const BOUND_TEXT = 'the one that the client is bound to'

/** Of a UDP connection that ipvs has kept for longer than conntrack. */
export function recalledText({ context }: Scene): string {
  const seconds = context.compiled.settings.ipvsUdpSeconds
  return `the one of the connection that ipvs has for this client and port (kept for ${seconds} s after its last packet; neither scheduler nor affinity is asked)`
}

const SCHEDULER_TEXT = {
  rr: 'taken in turn (ipvs rr)',
  lc: 'the one with the fewest connections (ipvs lc)',
  sh: 'by a hash of the source address (ipvs sh)',
  dh: 'by a hash of the destination address (ipvs dh)',
} as const

function choiceText(scene: Scene): string {
  const { members, context } = scene
  if (members.length === 1) return 'the only one'
  if (isIpvs(scene)) return SCHEDULER_TEXT[context.compiled.settings.scheduler]
  return `one of them at random, each with probability 1/${members.length}`
}

function topologyText({ context, way, port }: Scene): string {
  const { used } = way.decision
  if (used === USED_LOCAL || used === USED_NONE || context.compiled.settings.isMisnamed) return ''
  const hints = topologyHints(port.endpoints, context.compiled.settings.sameNodeTopology)
  const node = context.directory.nodes.get(context.nodeName(way.node))
  if (node === undefined) return ''
  const mode = topologyMode(port.endpoints, hints, node.name, node.zone)
  if (mode === '') return ''
  const ready = port.endpoints.filter((one) => one.ready)
  const near = topologyEndpoints(port.endpoints, mode, node.name, node.zone)
  const hinted = mode === 'PreferSameNode' ? `node ${node.name}` : `zone ${node.zone}`
  const away = ready.length - near.length
  return `hints of the EndpointSlices (${mode}): only those for ${hinted}, ${near.length} of ${ready.length} ready ones${away > 0 ? '' : ' (all)'}`
}

/** sessionAffinity; null where the Service has none. @param bound whether the client was found bound: null is not known */
export function affinityStep(scene: Scene, bound: boolean | null): Step | null {
  const { context, way, port } = scene
  const timeout = port.proxied.service.affinityTimeoutSeconds
  if (timeout === 0) return null
  const source = context.registry.addressText(way.source)
  const mode = context.rules.settings[SETTING_MODE]
  const scope = isIpvs(scene)
    ? `for this virtual server (${joinPort(context.registry.addressText(way.destination), way.port)}) on this node`
    : 'for this port of the Service on this node, whichever its frontend'
  const limit = mode === MODE_IPTABLES ? ', for at most 100 clients an endpoint' : ''
  const state =
    bound === null
      ? `a client sent to an endpoint in the last ${timeout} s goes there again`
      : bound
        ? `hit, ${source} is bound to an endpoint and its ${timeout} s start again`
        : `miss, ${source} is bound to none of the endpoints; from now on to the chosen one, for ${timeout} s`
  return {
    at: at(scene),
    stage: 'affinity',
    detail: `sessionAffinity: ClientIP of ${port.title} (timeoutSeconds ${timeout}): ${state}; kept ${scope}${limit}`,
  }
}
