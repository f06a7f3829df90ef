/**
 * Ephemeral source ports, as clients pick them: in turn from a random start for each address, passing over those that
 * are in use towards the same destination. Clients behind one NAT address share its ports.
 *
 * A port is free again when its connection's last packet has been sent; TIME_WAIT is not modelled, the turn makes a port
 * rest for 28,231 others. Memory: 2 bytes an address, and an entry for each live connection.
 */
import type { Random } from '../random.ts'

/** Linux' net.ipv4.ip_local_port_range. */
export const FIRST_EPHEMERAL_PORT = 32_768
export const LAST_EPHEMERAL_PORT = 60_999
const PORTS = LAST_EPHEMERAL_PORT - FIRST_EPHEMERAL_PORT + 1

export class SourcePorts {
  private readonly next: Uint16Array
  private readonly destinations: number
  private readonly inUse: Set<number> = new Set()
  /** Pairs of address and destination that were found to have no port left. */
  private readonly exhausted: Set<number> = new Set()

  constructor(addresses: number, destinations: number, random: Random) {
    this.next = Uint16Array.from({ length: addresses }, () => random.below(PORTS))
    this.destinations = destinations
  }

  /** A port that no live connection from this address to this destination has, or 0 when all are taken. */
  take(address: number, destination: number): number {
    const pair = address * this.destinations + destination
    if (this.exhausted.size > 0 && this.exhausted.has(pair)) return 0
    let offset = this.next[address]!
    for (let tried = 0; tried < PORTS; tried++) {
      const key = pair * PORTS + offset
      const port = FIRST_EPHEMERAL_PORT + offset
      offset = offset + 1 === PORTS ? 0 : offset + 1
      if (this.inUse.has(key)) continue
      this.inUse.add(key)
      this.next[address] = offset
      return port
    }
    this.exhausted.add(pair)
    return 0
  }

  release(address: number, destination: number, port: number): void {
    const pair = address * this.destinations + destination
    this.inUse.delete(pair * PORTS + (port - FIRST_EPHEMERAL_PORT))
    if (this.exhausted.size > 0) this.exhausted.delete(pair)
  }
}
