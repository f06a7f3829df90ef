/** The same trace, manifests, options and seed give the same report, byte for byte, whoever does the work. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import type { ReplayOptions } from '../../src/replay/plan.ts'
import type { LatencyHistogram, LatencySummary, RunReport } from '../../src/report/types.ts'
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
    const policies = name === 'two-plus-one' ? (['cluster'] as const) : (['cluster', 'local'] as const)
    for (const workers of [1, 2, 7, 1, 2, 7]) texts.push(await text(name, { workers, policies }))
    expect(new Set(texts).size).toBe(1)
  })

  it('another seed is another run of chance, the trace’s own is the default', async () => {
    const own = await text(name)
    const seed = { storefront: 20, 'affinity-1800': 1800, 'two-plus-one': 21 }[name]
    expect(await text(name, { seed })).toBe(own)
    expect(await text(name, { seed: seed + 1 })).not.toBe(own)
  })

  // In iptables mode with affinity there is but one shard: see below.
  const modes = name === 'storefront' ? (['nftables', 'iptables'] as const) : (['nftables'] as const)
  it.each(modes)('one shard and sixteen agree in %s mode in all but what hangs on ports and ties', async (mode) => {
    const one = await replayed(traces.get(name)!, { shards: 1, proxyModes: [mode] })
    const sixteen = await replayed(traces.get(name)!, { shards: 16, proxyModes: [mode] })
    expect([one.engine.shards, sixteen.engine.shards]).toEqual([1, 16])
    expect(sixteen.runs.map(withoutPorts)).toEqual(one.runs.map(withoutPorts))
    one.runs.forEach((run, i) => {
      const other = sixteen.runs[i]
      for (const kind of ['packet', 'connectionSetup', 'request'] as const) {
        const sum = ({ counts }: LatencyHistogram): number => counts.reduce((all, count) => all + count, 0)
        expect(sum(other.histograms[kind])).toBe(sum(run.histograms[kind]))
      }
      const measured = [run, ...run.services]
      const again = [other, ...other.services]
      measured.forEach(({ pathLatencyMicros }, part) => {
        for (const kind of ['packet', 'firstPacket', 'connectionSetup'] as const) {
          for (const [name, micros] of Object.entries(pathLatencyMicros[kind])) {
            const apart = Math.abs(again[part].pathLatencyMicros[kind][name as keyof LatencySummary] - micros)
            expect(apart, `${kind}.${name}`).toBeLessThanOrEqual(micros / 10_000)
          }
        }
      })
      run.series!.nodes.forEach((levels, node) => {
        for (const kind of ['conntrackEntries', 'sourcePorts'] as const) {
          const there = other.series!.nodes[node][kind]
          const apart = levels[kind].map((level, bin) => Math.abs(there[bin] - level) - (1 + level / 1000))
          expect(Math.max(...apart), `${kind} of ${levels.node}`).toBeLessThanOrEqual(0)
        }
      })
      run.nodes.forEach(({ conntrackPeak, snatPortsPeak }, node) => {
        expect(Math.abs(other.nodes[node].conntrackPeak - conntrackPeak)).toBeLessThanOrEqual(1 + conntrackPeak / 1000)
        expect(Math.abs(other.nodes[node].snatPortsPeak - snatPortsPeak)).toBeLessThanOrEqual(1 + snatPortsPeak / 1000)
      })
    })
  })
})

/**
 * A run without what the choice of source ports and the order within a tick show in. Each shard masquerades with ports of a
 * residue class of its own, so its search meets other entries (`found`), finds expired ones at other moments, and peaks
 * move by an entry or two. Packets that reach a node in the same 100 ns wait for each other in the order of their shards.
 */
function withoutPorts({ pathLatencyMicros, histograms, series, ...run }: RunReport): unknown {
  const nodes = run.nodes.map(({ conntrackPeak, snatPortsPeak, conntrackHolders, conntrack, ...node }) => {
    const { found, ...counters } = conntrack
    return { ...node, ...counters, serviceEntries: conntrackHolders.map(({ service }) => service) }
  })
  const services = run.services.map(({ service }) => service)
  const { pathLatencyMicros: moved, nodes: levels, ...course } = series!
  return {
    ...run,
    nodes,
    services,
    course,
    levels: levels.map(({ affinityEntries, cpuUtilization }) => [affinityEntries, cpuUtilization]),
  }
}

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
  ] as const)('%s, %s × %s: a run is the same among nine as alone', async (name, policy, mode) => {
    const all = await replayed(traces.get(name)!, { policies: POLICIES, proxyModes: MODES, workers: 2 })
    const { runs } = await replayed(traces.get(name)!, { policies: [policy], proxyModes: [mode], workers: 3 })
    expect(runs).toEqual([runOf(all, policy, mode)])
  })

  it('an affinity list of iptables is one for the whole node, so such a replay takes one shard and says so', async () => {
    const { engine, given } = await replayed(traces.get('affinity-1800')!, { proxyModes: ['nftables', 'iptables'] })
    expect([engine.shards, engine.workers]).toEqual([1, 1])
    expect(given.map(({ code }) => code)).toEqual(['W_RECENT_LISTS'])
  })

  it("where masquerading keeps clients' ports one shard searches for all, and says so", async () => {
    const model = join(folder, 'kept-ports.yaml')
    writeFileSync(model, 'snatRandomFully: 0')
    const [one, three] = await Promise.all(
      [1, 3].map((workers) => replayed(traces.get('two-plus-one')!, { model, workers })),
    )
    expect([three!.engine.shards, three!.engine.workers]).toEqual([1, 1])
    expect(three!.given.map(({ code }) => code)).toContain('W_SOURCE_PORTS')
    expect(three!.runs).toEqual(one!.runs)
  })

  it('as-is is the policy that the manifests have', async () => {
    const report = await replayed(traces.get('affinity-1800')!, { policies: ['as-is', 'cluster'] })
    expect({ ...runOf(report, 'as-is'), policy: 'cluster' }).toEqual(runOf(report, 'cluster'))
  })
})
