/** Builds what a spec names. Modules are loaded on demand, so that a peer's process holds no core instance. */
import { roundPackets } from './core/packet-step.ts'
import type { Driver } from './driver.ts'
import { SIZES, type Spec } from './rows.ts'
import type { Subject } from './subject.ts'
import { Workload } from './workload.ts'
import { createWorld, type World } from './world.ts'

/** @throws Error when there is no such row or it has no such variant: a mistake in rows.ts */
export async function buildSubject(spec: Spec): Promise<Subject> {
  const live = SIZES[spec.size]
  if (spec.row === 'new-connections') {
    const { NewConnections, spareSlots } = await import('./core/new-connections.ts')
    const world = createWorld(spec.nodes)
    const workload = new Workload(world, live, spec.skew)
    const spare = spareSlots(live)
    return new NewConnections(await driverOf(spec, world, workload, live, spare), workload, spare)
  }
  if (spec.row.startsWith('packet-step')) {
    const world = createWorld(spec.nodes)
    const workload = new Workload(world, live, spec.skew)
    if (spec.variant === 'floor') {
      const { MemoryFloor } = await import('./peers/memory-floor.ts')
      return new MemoryFloor(workload, roundPackets(live))
    }
    const { PacketStep } = await import('./core/packet-step.ts')
    return new PacketStep(await driverOf(spec, world, workload, live, 0), workload, roundPackets(live))
  }
  const { Calls } = await import('./calls.ts')
  const { operations } = await import('./core/operations.ts')
  const make = operations[spec.row]?.[spec.variant === 'core' ? 'core' : 'map']
  if (make === undefined || spec.variant === 'floor') throw new Error(`no ${spec.variant} of row ${spec.row}`)
  return new Calls(make(live))
}

async function driverOf(spec: Spec, world: World, workload: Workload, live: number, spare: number): Promise<Driver> {
  if (spec.variant === 'core') {
    const { CoreDriver } = await import('./core/core-driver.ts')
    return new CoreDriver(world, workload, live, { spare, queued: spec.row.endsWith('-queued') })
  }
  const { MapDriver } = await import('./peers/map-driver.ts')
  return new MapDriver(world, workload, spare)
}
