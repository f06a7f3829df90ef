/** Which worker serves which queue: each queue one, and where workers keep apart the one whose lanes fill it. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { queueOwners } from '../../src/replay/queue-owners.ts'
import { workerOfLane } from '../../src/replay/window.ts'
import { LANES } from '../../src/trace/format.ts'

describe('workers keep apart', () => {
  test.each<[string, { cores: number[]; pods?: number; shards?: number; workers: number; flows?: boolean }, boolean]>([
    ['one worker, whatever there is', { cores: [3, 1], pods: 5, shards: 1, workers: 1, flows: false }, true],
    ['two on nodes of four cores', { cores: [4, 4], workers: 2 }, true],
    ['four on nodes of four and eight', { cores: [4, 8], workers: 4 }, true],
    ['not four on a node of six: two cores go together', { cores: [4, 6], workers: 4 }, false],
    ['but two do', { cores: [4, 6], workers: 2 }, true],
    ['not where a node has an odd number of cores', { cores: [4, 3], workers: 2 }, false],
    ['not three', { cores: [4, 4], workers: 3 }, false],
    ['not where pods are queues', { cores: [4], pods: 1, workers: 2 }, false],
    ['not where lanes hold clients', { cores: [4], workers: 2, flows: false }, false],
    ['not more of them than shards share out evenly', { cores: [16], shards: 4, workers: 8 }, false],
  ])('%s', (_, { cores, pods = 0, shards = LANES, workers, flows = true }, expected) => {
    expect(queueOwners([Int32Array.from(cores)], pods, shards, workers, flows).apart).toBe(expected)
  })
})

test('not where a node has another number of cores later on, unless all of them go', () => {
  const apart = (...counts: number[]): boolean =>
    queueOwners(
      counts.map((count) => Int32Array.of(count)),
      0,
      LANES,
      2,
      true,
    ).apart
  expect([apart(4, 3), apart(3, 4), apart(4, 8)]).toEqual([false, false, true])
})

test('every queue has one worker; apart, it is that of every lane whose flows the core takes', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 0, max: 3 }),
      fc.constantFrom(1, 2, 4, 8, 16),
      fc.integer({ min: 1, max: 16 }),
      fc.boolean(),
      (cores, pods, shards, asked, flows) => {
        const workers = Math.min(asked, shards)
        const owners = queueOwners([Int32Array.from(cores)], pods, shards, workers, flows)
        const queues = [...cores, ...Array.from({ length: pods }, () => 1)]
        queues.forEach((count, place) => {
          for (let core = 0; core < count; core++) {
            const serving = Array.from({ length: workers }, (_, worker) => worker).filter((worker) =>
              owners.serves(worker, place, core),
            )
            expect(serving).toHaveLength(1)
            if (!owners.apart) continue
            // FlowSetup.core: the low bits of a core are those of the lane, as far as both have a power of two in common.
            let common = 1
            while (count % (common * 2) === 0 && LANES % (common * 2) === 0) common *= 2
            for (let lane = 0; lane < LANES; lane++) {
              if (workers > 1 && lane % common === core % common)
                expect(workerOfLane(lane, shards, workers)).toBe(serving[0])
            }
          }
        })
      },
    ),
    { seed: 11, numRuns: 300 },
  )
})
