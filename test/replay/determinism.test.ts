/** The same trace, manifests, options and seed give the same report, byte for byte, whoever does the work. */
import { beforeAll, describe, expect, it } from 'vitest'
import type { ReplayOptions } from '../../src/replay/plan.ts'
import type { RunReport } from '../../src/report/types.ts'
import { bundledTrace, replayed, resultText, runOf, temporaryFolder } from './support.ts'

const folder = temporaryFolder()
const MODES = ['nftables', 'iptables', 'ipvs'] as const
const POLICIES = ['cluster', 'local', 'as-is'] as const
const scenarios = ['storefront', 'affinity-1800', 'two-plus-one'] as const
const traces = new Map<string, string>()

beforeAll(async () => {
  for (const name of scenarios) traces.set(name, await bundledTrace(folder, name))
})

async function text(name: string, change: Partial<ReplayOptions> = {}): Promise<string> {
  return resultText(await replayed(traces.get(name)!, change))
}

describe.each(scenarios)('%s', (name) => {
  it('1, 2 and 7 workers, each twice, print the same', async () => {
    const texts: string[] = []
    for (const workers of [1, 2, 7, 1, 2, 7]) texts.push(await text(name, { workers }))
    expect(new Set(texts).size).toBe(1)
  })

  it('another seed is another run of chance, the trace’s own is the default', async () => {
    const own = await text(name)
    const seed = { storefront: 20, 'affinity-1800': 1800, 'two-plus-one': 21 }[name]
    expect(await text(name, { seed })).toBe(own)
    expect(await text(name, { seed: seed + 1 })).not.toBe(own)
  })

  it.each(['nftables', 'iptables'] as const)(
    'one shard and sixteen agree in %s mode in all but two peaks',
    async (mode) => {
      // Shards differ in which source port masquerading takes (each has a residue class) and in the moment an expired
      // entry is found and removed. Both are invisible but for the two peaks, as long as no limit is touched.
      const peaksAside = (run: RunReport): unknown => ({
        ...run,
        nodes: run.nodes.map(({ conntrackPeak: _, snatPortsPeak: __, ...node }) => node),
      })
      const one = await replayed(traces.get(name)!, { shards: 1, proxyModes: [mode] })
      const sixteen = await replayed(traces.get(name)!, { shards: 16, proxyModes: [mode] })
      expect(sixteen.engine.shards).toBe(16)
      expect(one.engine.shards).toBe(1)
      expect(sixteen.runs.map(peaksAside)).toEqual(one.runs.map(peaksAside))
      one.runs.forEach((run, i) => {
        run.nodes.forEach(({ conntrackPeak, snatPortsPeak }, node) => {
          const other = sixteen.runs[i].nodes[node]
          expect(Math.abs(other.conntrackPeak - conntrackPeak)).toBeLessThanOrEqual(1 + conntrackPeak / 1000)
          expect(Math.abs(other.snatPortsPeak - snatPortsPeak)).toBeLessThanOrEqual(1 + snatPortsPeak / 1000)
        })
      })
    },
  )
})

describe('many runs in one replay', () => {
  it('policies and proxy modes are crossed, policies first', async () => {
    const { runs } = await replayed(traces.get('storefront')!, { policies: POLICIES, proxyModes: MODES })
    expect(runs.map(({ policy, proxyMode }) => `${policy} ${proxyMode}`)).toEqual(
      POLICIES.flatMap((policy) => MODES.map((mode) => `${policy} ${mode}`)),
    )
  })

  it.each([
    ['storefront', 'cluster', 'nftables'],
    ['storefront', 'as-is', 'ipvs'],
    ['affinity-1800', 'local', 'iptables'],
    ['affinity-1800', 'as-is', 'nftables'],
    ['affinity-1800', 'cluster', 'ipvs'],
  ] as const)('%s, %s × %s: a run is the same among nine as alone', async (name, policy, mode) => {
    const all = await replayed(traces.get(name)!, { policies: POLICIES, proxyModes: MODES, workers: 2 })
    const { runs } = await replayed(traces.get(name)!, { policies: [policy], proxyModes: [mode], workers: 3 })
    expect(runs).toEqual([runOf(all, policy, mode)])
  })

  it('as-is is the policy that the manifests have', async () => {
    const report = await replayed(traces.get('two-plus-one')!, { policies: ['as-is', 'cluster'] })
    expect({ ...runOf(report, 'as-is'), policy: 'cluster' }).toEqual(runOf(report, 'cluster'))
  })
})
