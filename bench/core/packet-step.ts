/**
 * The full packet step: what `replay` does with every packet, and nothing less.
 *
 * Key check on the entry, state machine, timer, translation, endpoint and byte counters, path latency histogram; openings
 * and closings through the slow path; a sweep of expired entries every two packets an entry. A round is that long.
 */
import type { Driver } from '../driver.ts'
import type { RoundSample, Subject } from '../subject.ts'
import { populate, type Workload } from '../workload.ts'

/** Packets of a round: at least half a million, and two an entry, so that each round has its sweep. */
export function roundPackets(live: number): number {
  return Math.max(1 << 19, live * 2)
}

export class PacketStep implements Subject {
  private readonly driver: Driver
  private readonly workload: Workload
  private readonly packets: number

  /** @param packets  of a round */
  constructor(driver: Driver, workload: Workload, packets: number) {
    this.driver = driver
    this.workload = workload
    this.packets = packets
    populate(workload, driver)
  }

  round(): RoundSample {
    const { driver, workload } = this
    let operations = 0
    let nanos = 0
    while (operations < this.packets) {
      const window = workload.next(driver.packets, driver.connections)
      nanos += driver.run(window)
      operations += window.packets
    }
    return { operations, nanos }
  }

  digest(): string {
    return this.driver.digest()
  }
}
