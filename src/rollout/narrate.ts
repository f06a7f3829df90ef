/** One lost connection told step by step: who knew what when, and which lag was to blame. */
import type { Policy } from './balancer.ts'
import type { Scene } from './dial.ts'
import { clockText, spanText } from './durations.ts'
import { ACCEPT_YES, ENDPOINT_READY } from './pod.ts'
import type { Sample } from './runs.ts'

type Say = (ms: number, text: string) => void

export function narrate(sample: Sample, policy: Policy, scene: Scene): string[] {
  const { atMs, brokenMs } = sample
  const pod = scene.course.pods[sample.pod]
  const lines: string[] = []
  const say: Say = (ms, text) => {
    lines.push(`${clockText(ms)}: ${text}`)
  }
  tellPod(sample, scene, say)
  say(atMs, `${entryText(sample, scene)}${pod === undefined ? '' : `, for ${pod.name}`}`)
  tellCause(sample, policy, scene, say)
  if (brokenMs >= 0) say(brokenMs, breakText(sample, scene))
  return lines.sort((a, b) => Number.parseFloat(a) - Number.parseFloat(b))
}

function entryText({ node: index }: Sample, { way, balancerKind, course }: Scene): string {
  const node = course.nodes[index]
  switch (way) {
    case 'names':
      return 'a client connects to an address of the name'
    case 'ingress':
      return 'a request comes to the ingress controller'
    case 'inside':
      return `a pod on node ${node?.name ?? '?'} connects`
    default:
      return balancerKind === 'pods' || node === undefined
        ? 'a connection comes to the load balancer'
        : `a connection comes in by node ${node.name}`
  }
}

/** What the pod had done before the connection came. */
function tellPod({ pod: index, atMs, cause }: Sample, { course }: Scene, say: Say): void {
  const pod = course.pods[index]
  if (pod === undefined) return
  if (Number.isFinite(pod.deletedMs)) say(pod.deletedMs, `${pod.name} is deleted; its endpoint counts as ending`)
  const stoppedMs = stopBefore(pod.accept.times, pod.accept.values, atMs)
  if (stoppedMs !== null) say(stoppedMs, `${pod.name} stops accepting connections`)
  if (cause === 'not-listening-yet') {
    const readyMs = pod.endpoint.next(Math.max(0, pod.createdMs), (value) => (value & ENDPOINT_READY) !== 0)
    say(readyMs, `${pod.name} counts as ready: it has no readinessProbe that says otherwise`)
  }
}

/** Why nobody answered. */
function tellCause(sample: Sample, policy: Policy, scene: Scene, say: Say): void {
  const { atMs, cause, brokenMs } = sample
  switch (cause) {
    case 'stale-rules':
    case 'node-gone':
      tellStaleRules(sample, scene, say)
      break
    case 'not-listening-yet': {
      const pod = scene.course.pods[sample.pod]
      const listensMs = pod?.accept.next(atMs, (value) => value === ACCEPT_YES) ?? Number.POSITIVE_INFINITY
      if (pod !== undefined && Number.isFinite(listensMs))
        say(listensMs, `${pod.name} listens, ${spanText(listensMs - atMs)} later`)
      break
    }
    case 'no-local-endpoint':
      tellNoLocalEndpoint(sample, policy, scene, say)
      break
    case 'ingress-node-gone':
      if (brokenMs < 0) say(atMs, `node ${scene.course.nodes[sample.node]?.name ?? '?'} is down and still a target`)
      break
    default: {
      const text = CAUSE_TEXTS[cause]
      if (text !== undefined) say(atMs, text)
    }
  }
}

/** Causes that one sentence tells. */
const CAUSE_TEXTS: Readonly<Record<string, string>> = {
  'lb-stale-target': 'the load balancer has not taken the pod out yet',
  'no-endpoint': 'there is no pod that could be used anywhere: it is refused',
  'no-target': 'the load balancer takes none of its targets for healthy',
  'ingress-502': 'the worker that has it still knows pods that have stopped',
  'ingress-503': 'the worker that has it knows no ready pod, and has no fallback to those that are ending',
  'stale-dns': 'the answer that the client holds is older than the change',
}

/** When the endpoints changed, and how much later the node's rules did. */
function tellStaleRules({ node: nodeIndex, atMs, brokenMs }: Sample, scene: Scene, say: Say): void {
  const node = scene.course.nodes[nodeIndex]
  if (node === undefined || brokenMs >= 0) return
  const rules = scene.rules[node.index]!
  const index = rules.at(atMs)
  const nextMs = rules.times[rules.indexAt(atMs) + 1]
  const change = scene.sets[index + 1]
  if (change !== undefined) say(change.fromMs, 'the endpoints change')
  if (nextMs !== undefined && change !== undefined)
    say(nextMs, `the rules of node ${node.name} follow, ${spanText(nextMs - change.fromMs)} later`)
  else say(atMs, `the rules of node ${node.name} do not follow any more`)
}

function tellNoLocalEndpoint({ node: nodeIndex, atMs }: Sample, policy: Policy, scene: Scene, say: Say): void {
  const node = scene.course.nodes[nodeIndex]
  const targets = scene.targets?.[policy]
  if (node === undefined || targets === undefined) return
  const outMs = targets.ofNode[node.index]?.next(atMs, (isTarget) => isTarget === 0) ?? Number.POSITIVE_INFINITY
  const backMs = scene.rules[node.index]!.next(atMs, (index) => scene.sets[index]!.local.has(node.index))
  say(atMs, `node ${node.name} has no endpoint of its own, and Local uses no other: the packet is dropped`)
  if (backMs < outMs) say(backMs, `node ${node.name} has an endpoint again, before the load balancer has noticed`)
  else if (Number.isFinite(outMs))
    say(outMs, `the load balancer leaves node ${node.name}, ${spanText(outMs - atMs)} later`)
}

/** How an open connection ends. */
function breakText({ cause, node }: Sample, { course }: Scene): string {
  const texts: Readonly<Record<string, string>> = {
    'killed-in-flight': 'the process ends, and the connection with it',
    'closed-by-app': 'the process breaks off on SIGTERM',
    'lb-reset': 'its target has turned unhealthy: the load balancer resets it',
    'node-gone': "the pod's node is gone: silence",
    'ingress-node-gone': `node ${course.nodes[node]?.name ?? '?'} is gone, and its conntrack entry with it: silence`,
    'path-moved': 'its packets come in by another node, which has no entry for them',
  }
  return texts[cause] ?? 'it breaks'
}

/** The last time before `ms` from which connections were not accepted any more. */
function stopBefore(times: readonly number[], values: readonly number[], ms: number): number | null {
  for (let i = times.length - 1; i > 0; i--) {
    if (times[i]! <= ms && values[i] !== ACCEPT_YES && values[i - 1] === ACCEPT_YES) return times[i]!
  }
  return null
}
