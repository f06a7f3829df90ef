/**
 * An explanation at a time of a Timeline: the cluster as each node, balancer and pod has it then, and which lag is to blame where it fails.
 */
import type { ClusterViews } from '../compile/views.ts'
import { UserError } from '../errors.ts'
import type { Policy } from '../rollout/balancer.ts'
import type { Cause } from '../rollout/causes.ts'
import type { Scene } from '../rollout/dial.ts'
import { clockText } from '../rollout/durations.ts'
import { narrate } from '../rollout/narrate.ts'
import { momentAt, type Played, play } from '../rollout/played.ts'
import { ACCEPT_NOT_YET, ACCEPT_YES } from '../rollout/pod.ts'
import { writtenPolicy } from '../rollout/runs.ts'
import type { Timeline } from '../rollout/timeline.ts'
import type { LoadedManifests } from './context.ts'
import type { Answer, Explanation } from './types.ts'

export interface TimedManifests {
  readonly loaded: LoadedManifests
  /** Lines for an answer: who learnt what when. */
  tell(answer: Answer): Answer
}

/**
 * @param atMs  time of the Timeline
 * @param seed  of the course, as in `dpemu rollout`
 * @throws UserError E_TIMELINE for names that there are none of
 */
export function manifestsAt(
  loaded: LoadedManifests,
  timeline: Timeline,
  { atMs, minor, seed }: { readonly atMs: number; readonly minor: number | null; readonly seed: number },
): TimedManifests {
  const { objects, cluster } = loaded
  const played = play({ timeline, objects, cluster, minor, seed, mode: loaded.mode ?? null, endMs: null })
  if (played.scenes.length === 0) {
    throw new UserError('E_TIMELINE', 'no Service selects the pods in question', { where: timeline.where })
  }
  const moments = played.moments()
  const moment = momentAt(moments, atMs)
  const views: ClusterViews = moment.views(null, { addresses: null })
  return {
    loaded: { ...loaded, cluster: moment.cluster(cluster), views },
    tell: (answer) => {
      const story = storyOf(answer.explanation, played, atMs)
      return story.length === 0 ? answer : { ...answer, explanation: { ...answer.explanation, timeline: story } }
    },
  }
}

/** What each drop reason is in a rollout; what is not here is no matter of time. */
const CAUSES: Readonly<Record<string, Cause>> = {
  'pod-stopped': 'stale-rules',
  'backend-gone': 'stale-rules',
  'no-local-endpoint': 'no-local-endpoint',
  'no-endpoint': 'no-endpoint',
  'node-down': 'ingress-node-gone',
  'no-healthy-node': 'no-target',
}

function storyOf(
  { endpoints, node, reason, service }: Explanation,
  { addresses, course, scenes }: Played,
  atMs: number,
): string[] {
  const scene = scenes.find((one) => service?.startsWith(`${one.service.name}:`) === true)
  if (scene === undefined) return []
  const pods = addresses()
  const nodeIndex = course.nodes.findIndex(({ name }) => name === node)
  const told = endpoints.flatMap((endpoint) => {
    const pod = podAt(endpoint)
    if (pod === null || course.pods[pod]!.accept.at(atMs) === ACCEPT_YES) return []
    const isEarly = course.pods[pod]!.accept.at(atMs) === ACCEPT_NOT_YET
    return storyFor(isEarly ? 'not-listening-yet' : 'stale-rules', pod)
  })
  if (told.length > 0) return [...new Set(told)]
  const cause = reason === null ? undefined : CAUSES[reason]
  if (cause !== undefined) return storyFor(cause, -1)
  return behind(scene, nodeIndex, atMs)

  function storyFor(cause: Cause, pod: number): string[] {
    const policy: Policy = writtenPolicy(scene!)
    const sample = { scene: 0, service: scene!.service.name, atMs, cause, clientSees: 'refused' as const }
    return narrate({ ...sample, node: nodeIndex, pod, brokenMs: -1 }, policy, scene!)
  }

  function podAt(endpoint: string): number | null {
    const address = endpoint.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')
    const found = pods.findIndex((own) => own?.includes(address) === true)
    return found < 0 ? null : found
  }
}

/** A node whose rules are older than the endpoints, though nothing comes of it for this packet. */
function behind({ rules, sets }: Scene, node: number, atMs: number): string[] {
  const own = rules[node]
  if (own === undefined) return []
  const next = sets[own.at(atMs) + 1]
  if (next === undefined || next.fromMs > atMs) return []
  const nextMs = own.times[own.indexAt(atMs) + 1]
  const when = nextMs === undefined ? 'never follow' : `follow at ${clockText(nextMs)}`
  return [`${clockText(next.fromMs)}: the endpoints change; the rules of this node ${when}`]
}
