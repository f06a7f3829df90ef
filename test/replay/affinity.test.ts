/**
 * ClientIP affinity over time, against a model that knows nothing of the core: a map from node and client to the pod
 * last given and when.
 *
 * Which node a connection enters at and which pod it is given are read from the core after each opening; when it opened
 * and who opened it are the trace's own rows.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { FLOW_CLIENT, FLOW_ENDPOINT, FLOW_NODE_PROTOCOL } from '../../dist/native-free-core/flow-record.js'
import { NODE_AFFINITY_HITS, NODE_WORDS } from '../../dist/native-free-core/result.js'
import { bundledTrace, drive, options, ROOT, replayed, replayedOnce, runOf, temporaryFolder } from './support.ts'

const folder = temporaryFolder()
const TICKS_PER_MS = 10_000
const HALF_HOUR_MS = 1_800_000
const THREE_HOURS_MS = 10_800_000

interface ConnectionSetup {
  readonly client: string
  readonly ms: number
  readonly node: string
  readonly pod: number
  /** What the core counted it as. */
  readonly hit: boolean
}

interface Visit extends ConnectionSetup {
  /** Milliseconds since this client last opened a connection at this node; null for the first. */
  readonly gapMs: number | null
  /** The pod that it was given then. */
  readonly before: number | null
}

let trace: string
let manifests: string

beforeAll(async () => {
  trace = await bundledTrace(folder, 'affinity-1800')
  // The scenario's own manifests but for the one line.
  const text = ['cluster.yaml', 'web.yaml']
    .map((name) => readFileSync(join(ROOT, 'traces', 'affinity-1800', 'manifests', name), 'utf8'))
    .join('---\n')
  expect(text).toContain('timeoutSeconds: 1800')
  manifests = join(folder, 'three-hours.yaml')
  writeFileSync(manifests, text.replace('timeoutSeconds: 1800', 'timeoutSeconds: 10800'))
})

function openings(
  policy: 'cluster' | 'local',
  seed: number | null = null,
  files: readonly string[] = [],
): ConnectionSetup[] {
  const list: ConnectionSetup[] = []
  const hitsOf: number[] = []
  drive(options(trace, { policies: [policy], seed, manifests: files }), ({ tick, flow, opening }, core, plan) => {
    if (!opening) return
    const node = core.flows[flow + FLOW_NODE_PROTOCOL] >> 8
    const hits = core.result[core.layout.nodes + node * NODE_WORDS + NODE_AFFINITY_HITS]
    list.push({
      client: plan.registry.addressText(core.flows[flow + FLOW_CLIENT]),
      ms: Math.floor(tick / TICKS_PER_MS),
      node: plan.registry.nodes[node],
      pod: core.flows[flow + FLOW_ENDPOINT],
      hit: hits > (hitsOf[node] ?? 0),
    })
    hitsOf[node] = hits
  })
  return list
}

/** Each opening with the one before it by the same client at the same node. */
function visits(list: readonly ConnectionSetup[]): Visit[] {
  const last = new Map<string, ConnectionSetup>()
  return list.map((opening) => {
    const key = `${opening.node} ${opening.client}`
    const before = last.get(key)
    last.set(key, opening)
    return {
      ...opening,
      gapMs: before === undefined ? null : opening.ms - before.ms,
      before: before?.pod ?? null,
    }
  })
}

/** Hits and misses by node that a timeout gives: what the model predicts without knowing any pod. */
function predicted(list: readonly Visit[], timeoutMs: number): Record<string, { hits: number; misses: number }> {
  const nodes: Record<string, { hits: number; misses: number }> = {}
  for (const { node, gapMs } of list) {
    nodes[node] ??= { hits: 0, misses: 0 }
    if (gapMs !== null && gapMs <= timeoutMs) nodes[node].hits++
    else nodes[node].misses++
  }
  return nodes
}

describe.each(['cluster', 'local'] as const)(
  'clients that come back, half an hour of affinity, policy %s',
  (policy) => {
    let all: Visit[]
    beforeAll(() => {
      all = visits(openings(policy))
    })

    it('the trace asks both questions often enough', () => {
      expect(all.length).toBe(2009)
      expect(all.filter(({ gapMs }) => gapMs !== null && gapMs <= HALF_HOUR_MS).length).toBeGreaterThan(300)
      expect(all.filter(({ gapMs }) => gapMs !== null && gapMs > HALF_HOUR_MS).length).toBeGreaterThan(100)
    })

    it('within 1800 s of its last new connection at the node: the same pod, always', () => {
      const early = all.filter(({ gapMs }) => gapMs !== null && gapMs <= HALF_HOUR_MS)
      expect(early.filter(({ hit, pod, before }) => !hit || pod !== before)).toEqual([])
    })

    it('after more than 1800 s, and at the first visit: chosen afresh', () => {
      const late = all.filter(({ gapMs }) => gapMs === null || gapMs > HALF_HOUR_MS)
      expect(late.filter(({ hit }) => hit)).toEqual([])
    })

    it('packets of a connection of an hour do not keep its entry alive', () => {
      const patient = all.filter(({ client }) => client.startsWith('192.0.2.'))
      const again = patient.filter(({ gapMs }) => gapMs !== null)
      expect(patient.length).toBe(60)
      // All the while a packet went by every half minute, the last some minutes ago.
      expect(again.length).toBeGreaterThan(0)
      expect(again.filter(({ hit }) => hit)).toEqual([])
    })

    it('the report counts what the model counts', async () => {
      const run = await replayedOnce(trace, { policies: [policy] })
      const counted = run.nodes.map(({ node, affinityHits, affinityMisses }) => [
        node,
        { hits: affinityHits, misses: affinityMisses },
      ])
      expect(Object.fromEntries(counted)).toEqual(predicted(all, HALF_HOUR_MS))
      const given = new Map<number, number>()
      for (const { pod } of all) given.set(pod, (given.get(pod) ?? 0) + 1)
      expect(run.endpoints.map(({ connections }) => connections).sort()).toEqual([...given.values()].sort())
    })
  },
)

describe('chosen afresh means: as if for the first time', () => {
  /** Of the clients that came too late at a node that chooses among `pods`, how many were given another pod. */
  function changed(policy: 'cluster' | 'local', nodes: readonly string[]): { late: number; moved: number } {
    let late = 0
    let moved = 0
    for (let seed = 1; seed <= 5; seed++) {
      for (const { node, gapMs, pod, before } of visits(openings(policy, seed))) {
        if (gapMs === null || gapMs <= HALF_HOUR_MS || !nodes.includes(node)) continue
        late++
        if (pod !== before) moved++
      }
    }
    return { late, moved }
  }

  it.each([
    ['cluster', ['node-1', 'node-2', 'node-3'], 4],
    ['local', ['node-1'], 2],
  ] as const)(
    'policy %s at %j: among %i pods a late client keeps its own one time in so many',
    (policy, nodes, pods) => {
      const { late, moved } = changed(policy, nodes)
      const expected = 1 - 1 / pods
      expect(late).toBeGreaterThan(200)
      // Four standard deviations of a binomial; the seeds are fixed, so this holds or does not, for good.
      const allowed = 4 * Math.sqrt((expected * (1 - expected)) / late)
      expect(Math.abs(moved / late - expected)).toBeLessThan(allowed)
    },
  )
})

describe('the API’s default of 10800 s instead, same trace', () => {
  it.each(['cluster', 'local'] as const)(
    'policy %s: hits and misses are what the gaps say, node by node',
    async (policy) => {
      // Where connections come in does not depend on affinity, so the gaps are those of the other timeout's run.
      const gaps = visits(openings(policy))
      const expected = predicted(gaps, THREE_HOURS_MS)
      expect(expected).not.toEqual(predicted(gaps, HALF_HOUR_MS))
      const { nodes } = runOf(await replayed(trace, { manifests: [manifests], policies: [policy] }), policy)
      for (const { node, affinityHits, affinityMisses, affinityPeak } of nodes) {
        expect({ hits: affinityHits, misses: affinityMisses }, node).toEqual(expected[node])
        // Nothing expires within the trace, so every client that ever came is still known at the end.
        expect(affinityPeak, node).toBe(expected[node].misses)
      }
    },
  )

  it('nobody ever changes pod at a node', () => {
    const list = visits(openings('cluster', null, [manifests]))
    expect(list.filter(({ before, pod }) => before !== null && before !== pod)).toEqual([])
  })
})
