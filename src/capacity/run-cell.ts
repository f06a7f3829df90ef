/** One cell: the search for its knee, or its one run, as the report has it. */
import type { Warning } from '../errors.ts'
import type { BrokenObjective, CapacityCell, CapacityRun, Knee } from '../report/capacity-types.ts'
import type { Threshold } from '../report/threshold.ts'
import type { Scaling } from '../trace/scenario-edit.ts'
import type { PlannedCell } from './cells.ts'
import { type KneeOptions, kneeOf, nextRate, remainingRuns } from './knee.ts'
import type { Measurement } from './measure.ts'
import { brokenObjectives, hangsOnTables } from './objectives.ts'

export interface CellOptions {
  readonly knee: boolean
  readonly tolerance: number
  readonly objectives: readonly Threshold[]
  /** The same scaling gives the same measurement. */
  measure(scaling: Scaling, onProgress: (fraction: number) => void): Promise<Measurement>
  /** Part of the cell that is done, 0 to 1. */
  onProgress(fraction: number): void
}

interface Judged {
  readonly run: CapacityRun
  readonly broke: readonly BrokenObjective[]
  readonly measurement: Measurement
  /** As asked for; null: the scenario's own. */
  readonly connections: number | null
}

/** Of a search's run, unless told. */
const LEAST_CONNECTIONS = 100_000
/** A run whose tables have not settled is made again with so many times its connections, up to the most. */
const LONGER = 2
const MAX_CONNECTIONS = 1_000_000
/** Halvings and doublings from the scenario's own rate. */
const LEAST_FACTOR = 2 ** -10
const MAX_FACTOR = 2 ** 20

export async function runCell(
  cell: PlannedCell,
  options: CellOptions,
): Promise<{ cell: CapacityCell; warnings: Warning[] }> {
  return options.knee ? searchKnee(cell, options) : runOnce(cell, options)
}

async function runOnce(cell: PlannedCell, options: CellOptions): Promise<{ cell: CapacityCell; warnings: Warning[] }> {
  const judged = judge(cell, cell.scaling, await options.measure(cell.scaling, options.onProgress), options)
  options.onProgress(1)
  const { run, broke, measurement } = judged
  return {
    cell: { ...head(cell, measurement), knee: null, run, tried: [], broke: [...broke], draws: null },
    warnings: [...measurement.warnings],
  }
}

async function searchKnee(
  cell: PlannedCell,
  options: CellOptions,
): Promise<{ cell: CapacityCell; warnings: Warning[] }> {
  const { ownRate, limits } = cell
  const bounds: KneeOptions = {
    start: ownRate,
    least: ownRate * Math.max(limits.least, LEAST_FACTOR),
    most: ownRate * Math.min(limits.most, MAX_FACTOR),
    tolerance: options.tolerance,
  }
  const judged: Judged[] = []
  const tried: { rate: number; holds: boolean }[] = []
  for (let rate = nextRate(tried, bounds); rate !== null; rate = nextRate(tried, bounds)) {
    const ahead = remainingRuns(tried, bounds)
    const done = tried.length
    const lower = judged.filter(({ run }) => run.holds && run.connectionsPerSecond < rate!)
    const least = Math.max(LEAST_CONNECTIONS, ...lower.map((one) => one.connections ?? 0))
    const one = await settledRun(cell, rate, least, options, (fraction) =>
      options.onProgress((done + fraction) / (done + ahead)),
    )
    judged.push(one)
    tried.push({ rate, holds: one.run.holds })
  }
  options.onProgress(1)
  judged.sort((a, b) => a.run.connectionsPerSecond - b.run.connectionsPerSecond)
  const { holds, fails, holdsAgain } = kneeOf(tried)
  const at = (rate: number | null): Judged | undefined => judged.find(({ run }) => run.connectionsPerSecond === rate)
  const knee: Knee = {
    outcome: holds === null ? 'below' : fails === null ? 'above' : 'found',
    connectionsPerSecond: holds,
    failsAtConnectionsPerSecond: fails,
    timesScenario: holds === null ? null : holds / ownRate,
    holdsAgainAtConnectionsPerSecond: holdsAgain,
  }
  const shown = at(holds) ?? judged[0]!
  return {
    cell: {
      ...head(cell, shown.measurement),
      knee,
      run: at(holds)?.run ?? null,
      tried: judged.map(({ run }) => run),
      broke: [...(at(fails)?.broke ?? [])],
      draws: null,
    },
    warnings: [...shown.measurement.warnings, ...unsettledWarning(cell, at(holds), options)],
  }
}

/**
 * A rate counts as carried when all objectives hold over a run that is long enough for the tables to settle.
 *
 * @param leastConnections  that a lower rate needed for that: this one needs no fewer
 */
async function settledRun(
  cell: PlannedCell,
  rate: number,
  leastConnections: number,
  options: CellOptions,
  onProgress: (fraction: number) => void,
): Promise<Judged> {
  const factor = rate / cell.ownRate
  const given = cell.scaling.connections
  let connections = given ?? leastConnections
  for (;;) {
    const scaling = { factor, connections }
    const judged = judge(cell, scaling, await options.measure(scaling, onProgress), options, rate)
    const { holds, settled } = judged.run
    // Longer runs fill tables further: what fails now would fail then.
    if (given !== null || !holds || settled || connections >= MAX_CONNECTIONS) return judged
    if (!options.objectives.some(hangsOnTables)) return judged
    connections = Math.min(MAX_CONNECTIONS, connections * LONGER)
  }
}

function judge(
  cell: PlannedCell,
  scaling: Scaling,
  measurement: Measurement,
  { objectives }: CellOptions,
  rate: number = cell.ownRate * scaling.factor,
): Judged {
  const { connections, packets, durationSeconds, settled, figures, culprits } = measurement
  const broke = brokenObjectives(objectives, figures, culprits)
  return {
    run: {
      connectionsPerSecond: rate,
      timesScenario: scaling.factor,
      connections,
      packets,
      durationSeconds,
      settled,
      holds: broke.length === 0,
      figures,
    },
    broke,
    measurement,
    connections: scaling.connections,
  }
}

function head(
  { name, policy, parameters }: PlannedCell,
  { proxyMode }: Measurement,
): Pick<CapacityCell, 'name' | 'policy' | 'proxyMode' | 'parameters'> {
  return { name, policy, proxyMode, parameters: { ...parameters } }
}

function unsettledWarning({ name }: PlannedCell, atKnee: Judged | undefined, { objectives }: CellOptions): Warning[] {
  if (atKnee === undefined || atKnee.run.settled || !objectives.some(hangsOnTables)) return []
  const { durationSeconds, connections } = atKnee.run
  const message = `the run at the knee is too short to judge: conntrack tables and source ports were still filling when it ended, ${connections} connections in ${Number(durationSeconds.toPrecision(3))} s; where it breaks for good may be lower, and more --connections would tell`
  return [{ code: 'W_UNSETTLED', where: name, message }]
}
