/** Whose connections a replay follows over time: there is room for so many endpoints. */
import type { Registry } from '../compile/registry.ts'

/** At most 8 MB a worker. */
const MAX_FOLLOWED = 8192

/** Ids of the endpoints to follow, those of compared Services (`namespace/name`) first. */
export function followedEndpoints(registry: Registry, compared: readonly string[]): Int32Array {
  const first = new Set(compared)
  const isCompared = registry.servicePorts.map(({ namespace, service }) => first.has(`${namespace}/${service}`))
  const ids = registry.endpoints.map((_, endpoint) => endpoint)
  const isFirst = (id: number): boolean => isCompared[registry.endpoints[id]!.servicePort]!
  return Int32Array.from([...ids.filter(isFirst), ...ids.filter((id) => !isFirst(id))].slice(0, MAX_FOLLOWED))
}
