/**
 * The connections of a trace as arrivals: when each sends its first packet, for the Services in question.
 *
 * Only times are taken: who enters where, and what a client does when it gets no answer, is the rollout's own. Connections to other
 * destinations are passed over.
 * Cost: one pass over the file; a number for each connection.
 */
import { addressText, FLAG_REPLY, TICKS_PER_SECOND } from '../trace/format.ts'
import { openTrace } from '../trace/read.ts'
import { scanTrace } from '../trace/verify.ts'
import type { Site, SiteService } from './site.ts'
import type { Arrivals } from './traffic.ts'

export interface TraceArrivals {
  /** One for each Service, in their order. */
  readonly arrivals: readonly Arrivals[]
  readonly durationMs: number
  /** Connections to other destinations. */
  readonly others: number
}

/** @throws UserError E_TRACE_… for a file that is no whole trace */
export function traceArrivals(path: string, site: Site, services: readonly SiteService[]): TraceArrivals {
  const trace = openTrace(path)
  try {
    const { header, slotsPerLane, totals } = trace
    const serviceOf = header.destinations.map((destination) =>
      services.findIndex(
        (service) =>
          destination.service === service.name ||
          isAddressOf(site, service, addressText(header.addresses, destination.address), destination.port),
      ),
    )
    const times: number[][] = services.map(() => [])
    let others = 0
    /** By lane and slot: the Service of a connection that has not sent anything yet, else -1. */
    const waiting = Array.from(slotsPerLane, (slots) => new Int32Array(slots).fill(-1))
    scanTrace(trace, {
      connections: ({ slot, destination }, rows, lane) => {
        for (let row = 0; row < rows; row++) {
          const service = serviceOf[destination[row]!]!
          waiting[lane]![slot[row]!] = service
          if (service < 0) others++
        }
      },
      packets: ({ slot, time, flags, baseTick }, rows, lane) => {
        const own = waiting[lane]!
        for (let row = 0; row < rows; row++) {
          const at = slot[row]!
          if (own[at]! < 0 || (flags[row]! & FLAG_REPLY) !== 0) continue
          times[own[at]!]!.push(Math.floor(((baseTick + time[row]!) * 1000) / TICKS_PER_SECOND))
          own[at] = -1
        }
      },
    })
    return {
      arrivals: times.map((list) => ({ timesMs: Float64Array.from(list).sort() })),
      durationMs: Math.ceil((totals.durationTicks * 1000) / TICKS_PER_SECOND),
      others,
    }
  } finally {
    trace.close()
  }
}

function isAddressOf({ cluster }: Site, { service }: SiteService, address: string, port: number): boolean {
  const vips = [...service.clusterIPs, ...service.externalIPs, ...service.loadBalancer.map(({ ip }) => ip)]
  if (vips.includes(address)) return service.ports.some((one) => one.port === port)
  const isNode = cluster.nodes.some(({ addresses }) => addresses.includes(address))
  return isNode && service.ports.some(({ nodePort }) => nodePort !== 0 && nodePort === port)
}
