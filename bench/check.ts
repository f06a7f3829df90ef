/**
 * Correctness of everything that is timed: no figure of a wrong subject is ever printed.
 *
 * Packet rows: the core's counters against the Map's, after the same packets, in processes of their own. Small rows: both
 * of a pair return the same numbers, call by call. Table: its own invariants. Replay: any number of workers, one result.
 */
import { CoreDriver } from './core/core-driver.ts'
import { operations } from './core/operations.ts'
import { PacketStep } from './core/packet-step.ts'
import { measure } from './measure.ts'
import { MapDriver } from './peers/map-driver.ts'
import { measureReplay, REPLAY_TRACES, workerCounts } from './replay.ts'
import { ROWS, SIZES, type Spec } from './rows.ts'
import { Workload } from './workload.ts'
import { createWorld } from './world.ts'

const CALLS = 5000
const CHECK_PACKETS = 200_000
const REPLAY_PACKETS = 60_000

interface Check {
  readonly name: string
  readonly run: () => Promise<void> | void
}

/** Runs every check whose name matches. @returns how many passed and failed; each is a line on `print` */
export async function runChecks(
  pattern: RegExp,
  print: (flow: string) => void,
): Promise<{ passed: number; failed: number }> {
  let passed = 0
  let failed = 0
  for (const { name, run } of checks()) {
    if (!pattern.test(name)) continue
    try {
      await run()
      passed++
      print(`ok      ${name}`)
    } catch (error) {
      failed++
      print(`FAILED  ${name}: ${(error as Error).message.trimEnd().replaceAll('\n', '\n        ')}`)
    }
  }
  return { passed, failed }
}

function checks(): Check[] {
  return [...workloadChecks(), ...operationChecks(), ...processChecks(), ...coreChecks(), ...replayChecks()]
}

function expectEqual<T>(what: string, found: T, wanted: T): void {
  if (found !== wanted) throw new Error(`${what} is ${found}, must be ${wanted}`)
}

/** The traffic is what the rows say it is. */
function workloadChecks(): Check[] {
  return (['uniform', 'zipf'] as const).map((skew) => ({
    name: `workload ${skew}`,
    run: () => {
      const world = createWorld()
      const workload = new Workload(world, SIZES['64k'], skew)
      const driver = new MapDriver(world, workload)
      const twin = new Workload(world, SIZES['64k'], skew)
      const twinDriver = new MapDriver(world, twin)
      while (workload.populate(driver.packets, driver.connections) !== null);
      while (twin.populate(twinDriver.packets, twinDriver.connections) !== null);
      let packets = 0
      let replies = 0
      let openings = 0
      let lastTick = 0
      const seen = new Map<number, number>()
      while (packets < CHECK_PACKETS) {
        const window = workload.next(driver.packets, driver.connections)
        twin.next(twinDriver.packets, twinDriver.connections)
        for (let i = 0; i < window.packets; i++) {
          const tick = window.baseTick + driver.packets.time[i]
          if (tick < lastTick) throw new Error(`time goes back from ${lastTick} to ${tick}`)
          lastTick = tick
          if (driver.packets.flags[i] >= 128) replies++
          if ((driver.packets.flags[i] & 0xbf) === 2) openings++
          seen.set(driver.packets.slot[i], (seen.get(driver.packets.slot[i]) ?? 0) + 1)
        }
        expectEqual('the twin', twinDriver.packets.slot.join(), driver.packets.slot.join())
        packets += window.packets
      }
      const within = (what: string, share: number, low: number, high: number): void => {
        if (share < low || share > high)
          throw new Error(`${what} are ${share.toFixed(4)} of the packets, must be ${low} to ${high}`)
      }
      within('replies', replies / packets, 0.48, 0.52)
      within('openings', openings / packets, 0.004, 0.01)
      const busiest = Math.max(...seen.values()) / packets
      if (skew === 'zipf') within('the busiest connection’s', busiest, 0.05, 0.3)
      else within('the busiest connection’s', busiest, 0, 0.001)
    },
  }))
}

/** Core and Map of each small row, call by call. */
function operationChecks(): Check[] {
  return Object.entries(operations).map(([name, { core, map }]) => ({
    name: `${name} core = map`,
    run: () => {
      const live = SIZES['1k']
      const one = core(live)
      const other = map(live)
      const distinct = new Set<number>()
      for (let i = 0; i < CALLS; i++) {
        const found = one.call()
        expectEqual(`call ${i}`, found, other.call())
        distinct.add(found)
      }
      const constant = ['lookup-miss', 'insert-remove', 'expiry-sweep'].includes(name)
      expectEqual('whether the answers vary', distinct.size > 1, !constant)
    },
  }))
}

/** The rows themselves, one round, in their own processes: digests are compared by `measure`. */
function processChecks(): Check[] {
  const spec = (row: string, variant: Spec['variant'], size: Spec['size'], skew: Spec['skew']): Spec => ({
    row,
    variant,
    size,
    skew,
    nodes: ROWS.find(({ name }) => name === row)?.nodes ?? 1,
  })
  return [
    {
      name: 'packet-step 1k uniform, core = map',
      specs: ['core', 'map', 'floor'] as const,
      row: 'packet-step',
      size: '1k' as const,
      skew: 'uniform' as const,
    },
    {
      name: 'packet-step 64k zipf, core = map',
      specs: ['core', 'map'] as const,
      row: 'packet-step',
      size: '64k' as const,
      skew: 'zipf' as const,
    },
    {
      name: 'new-connections 64k, core = map',
      specs: ['core', 'map'] as const,
      row: 'new-connections',
      size: '64k' as const,
      skew: 'uniform' as const,
    },
    {
      name: 'packet-step-4-nodes 1k runs',
      specs: ['core', 'floor'] as const,
      row: 'packet-step-4-nodes',
      size: '1k' as const,
      skew: 'uniform' as const,
    },
  ].map(({ name, row, size, skew, specs }) => ({
    name,
    run: async () => {
      const measured = await measure(
        specs.map((variant) => spec(row, variant, size, skew)),
        1,
      )
      for (const { min } of measured) if (!(min > 0)) throw new Error(`a round took ${min} ns an operation`)
    },
  }))
}

/** What only the core can be asked: invariants after traffic, and that nothing was lost on the way. */
function coreChecks(): Check[] {
  const cases = [1, 4].flatMap((nodes) => [false, true].map((queued) => ({ nodes, queued })))
  return cases.map(({ nodes, queued }) => ({
    name: `core invariants, nodes ${nodes}${queued ? ', queued' : ''}`,
    run: () => {
      const live = SIZES['64k']
      const world = createWorld(nodes)
      const workload = new Workload(world, live, 'uniform')
      const driver = new CoreDriver(world, workload, live, { queued })
      const step = new PacketStep(driver, workload, CHECK_PACKETS)
      step.round()
      driver.selfCheck()
      const digest = driver.digest()
      for (const part of ['failed 0,', 'unsent 0,', 'losses 0,']) {
        if (!digest.includes(part)) throw new Error(`expected ${part} in: ${digest}`)
      }
    },
  }))
}

function replayChecks(): Check[] {
  return REPLAY_TRACES.map((trace) => ({
    name: `replay ${trace.name}, any number of workers`,
    run: async () => {
      const workers = [...new Set([...workerCounts(), 3])]
      await measureReplay({ packets: REPLAY_PACKETS, rounds: 1, traces: [trace], policies: ['cluster,local'], workers })
    },
  }))
}
