/**
 * Why a connection is lost or late: a closed list, each with what it means. Every such connection has exactly one, the first that it met.
 */

export const CAUSES = [
  'stale-rules',
  'not-listening-yet',
  'no-local-endpoint',
  'no-endpoint',
  'no-target',
  'killed-in-flight',
  'closed-by-app',
  'lb-reset',
  'lb-stale-target',
  'node-gone',
  'ingress-node-gone',
  'path-moved',
  'stale-dns',
  'ingress-502',
  'ingress-503',
] as const
export type Cause = (typeof CAUSES)[number]

export const CAUSE_WORDS: Readonly<Record<Cause, string>> = {
  'stale-rules': "a node's rules still name a pod that has stopped",
  'not-listening-yet': 'the pod counts as ready and does not listen yet',
  'no-local-endpoint': 'the load balancer sends to a node that has no pod of the Service',
  'no-endpoint': 'no pod of the Service can be used at all',
  'no-target': 'the load balancer has no target that it takes for healthy',
  'killed-in-flight': 'the process ended before it was done',
  'closed-by-app': 'the process broke it off on SIGTERM',
  'lb-reset': 'the load balancer resets what is open to a target that turned unhealthy',
  'lb-stale-target': 'the load balancer sends to a pod that has stopped',
  'node-gone': "the pod's node is gone",
  'ingress-node-gone': 'the node that it enters by is gone',
  'path-moved': 'its packets come in by another node, which does not know it',
  'stale-dns': 'the client has an old answer for the name',
  'ingress-502': 'the ingress controller still knows pods that have stopped, and has tried as many as it may',
  'ingress-503': 'the ingress controller knows no ready pod',
}

/** What the client sees. */
export const SIGHTS = ['refused', 'timed out', 'reset', 'hung', 'slow', '502', '503', '504'] as const
export type Sight = (typeof SIGHTS)[number]

export const PHASES = [
  'before',
  'deletion-to-sync',
  'sync-to-lb-out',
  'start-to-listening',
  'exit-to-next-ready',
  'after',
] as const
export type Phase = (typeof PHASES)[number]

export const PHASE_WORDS: Readonly<Record<Phase, string>> = {
  before: 'before the first event',
  'deletion-to-sync': 'from the change until every sender knows it',
  'sync-to-lb-out': 'until the load balancer has left the node',
  'start-to-listening': 'from the start of a pod until it listens',
  'exit-to-next-ready': 'from the end of a pod until the next one is ready',
  after: 'after everything has settled',
}

export const CAUSE: Readonly<Record<Cause, number>> = Object.fromEntries(CAUSES.map((name, i) => [name, i])) as Record<
  Cause,
  number
>
export const SIGHT: Readonly<Record<Sight, number>> = Object.fromEntries(SIGHTS.map((name, i) => [name, i])) as Record<
  Sight,
  number
>

/** In which part of a change a cause has its place. */
export const PHASE_OF: readonly number[] = CAUSES.map((cause) => {
  const phase: Phase =
    cause === 'no-local-endpoint' ||
    cause === 'lb-stale-target' ||
    cause === 'ingress-node-gone' ||
    cause === 'lb-reset'
      ? 'sync-to-lb-out'
      : cause === 'not-listening-yet'
        ? 'start-to-listening'
        : cause === 'no-endpoint' ||
            cause === 'ingress-503' ||
            cause === 'no-target' ||
            cause === 'killed-in-flight' ||
            cause === 'closed-by-app'
          ? 'exit-to-next-ready'
          : 'deletion-to-sync'
  return PHASES.indexOf(phase)
})

/** What comes of a sender that does not know yet: a preStop that outlasts it prevents it. */
export const STALE_CAUSES: ReadonlySet<Cause> = new Set<Cause>([
  'stale-rules',
  'no-local-endpoint',
  'lb-stale-target',
  'stale-dns',
  'ingress-502',
])
