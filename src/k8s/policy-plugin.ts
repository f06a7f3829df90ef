/**
 * Who enforces NetworkPolicies: the API server only stores them.
 *
 * Found by the images of the agents, as in dataplanes.ts. Where none is seen a plugin is assumed, since many install it by other means
 * (k3s has kube-router's controller in its own binary, clouds have theirs in the control plane).
 * Sources: each project's documents; kubernetes-sigs/kube-network-policies (postrouting, before srcnat); Calico Felix (filter FORWARD);
 * kube-router (filter FORWARD, netfilter order); flannel, which says that it enforces none; aws-network-policy-agent (tc at the pod's veth).
 */
import type { PolicyPlugin } from './cluster.ts'
import { type Inventory, titleOf } from './inventory.ts'
import type { Pod, PodSpec, Workload } from './types.ts'

interface Agent {
  readonly image: RegExp
  readonly name: string
  readonly decides: PolicyPlugin['decides']
  /** Without it in a container's arguments the agent enforces nothing. */
  readonly needs?: string
}

/** Those that enforce come first: beside one of them flannel or the VPC's plugin only carries packets. */
const AGENTS: readonly Agent[] = [
  { image: /(^|\/)(mirrored-)?calico[-/]node(:|@|$)/, name: 'Calico', decides: 'before-masquerade' },
  { image: /(^|\/)cilium(-ci)?(:|@|$)/, name: 'Cilium', decides: 'at-the-pod' },
  { image: /(^|\/)antrea-agent(-[a-z]+)?(:|@|$)/, name: 'Antrea', decides: 'at-the-pod' },
  { image: /(^|\/)ovn-kube(-[a-z]+)?(:|@|$)/, name: 'OVN-Kubernetes', decides: 'at-the-pod' },
  { image: /(^|\/)kube-ovn(:|@|$)/, name: 'Kube-OVN', decides: 'at-the-pod' },
  { image: /(^|\/)kube-router(:|@|$)/, name: 'kube-router', decides: 'before-masquerade' },
  { image: /(^|\/)kube-network-policies(:|@|$)/, name: 'kube-network-policies', decides: 'before-masquerade' },
  { image: /(^|\/)kindnetd?(:|@|$)/, name: 'kindnet', decides: 'before-masquerade' },
  { image: /(^|\/)azure-npm(:|@|$)/, name: 'Azure NPM', decides: 'before-masquerade' },
  { image: /(^|\/)weave-npc(:|@|$)/, name: 'Weave', decides: 'before-masquerade' },
  {
    image: /(^|\/)aws-network-policy-agent(:|@|$)/,
    name: 'the VPC CNI’s agent',
    decides: 'at-the-pod',
    needs: '--enable-network-policy=true',
  },
  { image: /(^|\/)amazon-k8s-cni(:|@|$)/, name: 'the VPC CNI without its policy agent', decides: 'nowhere' },
  { image: /(^|\/)(mirrored-)?(flannelcni-)?flannel(:|@|$)/, name: 'flannel', decides: 'nowhere' },
]

/** Arguments of agents that decide whether policies count: a trace keeps them. */
export const POLICY_ARGUMENT: RegExp = /^--enable-network-policy=(true|false)$/

export interface FoundPlugin extends PolicyPlugin {
  /** `DaemonSet kube-system/calico-node`, '' where none was found. */
  readonly object: string
}

export function policyPluginOf(inventory: Inventory): FoundPlugin {
  const holders = [...inventory.workloads.filter(({ kind }) => kind === 'DaemonSet'), ...inventory.pods]
  for (const { image, name, decides, needs } of AGENTS) {
    const found = holders.find((one) =>
      (specOf(one).containers ?? []).some(
        (container) =>
          image.test(container.image ?? '') && (needs === undefined || (container.args ?? []).includes(needs)),
      ),
    )
    if (found !== undefined) return { decides, name, object: titleOf(found) }
  }
  return { decides: 'before-masquerade', name: '', object: '' }
}

function specOf(object: Workload | Pod): PodSpec {
  return object.kind === 'Pod' ? object.spec : object.spec.template.spec
}
