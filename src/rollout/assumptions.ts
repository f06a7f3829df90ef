/** What a course rests on that neither manifests nor the Timeline say, with the field that says otherwise where there is one. */
import type { DerivedNote } from '../k8s/cluster.ts'
import { type Front, NODE_LOCAL_MS } from './scene.ts'
import type { Site } from './site.ts'
import type { Timeline } from './timeline.ts'
import { SANDBOX_MS } from './world.ts'

export function assumptionsOf(site: Site, timeline: Timeline, fronts: readonly Front[]): DerivedNote[] {
  const { controlPlane, controlPlaneGiven } = timeline
  const notes: DerivedNote[] = [...site.derived]
  for (const { answerMs, assumed, balancer, proxy, service, way } of fronts) {
    const object = `Service ${service.name}`
    if (proxy !== null) {
      const what = 'its controller runs on, and does not send again what a pod had begun to answer'
      notes.push({ object: proxy.ingress, what })
    }
    if (assumed !== '') notes.push({ object, what: assumed })
    const { nodeDnsCorefile } = site.cluster
    if (way === 'names' && nodeDnsCorefile != null && Number.isFinite(answerMs) && timeline.clients.dns === 'ttl') {
      const what = `NodeLocal DNSCache keeps answers for up to ${NODE_LOCAL_MS / 1000} s beside their TTL (clients.dns)`
      notes.push({ object, what })
    }
    if (balancer?.targets === 'leader' || balancer?.targets === 'routes') {
      const verb = balancer.targets === 'leader' ? 'another node answers for it' : 'routers send elsewhere'
      const what = `${verb} ${balancer.registerMs / 1000} s after a planned move, ${balancer.deadMs / 1000} s after a node died (loadBalancer.dead, register)`
      notes.push({ object, what })
    }
  }
  notes.push({
    object: 'pods',
    what: `nobody has the address of one that ended ${SANDBOX_MS / 1000} s later; its object goes ${controlPlane.removalMs / 1000} s after the kubelet has seen it (controlPlane.removal)`,
  })
  if (!controlPlaneGiven)
    notes.push({ object: 'control plane', what: `${controlPlane.name}: ${controlPlane.source} (controlPlane)` })
  return unique(notes)
}

function unique(notes: readonly DerivedNote[]): DerivedNote[] {
  return [...new Map(notes.map((note) => [`${note.object} ${note.what}`, note])).values()]
}
