/**
 * The way of one packet over the nodes: at most three hops, with the conntrack entry, the CPU time and the model's time.
 *
 * One record, reused; whoever opens a connection begins it anew and adds hops as the packet gets on.
 */
import type { EntryNumber, Nanos, NodeId } from './kinds.ts'
export class Path {
  hops = 0
  node0: NodeId = -1
  node1: NodeId = -1
  node2: NodeId = -1
  entry0: EntryNumber = 0
  entry1: EntryNumber = 0
  entry2: EntryNumber = 0
  /** Path latency of a packet of the established connection, ns; and what the first one takes more. */
  forwardNanos: Nanos = 0
  firstExtraNanos: Nanos = 0
  /** CPU time of the opening packet on each node. */
  cost0: Nanos = 0
  cost1: Nanos = 0
  cost2: Nanos = 0
  /** `MASQUERADE_*` bits. */
  masqueraded = 0

  begin(): void {
    this.hops = 0
    this.node0 = this.node1 = this.node2 = -1
    this.entry0 = this.entry1 = this.entry2 = 0
    this.forwardNanos = 0
    this.firstExtraNanos = 0
    this.cost0 = this.cost1 = this.cost2 = 0
    this.masqueraded = 0
  }

  add(node: NodeId, entry: EntryNumber): void {
    if (this.hops === 0) {
      this.node0 = node
      this.entry0 = entry
    } else if (this.hops === 1) {
      this.node1 = node
      this.entry1 = entry
    } else {
      this.node2 = node
      this.entry2 = entry
    }
    this.hops++
  }

  /** CPU time on the hop that was added last. */
  spend(established: number, first: number): void {
    this.forwardNanos += established
    this.firstExtraNanos += first
    if (this.hops === 1) this.cost0 = established + first
    else if (this.hops === 2) this.cost1 = established + first
    else this.cost2 = established + first
  }
}
