/** One lost connection told step by step: who knew what when, and which lag was to blame. */
import type { Policy } from './balancer.ts'
import type { Scene } from './dial.ts'
import { clockText, spanText } from './durations.ts'
import { ACCEPT_YES, ENDPOINT_READY } from './pod.ts'
import type { Sample } from './runs.ts'

export function narrate(sample: Sample, policy: Policy, scene: Scene): string[] {
  const { atMs, cause, brokenMs } = sample
  const { course } = scene
  const node = course.nodes[sample.node]
  const pod = course.pods[sample.pod]
  const lines: string[] = []
  const say = (ms: number, text: string): void => {
    lines.push(`${clockText(ms)}: ${text}`)
  }
  const entry =
    scene.way === 'names'
      ? 'a client connects to an address of the name'
      : scene.way === 'ingress'
        ? 'a request comes to the ingress controller'
        : scene.way === 'inside'
          ? `a pod on node ${node?.name ?? '?'} connects`
          : scene.balancerKind === 'pods'
            ? 'a connection comes to the load balancer'
            : node === undefined
              ? 'a connection comes to the load balancer'
              : `a connection comes in by node ${node.name}`
  if (pod !== undefined) {
    if (Number.isFinite(pod.deletedMs)) say(pod.deletedMs, `${pod.name} is deleted; its endpoint counts as ending`)
    const stoppedMs = stopBefore(pod.accept.times, pod.accept.values, atMs)
    if (stoppedMs !== null) say(stoppedMs, `${pod.name} stops accepting connections`)
    if (cause === 'not-listening-yet') {
      const readyMs = pod.endpoint.next(Math.max(0, pod.createdMs), (value) => (value & ENDPOINT_READY) !== 0)
      say(readyMs, `${pod.name} counts as ready: it has no readinessProbe that says otherwise`)
    }
  }
  say(atMs, `${entry}${pod === undefined ? '' : `, for ${pod.name}`}`)
  switch (cause) {
    case 'stale-rules':
    case 'node-gone': {
      if (node === undefined || brokenMs >= 0) break
      const rules = scene.rules[node.index]!
      const index = rules.at(atMs)
      const nextMs = rules.times[rules.indexAt(atMs) + 1]
      const change = scene.sets[index + 1]
      if (change !== undefined) say(change.fromMs, 'the endpoints change')
      if (nextMs !== undefined && change !== undefined)
        say(nextMs, `the rules of node ${node.name} follow, ${spanText(nextMs - change.fromMs)} later`)
      else say(atMs, `the rules of node ${node.name} do not follow any more`)
      break
    }
    case 'not-listening-yet':
      if (pod !== undefined) {
        const listensMs = pod.accept.next(atMs, (value) => value === ACCEPT_YES)
        if (Number.isFinite(listensMs)) say(listensMs, `${pod.name} listens, ${spanText(listensMs - atMs)} later`)
      }
      break
    case 'no-local-endpoint': {
      const targets = scene.targets?.[policy]
      if (node === undefined || targets === undefined) break
      const outMs = targets.ofNode[node.index]?.next(atMs, (isTarget) => isTarget === 0) ?? Number.POSITIVE_INFINITY
      const backMs = scene.rules[node.index]!.next(atMs, (index) => scene.sets[index]!.local.has(node.index))
      say(atMs, `node ${node.name} has no endpoint of its own, and Local uses no other: the packet is dropped`)
      if (backMs < outMs) say(backMs, `node ${node.name} has an endpoint again, before the load balancer has noticed`)
      else if (Number.isFinite(outMs))
        say(outMs, `the load balancer leaves node ${node.name}, ${spanText(outMs - atMs)} later`)
      break
    }
    case 'lb-stale-target':
      say(atMs, 'the load balancer has not taken the pod out yet')
      break
    case 'no-endpoint':
      say(atMs, 'there is no pod that could be used anywhere: it is refused')
      break
    case 'no-target':
      say(atMs, 'the load balancer takes none of its targets for healthy')
      break
    case 'ingress-node-gone':
      if (brokenMs < 0) say(atMs, `node ${node?.name ?? '?'} is down and still a target`)
      break
    case 'ingress-502':
      say(atMs, 'the worker that has it still knows pods that have stopped')
      break
    case 'ingress-503':
      say(atMs, 'the worker that has it knows no ready pod, and has no fallback to those that are ending')
      break
    case 'stale-dns':
      say(atMs, 'the answer that the client holds is older than the change')
      break
    default:
  }
  if (brokenMs >= 0) {
    const words: Readonly<Record<string, string>> = {
      'killed-in-flight': 'the process ends, and the connection with it',
      'closed-by-app': 'the process breaks off on SIGTERM',
      'lb-reset': 'its target has turned unhealthy: the load balancer resets it',
      'node-gone': "the pod's node is gone: silence",
      'ingress-node-gone': `node ${node?.name ?? '?'} is gone, and its conntrack entry with it: silence`,
      'path-moved': 'its packets come in by another node, which has no entry for them',
    }
    say(brokenMs, words[cause] ?? 'it breaks')
  }
  return lines.sort((a, b) => Number.parseFloat(a) - Number.parseFloat(b))
}

/** The last time before `ms` from which connections were not accepted any more. */
function stopBefore(times: readonly number[], values: readonly number[], ms: number): number | null {
  for (let i = times.length - 1; i > 0; i--) {
    if (times[i]! <= ms && values[i] !== ACCEPT_YES && values[i - 1] === ACCEPT_YES) return times[i]!
  }
  return null
}
