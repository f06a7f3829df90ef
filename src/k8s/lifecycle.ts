/**
 * What manifests say about the coming and going of pods: update strategies, probes, hooks and grace periods.
 *
 * Only a Timeline asks for these fields. Traces without one do not hold them: a replay has no use for them (`withoutLifecycle`).
 * Source: the API reference of apps/v1, v1 and policy/v1.
 */
import { boolean, integer, isMap, list, object, oneOfOrEmpty, type Reader, string, wrong } from './schema.ts'

export interface Probe {
  initialDelaySeconds?: number
  periodSeconds?: number
  timeoutSeconds?: number
  successThreshold?: number
  failureThreshold?: number
  /** The handler's own fields are not read: what a probe sees is the workload's settings in a Timeline. */
  exec?: unknown
  httpGet?: unknown
  tcpSocket?: unknown
  grpc?: unknown
}

export interface LifecycleHandler {
  exec?: { command?: string[] }
  httpGet?: unknown
  sleep?: { seconds: number }
}

/** Of a container. */
export interface ContainerLifecycle {
  readinessProbe?: Probe
  startupProbe?: Probe
  livenessProbe?: Probe
  lifecycle?: { preStop?: LifecycleHandler }
}

/** A number of pods, or a share of them as `25%`. */
export type CountOrPercent = number | string

export interface UpdateStrategy {
  type?: 'RollingUpdate' | 'Recreate' | 'OnDelete'
  rollingUpdate?: { maxSurge?: CountOrPercent; maxUnavailable?: CountOrPercent; partition?: number }
}

/** Of the spec of a Deployment, StatefulSet or DaemonSet. */
export interface UpdateSettings {
  /** A Deployment's; `updateStrategy` is the others'. */
  strategy?: UpdateStrategy
  updateStrategy?: UpdateStrategy
  minReadySeconds?: number
  progressDeadlineSeconds?: number
  podManagementPolicy?: 'OrderedReady' | 'Parallel'
  paused?: boolean
}

const count = integer(0, 2 ** 31 - 1)
const anything: Reader<unknown> = (value) => value

const probe = object<Probe>({
  initialDelaySeconds: count,
  periodSeconds: count,
  timeoutSeconds: count,
  successThreshold: count,
  failureThreshold: count,
  exec: anything,
  httpGet: anything,
  tcpSocket: anything,
  grpc: anything,
})

const handler = object<LifecycleHandler>({
  exec: object({ command: list(string) }),
  httpGet: anything,
  sleep: object({ seconds: count }, ['seconds']),
})

export const containerLifecycle: { readonly [K in keyof Required<ContainerLifecycle>]: Reader<ContainerLifecycle[K]> } =
  {
    readinessProbe: probe,
    startupProbe: probe,
    livenessProbe: probe,
    lifecycle: object({ preStop: handler }),
  }

/** A whole number of pods, or a share of them from 0 to 100 %. */
export const countOrPercent: Reader<CountOrPercent> = (value) => {
  if (typeof value === 'number') return count(value)
  if (typeof value === 'string' && /^\d{1,3}%$/.test(value)) return value
  return wrong(value, 'a whole number or a percentage such as 25%')
}

const strategy = object<UpdateStrategy>({
  type: oneOfOrEmpty('RollingUpdate', 'Recreate', 'OnDelete'),
  rollingUpdate: object({ maxSurge: countOrPercent, maxUnavailable: countOrPercent, partition: count }),
})

export const updateSettings: { readonly [K in keyof Required<UpdateSettings>]: Reader<UpdateSettings[K]> } = {
  strategy,
  updateStrategy: strategy,
  minReadySeconds: count,
  progressDeadlineSeconds: count,
  podManagementPolicy: oneOfOrEmpty('OrderedReady', 'Parallel'),
  paused: boolean,
}

const UPDATE_FIELDS: ReadonlySet<string> = new Set(Object.keys(updateSettings))
const CONTAINER_FIELDS: ReadonlySet<string> = new Set(Object.keys(containerLifecycle))
const POD_FIELDS: ReadonlySet<string> = new Set(['terminationGracePeriodSeconds'])
const PROXY_FIELDS: ReadonlySet<string> = new Set(['minSyncPeriod', 'syncPeriod'])
const PROXY_MODES = ['iptables', 'ipvs', 'nftables'] as const

/** An object without the fields that only a Timeline asks for. */
export function withoutLifecycle<T extends object>(object: T): T {
  const copy = { ...object } as Record<string, unknown>
  for (const mode of PROXY_MODES) if (isMap(copy[mode])) copy[mode] = without(copy[mode], PROXY_FIELDS)
  if (isMap(copy['spec'])) copy['spec'] = specWithout(copy['spec'])
  return copy as T
}

function specWithout(spec: Record<string, unknown>): Record<string, unknown> {
  const copy = without(spec, isMap(spec['template']) ? UPDATE_FIELDS : POD_FIELDS)
  delete copy['providerID']
  if (isMap(copy['template']) && isMap(copy['template']['spec']))
    copy['template'] = { ...copy['template'], spec: specWithout(copy['template']['spec']) }
  for (const name of ['containers', 'initContainers']) {
    const containers = copy[name]
    if (Array.isArray(containers)) copy[name] = containers.map((container) => without(container, CONTAINER_FIELDS))
  }
  return copy
}

function without(value: Record<string, unknown>, names: ReadonlySet<string>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([name]) => !names.has(name)))
}
