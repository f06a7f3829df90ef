/**
 * NetworkPolicies between the proxy of an Ingress and the pods behind it: a rule that forgets the proxy's namespace is a 504.
 *
 * Cost: a compile, and a decision for each proxy and endpoint, only where some policy counts.
 */
import { REASON_NONE, REASONS } from '../../native-free-core/index.ts'
import { Registry } from '../compile/registry.ts'
import type { ClusterPod } from '../k8s/cluster.ts'
import { ipFamily } from '../k8s/ip.ts'
import { type Directory, ExplainContext } from './context.ts'
import { splitPort } from './dialled-name.ts'
import { hasPolicies, judgeEgress, judgeIngress, type Passage, passageFate } from './network-policy.ts'
import type { Explanation, Step } from './types.ts'

const PROTOCOL_TCP = 6

export interface StoppedBackends {
  /** Endpoints that some proxy does not get to. */
  readonly blocked: NonNullable<Explanation['blocked']>
  /** No proxy gets to any. */
  readonly isAll: boolean
  /** What stops the first of them. */
  readonly steps: readonly Step[]
}

/**
 * @param proxies    pods that the request may come to
 * @param endpoints  `ip:port` that they may send it to
 * @returns          null where all get through, or nobody is known who sends
 */
export function stoppedBackends(
  directory: Directory,
  proxies: readonly ClusterPod[],
  endpoints: readonly string[],
): StoppedBackends | null {
  if ((directory.cluster.networkPolicies ?? []).length === 0 || proxies.length === 0) return null
  const registry = new Registry()
  const context = new ExplainContext(directory, registry)
  if (!hasPolicies(context)) return null
  const passages = endpoints.flatMap((endpoint) => {
    const { host, port } = splitPort(endpoint)
    return proxies.flatMap(({ addresses }): { endpoint: string; passage: Passage }[] => {
      const own = addresses.find((one) => ipFamily(one) === ipFamily(host))
      if (own === undefined) return []
      const [source, destination] = [registry.address(own), registry.address(host)]
      const node = context.rules.addressNode[source]!
      const dialled = { port: Number(port), protocol: PROTOCOL_TCP, dialledPort: Number(port) }
      return [{ endpoint, passage: { node, source, seen: source, destination, ...dialled } }]
    })
  })
  const stopped = passages.flatMap(({ endpoint, passage }) => {
    const reason = passageFate(context, passage)
    return reason === REASON_NONE ? [] : [{ endpoint, reason: REASONS[reason]!.name, passage }]
  })
  const first = stopped[0]
  if (first === undefined) return null
  const judged = [judgeEgress(context, first.passage), judgeIngress(context, first.passage)]
  const unique = new Map(stopped.map(({ endpoint, reason }) => [endpoint, { endpoint, reason }]))
  return {
    blocked: [...unique.values()],
    isAll: stopped.length === passages.length,
    steps: judged.flatMap((one) => (one === null || one.reason === REASON_NONE ? [] : one.step)).slice(0, 1),
  }
}
