/** `nodes[].paths`: which way connections take, held against what the run counts of them as a whole. */
import { describe, expect, it } from 'vitest'
import type { PathsReport, RunReport } from '../../src/report/types.ts'
import { bundledTrace, replayed, temporaryFolder } from './support.ts'

const folder = temporaryFolder()

function sumOf(run: RunReport, key: keyof PathsReport): number {
  return run.nodes.reduce((sum, { paths }) => sum + paths[key], 0)
}

describe.each(['two-plus-one', 'storefront', 'snat-ports'])('%s', (name) => {
  it('every connection stays or leaves, and what leaves arrives', async () => {
    const { runs } = await replayed(await bundledTrace(folder, name), { policies: ['cluster', 'local'] })
    for (const run of runs) {
      const { established } = run.connections
      const sum = (...keys: (keyof PathsReport)[]): number => keys.reduce((all, key) => all + sumOf(run, key), 0)
      expect(sum('stayed', 'stayedMasqueraded', 'left', 'leftMasqueraded')).toBe(established)
      expect(sum('arrived')).toBe(sum('left'))
      expect(sum('arrivedMasqueraded')).toBe(sum('leftMasqueraded'))
      expect(sum('left', 'leftMasqueraded') / established).toBeCloseTo(run.crossNodeFraction, 12)
      expect(sum('stayedMasqueraded', 'leftMasqueraded') / established).toBeCloseTo(run.masqueradedFraction, 12)
      for (const { node, paths } of run.nodes) {
        const delivered = run.endpoints
          .filter((one) => one.node === node)
          .reduce((all, one) => all + one.connections, 0)
        expect(paths.stayed + paths.stayedMasqueraded + paths.arrived + paths.arrivedMasqueraded).toBe(delivered)
      }
    }
    const [cluster, local] = runs
    expect(sumOf(cluster!, 'fromOutside')).toBe(sumOf(local!, 'fromOutside'))
    expect(sumOf(local!, 'leftMasqueraded')).toBe(0)
  })
})
