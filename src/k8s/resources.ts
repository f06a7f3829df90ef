/**
 * What pods ask of a node and what nodes have to give, as the scheduler counts them.
 *
 * Source: kubernetes/kubernetes pkg/api/v1/resource/helpers.go (PodRequests: containers and sidecars together, or the
 *         largest init container), pkg/scheduler/util/pod_resources.go (what a container without requests is taken for).
 */
import type { PodSpec } from './types.ts'

/** Thousandths of a CPU, and bytes. */
export interface Amounts {
  readonly cpu: number
  readonly memory: number
}

export const NOTHING: Amounts = { cpu: 0, memory: 0 }
/** What a container that asks for nothing counts for where nodes are compared, not where they are full. */
const ASSUMED: Amounts = { cpu: 100, memory: 200 * 1024 * 1024 }
const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
}

/** `1500m`, `2Gi`, `1e3`, `0.5`; NaN for what is no quantity. */
export function quantity(text: unknown): number {
  const match = /^\+?(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)$/.exec(String(text))
  if (match === null) return Number.NaN
  const [, digits, exponent, unit = ''] = match
  return exponent === undefined ? Number(digits) * UNITS[unit]! : Number(`${digits}e${exponent}`)
}

function amountsOf(resources: Readonly<Record<string, unknown>> | undefined): Partial<Amounts> {
  const cpu = quantity(resources?.['cpu']) * 1000
  const memory = quantity(resources?.['memory'])
  return { ...(Number.isNaN(cpu) ? {} : { cpu }), ...(Number.isNaN(memory) ? {} : { memory }) }
}

/** Of a node's status; Infinity for what it does not say. */
export function allocatableOf(status: Readonly<Record<string, unknown>> | undefined): Amounts {
  return { cpu: Number.POSITIVE_INFINITY, memory: Number.POSITIVE_INFINITY, ...amountsOf(status) }
}

/** @param missing  what a container that does not say counts for */
function requests({ containers = [], initContainers = [] }: PodSpec, missing: Amounts): Amounts {
  const of = ({ resources }: NonNullable<PodSpec['containers']>[number]): Amounts => ({
    ...missing,
    // A limit without a request is the request as well (defaulting of the API server).
    ...amountsOf(resources?.limits),
    ...amountsOf(resources?.requests),
  })
  const running = [...containers, ...initContainers.filter(({ restartPolicy }) => restartPolicy === 'Always')].map(of)
  const first = initContainers.filter(({ restartPolicy }) => restartPolicy !== 'Always').map(of)
  const total = (key: keyof Amounts): number =>
    Math.max(
      running.reduce((sum, one) => sum + one[key], 0),
      ...first.map((one) => one[key]),
    )
  return { cpu: total('cpu'), memory: total('memory') }
}

/** What has to fit. */
export function requestsOf(spec: PodSpec): Amounts {
  return requests(spec, NOTHING)
}

/** What counts where nodes are compared. */
export function weightOf(spec: PodSpec): Amounts {
  return requests(spec, ASSUMED)
}

export function plus(a: Amounts, b: Amounts): Amounts {
  return { cpu: a.cpu + b.cpu, memory: a.memory + b.memory }
}
