/** Drives the Map dataplane: the same windows, in the same order, as the core gets. */
import {
  type ConnectionColumns,
  createConnectionColumns,
  createPacketColumns,
  type PacketColumns,
} from '../../native-free-core/index.ts'
import { resultDigest } from '../digest.ts'
import type { Driver } from '../driver.ts'
import { cpuNanos } from '../subject.ts'
import type { Window, Workload } from '../workload.ts'
import { RUN_SEED, type World } from '../world.ts'
import { MapDataplane } from './map-dataplane.ts'

export class MapDriver implements Driver {
  readonly packets: PacketColumns
  readonly connections: ConnectionColumns
  private readonly map: MapDataplane

  constructor(world: World, workload: Workload, spare = 0) {
    this.map = new MapDataplane(world, RUN_SEED)
    this.packets = createPacketColumns(Math.max(workload.windowPackets, spare))
    this.connections = createConnectionColumns(Math.max(workload.windowPackets, spare))
  }

  run(window: Window): number {
    const { connections, map, packets } = this
    const began = cpuNanos()
    for (let i = 0; i < window.definitions; i++) {
      map.define(connections.slot[i], connections.client[i], connections.destination[i], connections.sourcePort[i])
    }
    for (let i = 0; i < window.packets; i++) {
      map.process(packets.slot[i], packets.flags[i], packets.length[i], window.baseTick + packets.time[i])
    }
    return cpuNanos() - began
  }

  digest(): string {
    return `${resultDigest(this.map.layout, this.map.result)}, entries ${this.map.size}`
  }
}
