/**
 * Who else has a hand in Services: network plugins that translate connections themselves, and nodes that are no Linux machines.
 *
 * kube-proxy's rules are shown all the same, with a warning. Found by the images of the agents, which name them in any
 * installation: Helm charts, operators and distributions have labels of their own.
 */
import type { Notes } from './inventory.ts'
import { type Inventory, titleOf } from './inventory.ts'
import type { Pod, Workload } from './types.ts'

interface Agent {
  readonly image: RegExp
  readonly message: string
}

/** Sources: docs.cilium.io (kubeproxy-free, socket LB), antrea.io (AntreaProxy), ovn-kubernetes.io, kube-router.io (--run-service-proxy). */
const AGENTS: readonly Agent[] = [
  {
    image: /(^|\/)cilium(-ci)?(:|@|$)/,
    message:
      'Cilium translates connections of its pods to Services itself, before kube-proxy or in its place; what is shown are kube-proxy’s rules',
  },
  {
    image: /(^|\/)kube-router(:|@|$)/,
    message:
      'kube-router serves Services with ipvs rules of its own unless --run-service-proxy=false; what is shown are kube-proxy’s rules',
  },
  {
    image: /(^|\/)antrea-agent(-[a-z]+)?(:|@|$)/,
    message:
      'AntreaProxy translates connections of pods to Services in Open vSwitch; what is shown are kube-proxy’s rules',
  },
  {
    image: /(^|\/)ovn-kube(-[a-z]+)?(:|@|$)/,
    message: 'OVN-Kubernetes serves Services itself, without kube-proxy; what is shown are kube-proxy’s rules',
  },
]

export function warnOfOtherDataplanes(inventory: Inventory, notes: Notes): void {
  const serviceEntries = [...inventory.workloads.filter(({ kind }) => kind === 'DaemonSet'), ...inventory.pods]
  for (const { image, message } of AGENTS) {
    const found = serviceEntries.find((one) => imagesOf(one).some((name) => image.test(name)))
    if (found !== undefined) notes.warn('W_NOT_MODELLED', titleOf(found), message)
  }
  const windows = inventory.nodes.filter(({ metadata }) => metadata.labels?.['kubernetes.io/os'] === 'windows')
  const first = windows[0]
  if (first === undefined) return
  const others = windows.length === 1 ? 'it is' : `it and ${windows.length - 1} more are`
  const message = `a Windows node: kube-proxy there programs HNS, which is not modelled; ${others} taken for Linux`
  notes.warn('W_NOT_MODELLED', titleOf(first), message)
}

function imagesOf(object: Workload | Pod): string[] {
  const spec = object.kind === 'Pod' ? object.spec : object.spec.template.spec
  return (spec.containers ?? []).flatMap(({ image }) => image ?? [])
}
