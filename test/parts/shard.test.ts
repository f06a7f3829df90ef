/** Which shard a process is: as typed, or as a scheduler tells it. */
import { expect, test } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { deal, dealtTo } from '../../src/parts/deal.ts'
import { type Environment, shardOf } from '../../src/parts/shard.ts'

const JOB = { JOB_COMPLETION_INDEX: '2' }
const ARRAY = {
  SLURM_ARRAY_TASK_ID: '7',
  SLURM_ARRAY_TASK_COUNT: '4',
  SLURM_ARRAY_TASK_MIN: '5',
  SLURM_ARRAY_TASK_MAX: '8',
}

test.each<[string, string | undefined, Environment, string]>([
  ['the first of one', '1/1', {}, '1/1'],
  ['shards count from 1', '3/16', {}, '3/16'],
  ['and to the last', '16/16', {}, '16/16'],
  ['an Indexed Job counts from 0', 'auto/4', JOB, '3/4'],
  ['its first pod', 'auto/4', { JOB_COMPLETION_INDEX: '0' }, '1/4'],
  ['an array that counts from 5', 'auto', ARRAY, '3/4'],
  ['an array that counts from 0', 'auto', { SLURM_ARRAY_TASK_ID: '0', SLURM_ARRAY_TASK_COUNT: '4' }, '1/4'],
  ['an array, and the count again', 'auto/4', ARRAY, '3/4'],
  ['the environment in place of the flag', undefined, { DPEMU_SHARD: '2/3' }, '2/3'],
  ['the environment, with a scheduler', undefined, { DPEMU_SHARD: 'auto/8', ...JOB }, '3/8'],
  ['the flag wins', '1/2', { DPEMU_SHARD: '2/3', ...JOB, ...ARRAY }, '1/2'],
])('%s', (_what, flag, env, expected) => {
  const shard = shardOf(flag, env)
  expect(`${shard?.index}/${shard?.count}`).toBe(expected)
})

test.each<[string, Environment]>([
  ['nothing', {}],
  ["a Job's index alone: many Jobs have one that is about something else", JOB],
  ["an array's task alone", ARRAY],
  ['an empty variable', { DPEMU_SHARD: '' }],
])('a run is whole with %s', (_what, env) => {
  expect(shardOf(undefined, env)).toBeNull()
})

test.each<[string, Environment, RegExp]>([
  ['0/4', {}, /shards count from 1 to 4/],
  ['5/4', {}, /shards count from 1 to 4/],
  ['1/0', {}, /1 to 10000 shards/],
  ['1/99999', {}, /1 to 10000 shards/],
  ['3', {}, /--shard is I\/N, such as 3\/16/],
  ['a/b', {}, /--shard is I\/N/],
  ['-1/4', {}, /--shard is I\/N/],
  ['', {}, /--shard is I\/N/],
  ['auto', {}, /neither JOB_COMPLETION_INDEX nor SLURM_ARRAY_TASK_ID is set/],
  ['auto', JOB, /JOB_COMPLETION_INDEX is 2, and nothing tells of how many/],
  ['auto/2', JOB, /JOB_COMPLETION_INDEX is 2, beyond 0 to 1/],
  ['auto/4', { JOB_COMPLETION_INDEX: 'x' }, /JOB_COMPLETION_INDEX is 'x'/],
  ['auto', { SLURM_ARRAY_TASK_ID: '1' }, /SLURM_ARRAY_TASK_COUNT is not set/],
  ['auto/5', ARRAY, /the array has 4 tasks/],
  ['auto', { ...ARRAY, SLURM_ARRAY_TASK_MAX: '14' }, /task 7 of an array of 4 from 5 to 14/],
  ['auto', { SLURM_ARRAY_TASK_ID: '4', SLURM_ARRAY_TASK_COUNT: '4' }, /task 4 of an array of 4 from 0 to 3/],
])('--shard %s is refused (%j)', (flag, env, message) => {
  expect(() => shardOf(flag, env)).toThrow(message)
  expect(() => shardOf(flag, env)).toThrow(UserError)
})

test('what costs most is dealt out first, each to the shard with least', () => {
  expect(deal([1, 9, 1, 5, 4], 2)).toEqual([1, 1, 2, 2, 2])
  expect(dealtTo([1, 9, 1, 5, 4], { index: 2, count: 2 })).toEqual([2, 3, 4])
})

test('equal items are dealt out in turn, and more shards than items leave some without', () => {
  expect(deal([1, 1, 1, 1, 1], 2)).toEqual([1, 2, 1, 2, 1])
  expect(deal([0, 0, 0], 2)).toEqual([1, 2, 1])
  expect(deal([3], 4)).toEqual([1])
  expect(dealtTo([3], { index: 4, count: 4 })).toEqual([])
})

test('every item has one shard, and none has more than 4/3 of what is fair and the dearest item', () => {
  let state = 7
  const next = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return (state >>> 8) % below
  }
  for (let round = 0; round < 300; round++) {
    const count = 1 + next(9)
    const costs = Array.from({ length: next(40) }, () => next(1000))
    const shards = Array.from({ length: count }, (_, i) => dealtTo(costs, { index: i + 1, count }))
    expect(shards.flat().sort((a, b) => a - b)).toEqual(costs.map((_, item) => item))
    const loads = shards.map((items) => items.reduce((sum, item) => sum + costs[item]!, 0))
    const fair = costs.reduce((sum, cost) => sum + cost, 0) / count
    expect(Math.max(...loads)).toBeLessThanOrEqual(fair + Math.max(0, ...costs))
  }
})
