/**
 * Kinds that dpemu does not read: those that shape traffic, where a real cluster may answer differently, and misspelt ones.
 *
 * Everything else (Secrets, RBAC, custom resources of operators) has no part in the dataplane and is passed over without a word.
 */
import type { Warning } from '../errors.ts'
import { nearestName } from '../nearest.ts'

/** By kind and the start of its API group: what it would change. */
const SHAPING: readonly (readonly [kind: string, group: RegExp, what: string])[] = [
  ['NetworkPolicy', /^(crd\.)?projectcalico\.org\//, 'what it forbids is delivered here'],
  ['AdminNetworkPolicy', /^policy\.networking\.k8s\.io\//, 'what it forbids is delivered here'],
  ['BaselineAdminNetworkPolicy', /^policy\.networking\.k8s\.io\//, 'what it forbids is delivered here'],
  ['CiliumNetworkPolicy', /^cilium\.io\//, 'what it forbids is delivered here'],
  ['CiliumClusterwideNetworkPolicy', /^cilium\.io\//, 'what it forbids is delivered here'],
  ['ClusterNetworkPolicy', /^policy\.networking\.k8s\.io\//, 'what it forbids is delivered here'],
  ['GlobalNetworkPolicy', /^(crd\.)?projectcalico\.org\//, 'what it forbids is delivered here'],
  ['Gateway', /^gateway\.networking\.k8s\.io\//, 'its listeners and routes answer nothing here'],
  ['HTTPRoute', /^gateway\.networking\.k8s\.io\//, 'its requests are not routed here'],
  ['GRPCRoute', /^gateway\.networking\.k8s\.io\//, 'its requests are not routed here'],
  ['TLSRoute', /^gateway\.networking\.k8s\.io\//, 'its connections are not routed here'],
  ['TCPRoute', /^gateway\.networking\.k8s\.io\//, 'its connections are not routed here'],
  ['UDPRoute', /^gateway\.networking\.k8s\.io\//, 'its datagrams are not routed here'],
  ['Gateway', /^networking\.istio\.io\//, 'its listeners answer nothing here'],
  ['VirtualService', /^networking\.istio\.io\//, 'its requests go where the Service alone would send them'],
  ['DestinationRule', /^networking\.istio\.io\//, 'connections are balanced as the Service alone would'],
  ['ServiceEntry', /^networking\.istio\.io\//, 'its hosts are unknown here'],
  ['IngressRoute', /^traefik\.(io|containo\.us)\//, 'its requests are not routed here'],
  ['IngressRouteTCP', /^traefik\.(io|containo\.us)\//, 'its connections are not routed here'],
  ['IngressRouteUDP', /^traefik\.(io|containo\.us)\//, 'its datagrams are not routed here'],
  ['HTTPProxy', /^projectcontour\.io\//, 'its requests are not routed here'],
  ['Route', /^route\.openshift\.io\//, 'its requests are not routed here'],
  ['CronJob', /^batch\//, 'none of its pods runs here'],
  ['Timeline', /^dpemu\//, 'its events take place in `dpemu rollout`, `dpemu replay` and `dpemu explain --at` only'],
  ['ServiceImport', /^multicluster\.x-k8s\.io\//, 'its address answers nothing here'],
  [
    'Kustomization',
    /^kustomize\.config\.k8s\.io\//,
    'its prefixes, namespaces, replicas and patches are not applied; run kustomize build and give its output',
  ],
]

/** Of the API versions that dpemu reads kinds of, those it has nothing to do with. */
const KNOWN: ReadonlySet<string> = new Set([
  ...['Secret', 'ServiceAccount', 'PersistentVolume', 'PersistentVolumeClaim', 'LimitRange', 'ResourceQuota', 'Event'],
  ...['PodTemplate', 'Binding', 'ComponentStatus', 'ControllerRevision', 'IPAddress', 'Status', 'List'],
  ...[
    'ReplicationController',
    'HorizontalPodAutoscaler',
    'Config',
    'APIService',
    'TokenReview',
    'TokenRequest',
    'Eviction',
    'BGPPeer',
    'BFDProfile',
    'Community',
    'ServiceL2Status',
    'ServiceBGPStatus',
    'ConfigurationState',
    'Scale',
  ],
])

export interface PassedOver {
  readonly apiVersion: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
  readonly file: string
  readonly where: string
}

/** Whether a passed-over object is one that a replay should still speak of. */
export function shapesTraffic(kind: string, apiVersion: string): boolean {
  return meaningOf(kind, apiVersion) !== undefined
}

/**
 * One warning a kind.
 *
 * @param read      the kinds that are read
 * @param versions  the API versions they are read of: a kind of these that nobody knows is a slip of the pen
 */
export function warningsOf(
  passed: readonly PassedOver[],
  read: readonly string[],
  versions: ReadonlySet<string>,
): Warning[] {
  const groups = new Map<string, PassedOver[]>()
  for (const one of passed) {
    const key = `${one.kind} ${one.apiVersion}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [one])
    else group.push(one)
  }
  return [...groups.values()].flatMap((group) => {
    const { kind, apiVersion, where, namespace, name } = group[0]!
    const meaning = meaningOf(kind, apiVersion)
    const title = `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`
    if (meaning !== undefined) {
      const objects =
        group.length === 1
          ? `${title} is not modelled`
          : `${title} and ${group.length - 1} more of this kind are not modelled`
      return [{ code: 'W_NOT_MODELLED', where, message: `${objects}: ${meaning}` }]
    }
    if (!versions.has(apiVersion) || KNOWN.has(kind)) return []
    const near = nearestName(kind, read)
    const guess = near === null ? '' : `; did you mean ${near}?`
    return [
      { code: 'W_UNKNOWN_KIND', where, message: `${title} is left out: ${apiVersion} has no kind ${kind}${guess}` },
    ]
  })
}

function meaningOf(kind: string, apiVersion: string): string | undefined {
  return SHAPING.find(([name, group]) => name === kind && group.test(apiVersion))?.[2]
}
