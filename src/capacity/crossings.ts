/**
 * Where one policy overtakes the other: in a sweep over rates under Local and Cluster, the rate at which a figure that an
 * objective is about is equal under both.
 *
 * Pure. Between two rates of the sweep the difference is taken to be a straight line; the sweep's own rates bound it.
 */
import { figureValue } from '../report/capacity-fields.ts'
import type { CapacityCell, Crossing, Figures, ParameterValue } from '../report/capacity-types.ts'
import type { Threshold } from '../report/threshold.ts'

const AXIS = 'rate'

/** @returns crossings in the order of cells, then of rates; none where no rates were swept or only one policy */
export function crossingsOf(cells: readonly CapacityCell[], objectives: readonly Threshold[]): Crossing[] {
  const figures = [...new Set(objectives.map(({ path }) => path.map(({ name }) => name).join('.')))]
  const groups = new Map<string, CapacityCell[]>()
  for (const cell of cells) {
    if (cell.parameters[AXIS] === undefined || cell.knee !== null || cell.run === null) continue
    const key = JSON.stringify([cell.proxyMode, Object.entries(withoutRate(cell.parameters))])
    groups.set(key, [...(groups.get(key) ?? []), cell])
  }
  return [...groups.values()].flatMap((group) => figures.flatMap((figure) => crossingsIn(group, figure)))
}

interface Point {
  readonly rate: number
  /** Local less Cluster. */
  readonly difference: number
}

function crossingsIn(group: readonly CapacityCell[], figure: string): Crossing[] {
  const { proxyMode, parameters } = group[0]!
  const points = pointsOf(group, figure)
  return points.flatMap((after, i): Crossing[] => {
    const before = points[i - 1]
    if (before === undefined || before.difference * after.difference >= 0) return []
    const part = before.difference / (before.difference - after.difference)
    return [
      {
        figure,
        proxyMode,
        parameters: withoutRate(parameters),
        lowerBelow: before.difference < 0 ? 'local' : 'cluster',
        lowerAbove: before.difference < 0 ? 'cluster' : 'local',
        connectionsPerSecond: before.rate + part * (after.rate - before.rate),
        betweenConnectionsPerSecond: [before.rate, after.rate],
      },
    ]
  })
}

/** By rate; only where both policies have the figure, and it differs. */
function pointsOf(group: readonly CapacityCell[], figure: string): Point[] {
  const figureAt = (policy: string, rate: number): number | null => {
    const run = group.find((cell) => cell.policy === policy && cell.run!.connectionsPerSecond === rate)?.run
    if (run === undefined || run === null || isEmpty(run.figures, figure)) return null
    return figureValue(run.figures, figure) ?? null
  }
  const rates = [...new Set(group.map(({ run }) => run!.connectionsPerSecond))].sort((a, b) => a - b)
  return rates.flatMap((rate) => {
    const [local, cluster] = [figureAt('local', rate), figureAt('cluster', rate)]
    return local === null || cluster === null || local === cluster ? [] : [{ rate, difference: local - cluster }]
  })
}

/** A latency of which nothing was recorded holds zeros that are no measurement. */
function isEmpty(figures: Figures, figure: string): boolean {
  return figureValue(figures, figure.replace(/[^.]*$/, 'count')) === 0
}

function withoutRate(parameters: Readonly<Record<string, ParameterValue>>): Record<string, ParameterValue> {
  return Object.fromEntries(Object.entries(parameters).filter(([name]) => name !== AXIS))
}
