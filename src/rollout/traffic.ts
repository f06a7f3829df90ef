/**
 * Connections that arrive: when, and who they are. What becomes of them is in `dial.ts`.
 *
 * Exponential gaps of a given rate, or times that are given. One way in a Service: from outside by way of a load balancer, from pods on the nodes by
 * way of the cluster IP, or straight to the pods that a headless Service's name stands for, or by way of ingress-nginx.
 */
import type { Chance } from './chance.ts'

export type Way = 'outside' | 'inside' | 'names' | 'ingress'

export interface Arrivals {
  /** Whole milliseconds, ascending. */
  readonly timesMs: Float64Array
  /** Where it is known who they are and how long they last: index of the node that a client is on, -1 outside the cluster; and a number for each client address. */
  readonly who?: {
    readonly nodes: Int32Array
    readonly clients: Int32Array
    readonly clientCount: number
    /** How long each has packets, in milliseconds. */
    readonly lengthsMs: Float64Array
  }
}

const PURPOSE_GAP = 0x6a70

/** @param perSecond  mean rate of a Poisson process from 0 to `endMs` */
export function poissonArrivals(chance: Chance, perSecond: number, endMs: number, service: number): Arrivals {
  const times: number[] = []
  const meanMs = 1000 / perSecond
  let ms = 0
  for (let i = 0; ; i++) {
    // 1 - u is above 0, so its logarithm is finite.
    ms -= Math.log(1 - chance.at(PURPOSE_GAP + service, i)) * meanMs
    if (ms >= endMs) break
    times.push(Math.floor(ms))
  }
  return { timesMs: Float64Array.from(times) }
}
