/** Which Service port's latencies go where: a replay keeps them apart by Service port, as far as there is room. */
import { LATENCY_LENGTH } from '../../native-free-core/index.ts'
import type { Registry } from '../compile/registry.ts'

export interface LatencySlots {
  /** Names of slots 1 and up: `namespace/name:port`. Slot 0 is for everything else. */
  readonly services: readonly string[]
  /** By endpoint id. */
  readonly slotOf: Uint16Array
  /** Service ports that may see traffic and have no slot of their own. */
  readonly left: number
}

/** 26 MB of histograms a worker; what comes later in the order is in slot 0, and so in the run's totals only. */
const MAX_SLOTS: number = Math.floor((26 * 2 ** 20) / (8 * LATENCY_LENGTH))

/**
 * @param dialled  Services (`namespace/name`) that the trace means: they come first where there is no room for all
 * @param others   the trace may reach others too, by names or through proxies
 */
export function latencySlots(registry: Registry, dialled: ReadonlySet<string>, others: boolean): LatencySlots {
  const texts = [...new Set(registry.servicePorts.map((_, id) => registry.servicePortText(id)))]
  const isDialled = (text: string): boolean => dialled.has(text.slice(0, text.lastIndexOf(':')))
  const services = [...texts.filter(isDialled), ...texts.filter((text) => !isDialled(text))].slice(0, MAX_SLOTS - 1)
  const slots = new Map(services.map((text, i) => [text, i + 1]))
  return {
    services,
    left: texts.filter((text) => !slots.has(text) && (others || isDialled(text))).length,
    slotOf: Uint16Array.from(
      registry.endpoints,
      ({ servicePort }) => slots.get(registry.servicePortText(servicePort)) ?? 0,
    ),
  }
}
