/**
 * Cells that differ in their seed alone, as one: the median of the knees with the lowest and the highest, or of each figure of a run.
 *
 * Pure. The cell of a search is a real one, that of the seed with the median knee; medians of figures are each by itself.
 */
import type { BrokenObjective, CapacityCell, CellDraws } from '../report/capacity-types.ts'
import { overDraws } from '../report/draws.ts'
import { evaluateThresholds, type Threshold } from '../report/threshold.ts'

export const SEED_AXIS = 'seed'

/** @param cells  of every seed; in the order of the first of each group */
export function foldSeeds(cells: readonly CapacityCell[], objectives: readonly Threshold[]): CapacityCell[] {
  const groups = new Map<string, CapacityCell[]>()
  for (const cell of cells) {
    const { [SEED_AXIS]: _, ...others } = cell.parameters
    const key = JSON.stringify([cell.policy, cell.proxyMode, others])
    groups.set(key, [...(groups.get(key) ?? []), cell])
  }
  return [...groups.values()].map((group) => fold(group, objectives))
}

function fold(group: readonly CapacityCell[], objectives: readonly Threshold[]): CapacityCell {
  const rates = group.map(kneeOf).sort((a, b) => a - b)
  const each = group.map(({ parameters, run, knee, broke }): CellDraws['each'][number] => ({
    seed: parameters[SEED_AXIS] as number,
    holds: run?.holds ?? false,
    connectionsPerSecond: knee === null ? (run?.connectionsPerSecond ?? null) : knee.connectionsPerSecond,
    brokeFirst: broke[0]?.objective ?? null,
  }))
  if (group[0]!.knee !== null) {
    const middle = rates[Math.ceil(rates.length / 2) - 1]!
    const cell = withoutSeed(group.find((one) => kneeOf(one) === middle)!)
    const [least, most] = [rateOf(rates[0]!), rateOf(rates.at(-1)!)]
    return { ...cell, draws: { least, most, leastFigures: null, mostFigures: null, each } }
  }
  const runs = group.map(({ run }) => run!)
  const figures = overDraws(runs.map((run) => run.figures))
  const { connections, packets, durationSeconds } = overDraws(
    runs.map((run) => ({
      connections: run.connections,
      packets: run.packets,
      durationSeconds: run.durationSeconds,
    })),
  ).median
  const broke = brokenOnMedians(group, figures.median, objectives)
  return {
    ...withoutSeed(group[0]!),
    run: {
      ...{ ...runs[0]!, connections, packets, durationSeconds },
      settled: runs.every(({ settled }) => settled),
      holds: broke.length === 0,
      figures: figures.median,
    },
    broke,
    draws: { least: null, most: null, leastFigures: figures.least, mostFigures: figures.most, each },
  }
}

/** Where a median breaks an objective a draw does, and that says which node and Service is behind it. */
function brokenOnMedians(
  group: readonly CapacityCell[],
  figures: object,
  objectives: readonly Threshold[],
): BrokenObjective[] {
  return evaluateThresholds(objectives, figures)
    .filter(({ pass }) => !pass)
    .flatMap(({ threshold, matches }) => {
      const { value, limit } = matches[0]!
      const broken = group.flatMap(({ broke }) => broke.filter(({ objective }) => objective === threshold.text))
      const like = broken.find((one) => one.value === value) ?? broken[0]
      if (like === undefined) return []
      const excess =
        value === null || limit === null || limit === 0 || like.excess === null
          ? like.excess
          : Math.abs(value / limit - 1)
      return [{ ...like, value, limit, excess }]
    })
    .sort((a, b) => (b.excess ?? Number.POSITIVE_INFINITY) - (a.excess ?? Number.POSITIVE_INFINITY) || 0)
}

function withoutSeed(cell: CapacityCell): CapacityCell {
  const { [SEED_AXIS]: _, ...parameters } = cell.parameters
  const name = cell.name
    .split(', ')
    .filter((part) => !part.startsWith(`${SEED_AXIS}=`))
    .join(', ')
  return { ...cell, name, parameters }
}

/** No rate is less than any. */
function kneeOf({ knee }: CapacityCell): number {
  return knee?.connectionsPerSecond ?? 0
}

function rateOf(knee: number): number | null {
  return knee === 0 ? null : knee
}
