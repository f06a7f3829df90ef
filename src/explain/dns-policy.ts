/**
 * Whether NetworkPolicies let a pod's questions reach its name server: where they do not, no name means anything to it.
 *
 * The question is explained like any packet, so it may be stopped on leaving the pod or on entering CoreDNS. Where the manifests have
 * no DNS server, one is assumed with the labels that every distribution gives it.
 * Cost: a compile for each name server, and only where some policy counts.
 */
import { REASON_NONE, SETTING_POLICY_DNS } from '../../native-free-core/index.ts'
import { Registry } from '../compile/registry.ts'
import type { AskingPod } from '../dns/dig.ts'
import type { ResolvConf } from '../dns/resolver.ts'
import { dnsServices } from '../dns/zone.ts'
import type { Cluster, ClusterPod } from '../k8s/cluster.ts'
import { canonicalIp, ipFamily } from '../k8s/ip.ts'
import { Directory, ExplainContext } from './context.ts'
import { joinPort } from './dialled-name.ts'
import { judgeEgress } from './network-policy.ts'
import { explainPacket } from './packet.ts'
import type { Step } from './types.ts'

const DNS_PORT = 53
const PROTOCOL_UDP = 17

/** Asked for one directory again and again. */
const known = new WeakMap<Directory, DnsPolicies>()

/** The steps up to the drop; null where a question gets through, or nobody knows where it goes. */
export function stoppedQuestion(directory: Directory, pod: ClusterPod, conf: ResolvConf): readonly Step[] | null {
  if ((directory.cluster.networkPolicies ?? []).length === 0 || pod.hostNetwork) return null
  let policies = known.get(directory)
  if (policies === undefined) {
    policies = new DnsPolicies(directory)
    known.set(directory, policies)
  }
  return policies.check(pod, conf)
}

/** The same pod with what stops its questions. */
export function policedPod(cluster: Cluster, asking: AskingPod): AskingPod {
  const pod = cluster.pods.find(({ namespace, name }) => `${namespace}/${name}` === asking.name)
  const steps = pod === undefined ? null : stoppedQuestion(new Directory(cluster), pod, asking.conf)
  if (steps === null) return asking
  const blocked = steps.flatMap(({ at, stage, detail }) => (stage === 'network-policy' ? [{ at, detail }] : []))
  return { ...asking, blocked }
}

class DnsPolicies {
  readonly #directory: Directory
  readonly #contexts = new Map<string, ExplainContext>()
  readonly #answers = new Map<string, readonly Step[] | null>()

  constructor(directory: Directory) {
    this.#directory = directory
  }

  check(pod: ClusterPod, conf: ResolvConf): readonly Step[] | null {
    const server = canonicalIp(conf.nameservers[0] ?? '')
    const source = server === null ? undefined : pod.addresses.find((one) => ipFamily(one) === ipFamily(server))
    if (server === null || source === undefined) return null
    const key = `${source} ${server}`
    let found = this.#answers.get(key)
    if (found === undefined) {
      const steps = this.#ask(pod, source, server, conf.asksCluster)
      const detail = `asks its name server ${joinPort(server, DNS_PORT)} first`
      const first: Step = { at: `pod ${pod.namespace}/${pod.name}`, stage: 'dns', detail }
      found = steps === null ? null : [first, ...steps]
      this.#answers.set(key, found)
    }
    return found
  }

  #ask(pod: ClusterPod, source: string, server: string, asksCluster: boolean): readonly Step[] | null {
    const context = this.#contextOf(server)
    const { rules, registry } = context
    const client = registry.address(source)
    const assumed = rules.settings[SETTING_POLICY_DNS]!
    const wired = dnsServices(this.#directory.cluster).length > 0
    if (asksCluster && !wired) {
      if (assumed < 0) return null
      const node = registry.node(pod.nodeName)
      const where = { node, source: client, seen: client, destination: assumed }
      const judged = judgeEgress(context, { ...where, port: DNS_PORT, protocol: PROTOCOL_UDP, dialledPort: DNS_PORT })
      if (judged === null || judged.reason === REASON_NONE) return null
      const detail = `${judged.step.detail}; ${registry.addressText(assumed)} stands for a CoreDNS pod (k8s-app=kube-dns in kube-system), which the manifests do not have`
      return [{ ...judged.step, detail }]
    }
    const question = {
      ...{ source: client, sourcePort: 0, destination: registry.address(server), port: DNS_PORT },
      ...{ protocol: PROTOCOL_UDP, node: -1, stays: false, entered: -1 },
    }
    const { explanation } = explainPacket(context, { question, before: [], fromName: '', toName: '' })
    return explanation.reason?.startsWith('network-policy') === true ? explanation.steps : null
  }

  #contextOf(server: string): ExplainContext {
    const made = this.#contexts.get(server)
    if (made !== undefined) return made
    const registry = new Registry()
    registry.address(server)
    const context = new ExplainContext(this.#directory, registry)
    this.#contexts.set(server, context)
    return context
  }
}
