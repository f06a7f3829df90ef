/**
 * Which endpoint of a set a new connection is given: uniformly at random, or as the ipvs scheduler would.
 *
 * nftables: `numgen random mod n`; iptables: a chain of `statistic random` rules with probability 1/(n-i), which is the
 * same uniform choice. ipvs: per virtual server and node: rr in turn (all weights are 1, so wrr is rr), lc/wlc (and sed, nq:
 * with equal weights they order endpoints as lc does) the fewest connections, ties to the first in rule order,
 * sh and dh a hash of the source or destination address.
 * Cost: constant, lc one look at each endpoint of the set. Source: proxier.go; net/netfilter/ipvs/ip_vs_{rr,wlc,sh,dh}.c.
 */

import { below, finish, mix } from './hash.ts'
import type { AddressId, EndpointId, Int32Column, RandomWord } from './kinds.ts'
import { PairCounters } from './pair-counters.ts'
import { SCHEDULER_LC, SCHEDULER_RR } from './rule-columns.ts'

/** The ipvs state of one shard. */
export class Schedulers {
  /** (virtual server on a node, 0) → next position. */
  readonly rotation: PairCounters = new PairCounters()
  /** (virtual server on a node, endpoint) → connections. */
  readonly connections: PairCounters = new PairCounters()

  clear(): void {
    this.rotation.clear()
    this.connections.clear()
  }

  /**
   * @param hashed  the address that sh and dh hash: the source's, the destination's
   * @returns       position within the set
   */
  pick(
    scheduler: number,
    virtualServer: number,
    hashed: AddressId,
    members: Int32Column<EndpointId>,
    start: number,
    count: number,
  ): number {
    if (scheduler === SCHEDULER_RR) {
      const at = this.rotation.index(virtualServer, 0)
      const position = this.rotation.counts[at] % count
      this.rotation.counts[at] = position + 1
      return position
    }
    if (scheduler === SCHEDULER_LC) {
      let best = 0
      let fewest = 0x7fffffff
      for (let position = 0; position < count; position++) {
        const held = this.connections.counts[this.connections.index(virtualServer, members[start + position])]
        if (held < fewest) {
          fewest = held
          best = position
        }
      }
      return best
    }
    // ip_vs_sh and ip_vs_dh: 256 buckets filled with the destinations in turn.
    return (finish(mix(0x3c6ef372, hashed)) & 255) % count
  }
}

/** Uniform choice. @returns position within the set */
export function pickUniform(random: RandomWord, count: number): number {
  return count === 1 ? 0 : below(random, count)
}
