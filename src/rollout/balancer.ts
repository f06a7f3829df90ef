/**
 * Whom a load balancer sends new connections to, over time: by probes of nodes, by what it was told about pods, or by who announces the address.
 *
 * Probes fall on a grid whose phase is chance. `unhealthy` failures in a row take a target out, `healthy` successes put it back, and either
 * takes `propagationMs` to be felt. A probe at the very instant of a change sees what comes after it.
 */
import { stableHash } from '../k8s/hash.ts'
import type { Chance } from './chance.ts'
import type { Course } from './happenings.ts'
import { ACCEPT_SILENT, ACCEPT_YES, ENDPOINT_READY } from './pod.ts'
import type { ControlPlane, LoadBalancer, ProbeSettings } from './profiles.ts'
import type { SiteService } from './site.ts'
import { Steps } from './steps.ts'
import type { EndpointSets } from './views.ts'

export type Policy = 'cluster' | 'local'

/** From `fromMs[i]` on, `lists[i]` get new connections: nodes by index, or pods by id. */
export interface Targets {
  readonly fromMs: readonly number[]
  readonly lists: readonly (readonly number[])[]
  /** By node, 1 while it is a target; empty where pods are. */
  readonly ofNode: readonly Steps[]
}

/** What everything a balancer may ask is a function of. */
export interface Answers {
  readonly course: Course
  readonly sets: readonly EndpointSets[]
  /** By node, which set its rules hold. */
  readonly rules: readonly Steps[]
  readonly service: SiteService
  readonly control: ControlPlane
  readonly endMs: number
  /** A pod that counts as ready is a target already, by its readiness gate. */
  readonly isRegistered: boolean
}

const ANSWER_NO = 0
const ANSWER_YES = 1
/** Nothing comes back: a failure is known only after the timeout. */
const ANSWER_SILENCE = 2

export function targetsOf(balancer: LoadBalancer, policy: Policy, answers: Answers, chance: Chance): Targets {
  switch (balancer.targets) {
    case 'nodes':
      return probedNodes(balancer, policy, answers, chance)
    case 'pods':
      return registeredPods(balancer, answers, chance)
    case 'leader':
      return leaders(balancer, policy, answers)
    case 'routes':
      return announcers(balancer, policy, answers)
  }
}

/** Index of the list that holds at `ms`. */
export function listIndexAt(fromMs: readonly number[], ms: number): number {
  let low = 0
  let high = fromMs.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (fromMs[middle]! <= ms) low = middle
    else high = middle - 1
  }
  return low
}

function probedNodes(balancer: LoadBalancer, policy: Policy, answers: Answers, chance: Chance): Targets {
  const settings = balancer[policy]
  const { nodes } = answers.course
  const ofNode = nodes.map((node) => {
    const phaseMs = Math.floor(chance.unit('balancer', node.name) * settings.intervalMs)
    const steps = probed(
      (ms) => nodeAnswer(settings, node.index, answers, ms),
      settings,
      phaseMs,
      balancer.propagationMs,
      answers.endMs,
    )
    return until(steps, node.deleted.next(0, (value) => value === 1) + balancer.deregisterMs)
  })
  return merged(
    ofNode.map((steps, id) => ({ id, steps })),
    balancer.failOpen,
    ofNode,
  )
}

function nodeAnswer(settings: ProbeSettings, node: number, answers: Answers, ms: number): number {
  const { up, proxy, tainted } = answers.course.nodes[node]!
  if (up.at(ms) === 0) return ANSWER_SILENCE
  const set = answers.sets[answers.rules[node]!.at(ms)]!
  if (settings.kind !== 'node-port' && isStuck(answers, node, ms)) return ANSWER_NO
  switch (settings.kind) {
    // Both are answered by kube-proxy itself.
    case 'health-check-port':
      return proxy.at(ms) === 1 && set.readyOn.has(node) ? ANSWER_YES : ANSWER_NO
    case 'healthz':
      return proxy.at(ms) === 1 && tainted.at(ms) === 0 ? ANSWER_YES : ANSWER_NO
    case 'node-port':
      return set.cluster.some((pod) => answers.course.pods[pod]!.accept.at(ms) === ACCEPT_YES) ? ANSWER_YES : ANSWER_NO
  }
}

/** Two of kube-proxy's sync periods: a change that is waiting for longer makes its health checks fail. */
const STUCK_MS = 60_000

/** kube-proxy has had a change for too long without having written it. Source: pkg/proxy/healthcheck/proxy_health.go. */
function isStuck({ control, rules, sets }: Answers, node: number, ms: number): boolean {
  const waiting = sets[rules[node]!.at(ms) + 1]
  return waiting !== undefined && ms - (waiting.fromMs + control.sliceMs + control.watchMs) >= STUCK_MS
}

/** 1 while a target counts as healthy. */
function probed(
  answerAt: (ms: number) => number,
  { intervalMs, unhealthy, healthy, timeoutMs }: ProbeSettings,
  phaseMs: number,
  propagationMs: number,
  endMs: number,
): Steps {
  let isHealthy = answerAt(-1) === ANSWER_YES
  const steps = new Steps(isHealthy ? 1 : 0)
  let opposite = 0
  for (let ms = phaseMs; ms <= endMs; ms += intervalMs) {
    const answer = answerAt(ms)
    if ((answer === ANSWER_YES) === isHealthy) {
      opposite = 0
      continue
    }
    if (++opposite < (isHealthy ? unhealthy : healthy)) continue
    isHealthy = !isHealthy
    opposite = 0
    steps.set(ms + (answer === ANSWER_SILENCE ? timeoutMs : 0) + propagationMs, isHealthy ? 1 : 0)
  }
  return steps
}

/** The same, and nothing after `ms`. */
function until(steps: Steps, ms: number): Steps {
  if (!Number.isFinite(ms)) return steps
  const cut = new Steps(steps.values[0]!)
  for (let i = 1; i < steps.times.length && steps.times[i]! < ms; i++) cut.set(steps.times[i]!, steps.values[i]!)
  cut.set(ms, 0)
  return cut
}

/** Pods that were registered and answer probes. */
function registeredPods(balancer: LoadBalancer, answers: Answers, chance: Chance): Targets {
  const { course, service, control, endMs, isRegistered } = answers
  const lagMs = control.sliceMs + control.watchMs
  const registerMs = isRegistered ? 0 : balancer.registerMs
  const settings = balancer.cluster
  const members = course.pods
    .filter(({ workload }) => service.selects[workload] === true)
    .map((pod) => {
      const isReady = (value: number): boolean => (value & ENDPOINT_READY) !== 0
      const registered = new Steps(isReady(pod.endpoint.values[0]!) ? 1 : 0)
      for (let i = 1; i < pod.endpoint.times.length; i++) {
        const ready = isReady(pod.endpoint.values[i]!)
        if (ready === isReady(pod.endpoint.values[i - 1]!)) continue
        const at = pod.endpoint.times[i]! + lagMs + (ready ? registerMs : balancer.deregisterMs)
        // Of one that left before it had come nothing is ever felt.
        registered.set(Math.max(at, registered.times.at(-1)!), ready ? 1 : 0)
      }
      const phaseMs = Math.floor(chance.unit('balancer', pod.name) * settings.intervalMs)
      const answerAt = (ms: number): number => {
        const accept = pod.accept.at(ms)
        return accept === ACCEPT_YES ? ANSWER_YES : accept === ACCEPT_SILENT ? ANSWER_SILENCE : ANSWER_NO
      }
      // What is registered has been found healthy; from there on probes decide.
      const health = probed(answerAt, settings, phaseMs, balancer.propagationMs, endMs)
      return { id: pod.id, steps: both(registered, health) }
    })
  // With nobody registered there is nobody to fail open to.
  return merged(members, false, [])
}

function both(a: Steps, b: Steps): Steps {
  const steps = new Steps(Math.min(a.values[0]!, b.values[0]!))
  for (const ms of [...a.times, ...b.times].filter(Number.isFinite).sort((x, y) => x - y))
    steps.set(ms, Math.min(a.at(ms), b.at(ms)))
  return steps
}

/** Nodes that may speak for the address: any under Cluster, those with an endpoint that serves under Local. */
function eligible(policy: Policy, { course, sets, control }: Answers, node: number, ms: number): boolean {
  if (course.nodes[node]!.up.at(ms) === 0) return false
  if (policy === 'cluster') return true
  let index = 0
  while (index + 1 < sets.length && sets[index + 1]!.fromMs + control.sliceMs + control.watchMs <= ms) index++
  return sets[index]!.local.has(node)
}

function changeTimes({ course, sets, control }: Answers): number[] {
  const times = [
    ...sets.slice(1).map(({ fromMs }) => fromMs + control.sliceMs + control.watchMs),
    ...course.nodes.flatMap(({ up }) => up.times.slice(1)),
  ]
  return [...new Set(times)].sort((a, b) => a - b)
}

/** One node speaks for the address: of those that may, the one whose name hashes lowest with the Service's. */
function leaders(balancer: LoadBalancer, policy: Policy, answers: Answers): Targets {
  const { nodes } = answers.course
  const order = nodes
    .map(({ index, name }) => ({ index, key: stableHash(`${answers.service.name} ${name}`) }))
    .sort((a, b) => a.key - b.key)
  const leaderAt = (ms: number): number => order.find(({ index }) => eligible(policy, answers, index, ms))?.index ?? -1
  const steps = new Steps(leaderAt(-1))
  let current = steps.last
  for (const ms of changeTimes(answers)) {
    const next = leaderAt(ms)
    if (next === current) continue
    const died = current >= 0 && nodes[current]!.up.at(ms) === 0
    steps.set(Math.max(ms + (died ? balancer.deadMs : balancer.registerMs), steps.times.at(-1)!), next)
    current = next
  }
  const ofNode = nodes.map(({ index }) => {
    const own = new Steps(steps.values[0] === index ? 1 : 0)
    for (let i = 1; i < steps.times.length; i++) own.set(steps.times[i]!, steps.values[i] === index ? 1 : 0)
    return own
  })
  return merged(
    ofNode.map((own, id) => ({ id, steps: own })),
    false,
    ofNode,
  )
}

function announcers(balancer: LoadBalancer, policy: Policy, answers: Answers): Targets {
  const times = changeTimes(answers)
  const ofNode = answers.course.nodes.map(({ index, up }) => {
    const steps = new Steps(eligible(policy, answers, index, -1) ? 1 : 0)
    let announced = steps.last === 1
    for (const ms of times) {
      const now = eligible(policy, answers, index, ms)
      if (now === announced) continue
      announced = now
      const waitMs = now ? balancer.registerMs : up.at(ms) === 0 ? balancer.deadMs : balancer.deregisterMs
      steps.set(Math.max(ms + waitMs, steps.times.at(-1)!), now ? 1 : 0)
    }
    return steps
  })
  return merged(
    ofNode.map((steps, id) => ({ id, steps })),
    false,
    ofNode,
  )
}

function merged(
  members: readonly { readonly id: number; readonly steps: Steps }[],
  failOpen: boolean,
  ofNode: readonly Steps[],
): Targets {
  const times = [...new Set(members.flatMap(({ steps }) => steps.times))].sort((a, b) => a - b)
  const fromMs = times.length === 0 ? [Number.NEGATIVE_INFINITY] : times
  const lists = fromMs.map((ms) => {
    const list = members.filter(({ steps }) => steps.at(ms) === 1).map(({ id }) => id)
    return list.length === 0 && failOpen ? members.map(({ id }) => id) : list
  })
  return { fromMs, lists, ofNode }
}
