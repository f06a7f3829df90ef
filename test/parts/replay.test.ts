/** A replay's lanes on several machines: the bytes of one, or the coupling that forbids it. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { type DrawCounts, replayDraws } from '../../dist/src/replay/draws.js'
import { drawsOfParts, drawsOfShard, drawsPart } from '../../dist/src/replay/draws-part.js'
import { mergeReplay, type PartOptions, replayPart } from '../../dist/src/replay/part.js'
import { planReplay } from '../../dist/src/replay/plan.js'
import { mergeDraws } from '../../dist/src/report/draws.js'
import { openTrace } from '../../dist/src/trace/read.js'
import { gather, partText } from '../../src/parts/part.ts'
import { Settlement } from '../../src/replay/quotas.ts'
import { nodeWithoutRoom, RoomRecord } from '../../src/replay/room.ts'
import { bundledTrace, options, replayed, resultText, sharedPool, temporaryFolder } from '../replay/support.ts'

const folder = temporaryFolder()
const traces = new Map<string, string>()
beforeAll(async () => {
  for (const name of ['storefront', 'hot-pod', 'time-wait', 'affinity-1800', 'ingress-hosts']) {
    traces.set(name, await bundledTrace(folder, name))
  }
})

function settings(name: string, change: Partial<PartOptions> = {}): PartOptions {
  const { workers: _, ...others } = options(traces.get(name)!, change)
  return others
}

async function parts(count: number, given: PartOptions): Promise<string[]> {
  const paths: string[] = []
  for (let index = 1; index <= count; index++) {
    const { head, body } = await replayPart(given, { index, count }, () => false)
    const path = join(folder, `${index}-of-${count}.json`)
    writeFileSync(path, partText(head, body))
    paths.push(path)
  }
  return paths
}

function merged(paths: readonly string[]): string {
  return resultText(mergeReplay(gather(paths)))
}

function model(text: string): string {
  const path = join(folder, `model-${text.replace(/\W/g, '')}.yaml`)
  writeFileSync(path, text)
  return path
}

describe('in parts as on one machine', () => {
  test.each<[string, number, Partial<PartOptions>]>([
    ['storefront', 1, {}],
    ['storefront', 2, {}],
    ['storefront', 4, { proxyModes: ['iptables', 'ipvs'], seed: 3 }],
    ['hot-pod', 4, { policies: ['as-is'], series: false }],
  ])('%s in %i', async (name, count, change) => {
    const given = settings(name, change)
    const { given: _, ...whole } = await replayed(given.trace, given)
    expect(merged(await parts(count, given))).toBe(resultText(whole))
  })

  test('where nodes could be full, and all parts together show that they never were', async () => {
    const given = settings('time-wait', {
      policies: ['cluster'],
      model: model('conntrackMax: 200000\ntcpTimeWaitSeconds: 1\n'),
    })
    const trace = openTrace(given.trace)
    expect(planReplay({ ...given, workers: 2 }, trace).settles).toBe(true)
    trace.close()
    const { given: _, ...whole } = await replayed(given.trace, given)
    expect(merged(await parts(2, given))).toBe(resultText(whole))
  })

  test('engine says how many there were, and the slowest machine decides', async () => {
    const { engine } = mergeReplay(gather(await parts(2, settings('hot-pod'))))
    expect(engine).toMatchObject({ workers: 2, shards: 16, nativeAddons: false, node: process.version })
    expect(engine.wallSeconds).toBeGreaterThan(0)
    expect(engine.processingNanosPerPacket.p50).toBeGreaterThan(0)
  })

  test('a part that is there is not made again', async () => {
    const { body } = await replayPart(settings('storefront'), { index: 1, count: 2 }, () => true)
    expect(body).toBeNull()
  })
})

describe('draws, which nothing couples', () => {
  test.each<[string, DrawCounts, number]>([
    ['hot-pod', { seeds: 3, placements: 1 }, 2],
    ['hot-pod', { seeds: 2, placements: 2 }, 3],
    ['affinity-1800', { seeds: 1, placements: 2 }, 4],
  ])('of %s, %o in %i parts', async (name, counts, count) => {
    const given = { ...settings(name, { policies: ['local', 'cluster'] }), workers: 1 }
    const whole = mergeDraws(await replayDraws(given, counts, { pool: sharedPool(1) }))
    const paths: string[] = []
    for (let index = 1; index <= count; index++) {
      const { head, body } = await drawsPart(given, counts, { index, count }, () => false, { pool: sharedPool(1) })
      const path = join(folder, `draws-${index}-of-${count}.json`)
      writeFileSync(path, partText(head, body))
      paths.push(path)
    }
    expect(resultText(mergeDraws(drawsOfParts(gather(paths))))).toBe(resultText(whole))
  })

  test('whole seeds where there are enough, so that each trace is made once', () => {
    const all = (counts: DrawCounts, count: number): number[][] =>
      Array.from({ length: count }, (_, i) => drawsOfShard(counts, { index: i + 1, count }))
    expect(all({ seeds: 4, placements: 2 }, 2)).toEqual([
      [0, 1, 4, 5],
      [2, 3, 6, 7],
    ])
    expect(all({ seeds: 1, placements: 3 }, 2)).toEqual([[0, 2], [1]])
    expect(all({ seeds: 2, placements: 1 }, 3)).toEqual([[0], [1], []])
  })
})

describe('is refused, with the coupling:', () => {
  test.each<[string, string, number, Partial<PartOptions>, string]>([
    [
      'a full table',
      'time-wait',
      2,
      { policies: ['cluster'] },
      'the conntrack table of node node-1 may have come near',
    ],
    ['lanes of clients', 'affinity-1800', 2, {}, 'its lanes hold clients'],
    ['lists of iptables', 'affinity-1800', 2, { proxyModes: ['iptables'] }, 'one shard must do all: an affinity list'],
    ['pods as queues', 'ingress-hosts', 2, {}, 'pods are queues of requests here'],
    ['more shards than a core has lanes', 'storefront', 8, {}, 'has 4 cores, whose queues 8 shards do not divide'],
    ['a number that cores do not divide by', 'storefront', 3, {}, 'has 4 cores, whose queues 3 shards do not divide'],
    ['more shards than lanes', 'storefront', 32, {}, 'it has 16 lanes that can be run apart, and 32 shards'],
    ['fewer slices', 'storefront', 4, { shards: 2 }, 'it has 2 lanes that can be run apart, and 4 shards'],
  ])('%s', async (_what, name, count, change, message) => {
    const made = async (): Promise<string> => merged(await parts(count, settings(name, change)))
    await expect(made()).rejects.toMatchObject({ code: 'E_COUPLED', message: expect.stringContaining(message) })
  })

  test('ports that clients keep', async () => {
    const given = settings('storefront', { model: model('snatRandomFully: 0\n') })
    await expect(parts(2, given)).rejects.toMatchObject({ message: expect.stringContaining("keeps a client's port") })
  })

  test('a trace or a model that changed since', async () => {
    const path = model('establishedNanos: 2000\n')
    const paths = await parts(2, settings('hot-pod', { model: path }))
    writeFileSync(path, 'establishedNanos: 2001\n')
    expect(() => merged(paths)).toThrow('the model that the parts were made of changed since')
  })
})

test('the room that parts prove is the room that workers who meet see', () => {
  let state = 11
  const next = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return (state >>> 8) % below
  }
  let refused = 0
  for (let round = 0; round < 400; round++) {
    const [workers, shards, nodes, windows] = [1 + next(4), 4, 1 + next(3), 1 + next(6)]
    const maxima = Int32Array.from({ length: nodes }, () => 200 + next(1200))
    const own = Array.from({ length: workers }, (_, worker) =>
      Array.from({ length: shards }, (_, shard) => shard).filter((shard) => shard % workers === worker),
    )
    const records = own.map(() => new RoomRecord(windows, nodes))
    // One of them publishes for all: counts are sums whoever writes them.
    const meeting = new Settlement(new SharedArrayBuffer(Settlement.bytes(shards, nodes)), 1, shards, nodes)
    const quotas = new Int32Array(shards * nodes)
    meeting.begin(quotas, maxima)
    const most = own.map(() => 0)
    const opened = own.map(() => 0)
    let hadRoom = true
    for (let window = 0; window < windows; window++) {
      own.forEach((_, worker) => {
        most[worker]! += next(80)
        records[worker]!.begin(window, most[worker]!)
      })
      const all = most.reduce((sum, count) => sum + count, 0)
      hadRoom &&= meeting.hasRoomFor(all - meeting.opened, maxima)
      const counts = Int32Array.from({ length: shards * nodes }, () => next(60))
      own.forEach((list, worker) => {
        opened[worker] = Math.min(most[worker]!, opened[worker]! + next(80))
        records[worker]!.hold(counts, list, opened[worker]!)
      })
      meeting.publish(
        counts,
        Array.from({ length: shards }, (_, shard) => shard),
        opened.reduce((sum, count) => sum + count, 0),
      )
      meeting.settle(quotas, maxima)
    }
    const proved =
      nodeWithoutRoom(
        records.map(({ needs }) => needs),
        maxima,
      ) < 0
    expect(proved).toBe(hadRoom)
    if (!hadRoom) refused++
  }
  expect(refused).toBeGreaterThan(40)
  expect(refused).toBeLessThan(360)
})

test('windows taken together prove no room that one of them had not', () => {
  const windows = 5000
  const record = new RoomRecord(windows, 1)
  for (let window = 0; window < windows; window++) {
    record.begin(window, 0)
    record.hold(Int32Array.of(window === 3210 ? 51 : 1), [0], 0)
  }
  expect(record.needs.length).toBe(1024)
  expect(nodeWithoutRoom([record.needs], Int32Array.of(100))).toBe(0)
  expect(nodeWithoutRoom([record.needs], Int32Array.of(102))).toBe(-1)
})
