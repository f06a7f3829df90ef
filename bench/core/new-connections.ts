/**
 * New connections at a given table size: the definition, and the SYN through the whole slow path.
 *
 * Service lookup, affinity, endpoint, masquerade port search, insert under both tuples. The server then refuses each with a
 * RST (not timed), which deletes the entry, so that the table stays at its size.
 */
import { FLAG_REPLY, TCP_ACK, TCP_RST, TCP_SYN } from '../../native-free-core/index.ts'
import type { Driver } from '../driver.ts'
import type { RoundSample, Subject } from '../subject.ts'
import { populate, type Workload } from '../workload.ts'

const CONNECTIONS_A_ROUND = 1 << 17

/** Connections opened at once: at most a thirty-second of the table, so that it stays at its size. */
export function spareSlots(live: number): number {
  return Math.max(32, Math.min(8192, live >> 5))
}

export class NewConnections implements Subject {
  private readonly driver: Driver
  private readonly workload: Workload
  private readonly spare: number

  constructor(driver: Driver, workload: Workload, spare: number) {
    this.driver = driver
    this.workload = workload
    this.spare = spare
    populate(workload, driver)
  }

  round(): RoundSample {
    const { driver, spare, workload } = this
    const first = workload.connections
    let nanos = 0
    let operations = 0
    while (operations < CONNECTIONS_A_ROUND) {
      const openings = workload.define(first, spare, driver.connections)
      workload.send(driver.packets, first, spare, TCP_SYN)
      nanos += driver.run(openings)
      operations += openings.packets
      const refusals = workload.define(first, 0, driver.connections)
      workload.send(driver.packets, first, spare, FLAG_REPLY | TCP_RST | TCP_ACK)
      driver.run(refusals)
    }
    return { operations, nanos }
  }

  digest(): string {
    return this.driver.digest()
  }
}
