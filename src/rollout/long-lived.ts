/**
 * Connections that clients want for ever (websockets, database pools, HTTP/2): how often a change breaks each, and how uneven they lie at its end.
 *
 * All are open before the first event; one that breaks is opened anew at once, and again a second later while nobody answers.
 * Cost: a dial a connection and break; only some runs are looked at.
 */
import type { Policy } from './balancer.ts'
import { CAUSES, type Cause } from './causes.ts'
import type { Chance } from './chance.ts'
import { createFate, Dialer, type Scene } from './dial.ts'
import { ENDPOINT_READY } from './pod.ts'

const CONNECTIONS = 400
const RETRY_MS = 1000
/** Numbers of connections that arrivals do not have. */
const FIRST = 0x4000_0000
const MAX_OPENINGS = 200

export interface LongLived {
  readonly run: number
  readonly policy: Policy
  /** Of one connection. */
  readonly breaks: number
  readonly byCause: ReadonlyMap<Cause, number>
  /** Connections of the pod that has most, in units of an even share. */
  readonly mostOverFair: number
}

export function keepOpen(run: number, scene: Scene, policy: Policy, chance: Chance, endMs: number): LongLived {
  const dialer = new Dialer(scene, policy, chance)
  const fate = createFate()
  const byCause = new Map<Cause, number>()
  const onPod = new Map<number, number>()
  let breaks = 0
  for (let c = 0; c < CONNECTIONS; c++) {
    let atMs = 0
    for (let opening = 0; opening < MAX_OPENINGS; opening++) {
      const endedMs = dialer.keep(FIRST + c * MAX_OPENINGS + opening, atMs, fate)
      if (endedMs < 0) {
        atMs += RETRY_MS
        if (atMs >= endMs) break
        continue
      }
      if (endedMs >= endMs) {
        onPod.set(fate.pod, (onPod.get(fate.pod) ?? 0) + 1)
        break
      }
      breaks++
      const cause = CAUSES[fate.cause]!
      byCause.set(cause, (byCause.get(cause) ?? 0) + 1)
      atMs = endedMs
    }
  }
  const ready = scene.course.pods.filter(
    ({ workload, endpoint }) => scene.service.selects[workload] === true && (endpoint.last & ENDPOINT_READY) !== 0,
  ).length
  const fair = CONNECTIONS / Math.max(1, ready)
  return {
    run,
    policy,
    breaks: breaks / CONNECTIONS,
    byCause: new Map([...byCause].map(([cause, count]) => [cause, count / CONNECTIONS])),
    mostOverFair: Math.max(0, ...onPod.values()) / fair,
  }
}
