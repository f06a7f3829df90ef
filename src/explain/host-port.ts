/** A packet that portmap leads to a pod by its hostPort, in words. */
import {
  ADDRESS_LOOPBACK,
  familyOf,
  HOST_PORTS_BRIDGE,
  hairpinMark,
  MASQUERADE_EXTERNAL,
  masqueradeAddress,
  masqueradeTowards,
  REASON_NONE,
  REASONS,
  SETTING_HOST_PORTS,
} from '../../native-free-core/index.ts'
import type { ExplainContext } from './context.ts'
import { protocolText } from './describe.ts'
import { joinPort } from './dialled-name.ts'
import { judgeEgress, judgeIngress, type Passage } from './network-policy.ts'
import type { Approach } from './route-to-node.ts'
import { arrivingTuple, type Done, seenInstead, tupleText } from './translate.ts'
import type { Answer, Step } from './types.ts'

/** @param done  what a dataplane did with the connection; null: any packet of this kind */
export function explainHostPort(
  context: ExplainContext,
  way: Approach,
  before: readonly Step[],
  title: string,
  done: Done | null,
): Answer {
  const { rules, registry } = context
  const { decision } = way
  const endpoint = done?.endpoint ?? rules.members[decision.setStart]!
  const backend = rules.endpointAddress[endpoint]!
  const marks = decision.masquerade | hairpinMark(rules, way.node, way.source, endpoint)
  const isMasqueraded = masqueradeTowards(rules, way.node, way.source, backend, marks) !== 0
  const client = registry.addressText(way.source)
  const egress = masqueradeAddress(rules, way.node, endpoint, familyOf(rules, way.destination))
  const seen = done?.seen ?? (isMasqueraded ? egress : way.source)
  const to = registry.endpointText(endpoint)
  const at = `node ${context.nodeName(way.node)}`
  const found = context.directory.podAt(registry.addressText(backend))
  const pod = found === undefined ? 'a pod' : `pod ${found.namespace}/${found.name}`
  const dialled = joinPort(registry.addressText(way.destination), way.port)
  const frontend = `${dialled}/${protocolText(way.protocol)} is hostPort ${way.port} of ${pod} on this node (containerPort ${rules.endpointPort[endpoint]}): the portmap plugin translates what kube-proxy has not`
  const masquerade = isMasqueraded
    ? `yes, as ${registry.addressText(seen)}: ${whyMasqueraded(context, way, marks)}`
    : 'no: portmap masquerades only what comes back to its pods or from loopback; the pod is on this node, and so its answer passes it'
  const sees = isMasqueraded
    ? `sees ${seenInstead(registry.addressText(seen), client)}`
    : `sees the client as ${client}`
  const passage: Passage = {
    ...{ node: way.node, source: way.source, seen, destination: backend },
    ...{ port: rules.endpointPort[endpoint]!, protocol: way.protocol, dialledPort: way.port },
  }
  const judged = [judgeEgress(context, passage), judgeIngress(context, passage)].filter((one) => one !== null)
  const stopped = judged.find(({ reason }) => reason !== REASON_NONE)
  const steps: Step[] = [
    ...before,
    { at, stage: 'frontend', detail: frontend },
    {
      at,
      stage: 'dnat',
      detail: `${arrivingTuple(context, way)} becomes ${tupleText(context, way.source, way.sourcePort, to, way.protocol)}`,
    },
    ...judged.map(({ step }) => step),
    ...(stopped === undefined
      ? ([
          { at, stage: 'masquerade', detail: masquerade },
          { at, stage: 'route', detail: `${to}: on this node, no hop` },
          { at: found === undefined ? `endpoint ${to}` : pod, stage: 'deliver', detail: sees },
        ] as const)
      : []),
  ]
  const reason = stopped === undefined ? null : REASONS[stopped.reason]!
  const conclusion =
    reason !== null
      ? `drop: ${reason.sentence} [${reason.name}]`
      : isMasqueraded
        ? `dnat to ${to} by the portmap plugin; masqueraded, the pod sees ${seenInstead(registry.addressText(seen), client)}`
        : `dnat to ${to} by the portmap plugin; the pod sees the client's address ${client}`
  return {
    title,
    conclusion,
    explanation: {
      schemaVersion: 1,
      verdict: reason === null ? 'dnat' : 'drop',
      endpoints: [to],
      masquerade: reason === null && isMasqueraded,
      seen: reason === null ? [registry.addressText(seen)] : [],
      reason: reason?.name ?? null,
      service: null,
      frontend: 'hostPort',
      node: context.nodeName(way.node),
      steps,
    },
  }
}

function whyMasqueraded({ rules, registry }: ExplainContext, way: Approach, marks: number): string {
  const source = registry.addressText(way.source)
  if ((marks & MASQUERADE_EXTERNAL) !== 0)
    return `${way.port} is a node port as well, and ipvs mode marks what goes to one before portmap sees it`
  if ((rules.addressFlags[way.source]! & ADDRESS_LOOPBACK) !== 0) return `${source} is loopback`
  return rules.settings[SETTING_HOST_PORTS] === HOST_PORTS_BRIDGE
    ? `${source} is on the same bridge as the pod, which would answer it past the node (hairpin)`
    : `${source} is the pod itself (hairpin)`
}
