/**
 * A capacity report as CSV: one row a cell, one column an axis, then knee and figures.
 *
 * Source: RFC 4180, with a line feed at the end of lines, as most tools write it. Numbers are whole and not rounded; an
 * empty field is one that the cell does not have.
 */
import { figureValue } from './capacity-fields.ts'
import type { CapacityCell, CapacityReport, Figures } from './capacity-types.ts'

type Value = string | number | boolean | null

type Column = readonly [name: string, value: (cell: CapacityCell) => Value]

/** @param chosen  paths of figures that get a column at the end */
export function renderCapacityCsv(report: CapacityReport, chosen: readonly string[] = []): string {
  const columns = [...columnsOf(report), ...chosen.map(chosenColumn)]
  const rows = [
    columns.map(([name]) => field(name)),
    ...report.cells.map((cell) => columns.map(([, value]) => field(value(cell)))),
  ]
  return rows.map((row) => `${row.join(',')}\n`).join('')
}

function chosenColumn(path: string): Column {
  return [path, ({ run }) => (run === null ? null : (figureValue(run.figures, path) ?? null))]
}

function columnsOf({ axes, search, seeds }: CapacityReport): Column[] {
  const parameters = axes
    .map(({ name }) => name)
    .filter((name) => name !== 'policy' && name !== 'proxyMode')
    .map((name): Column => [name, ({ parameters }) => parameters[name] ?? null])
  const knees: Column[] = [
    ['outcome', ({ knee }) => knee?.outcome ?? null],
    ['kneeConnectionsPerSecond', ({ knee }) => knee?.connectionsPerSecond ?? null],
    ['failsAtConnectionsPerSecond', ({ knee }) => knee?.failsAtConnectionsPerSecond ?? null],
    ['timesScenario', ({ knee }) => knee?.timesScenario ?? null],
  ]
  const firstBroken: Column[] = [
    ['brokeFirst', ({ broke }) => broke[0]?.objective ?? null],
    ['brokeFirstValue', ({ broke }) => broke[0]?.value ?? null],
    ['brokeFirstNode', ({ broke }) => broke[0]?.node ?? null],
    ['brokeFirstService', ({ broke }) => broke[0]?.service ?? null],
  ]
  return [
    ...parameters,
    ['policy', ({ policy }) => policy],
    ['proxyMode', ({ proxyMode }) => proxyMode],
    ...(search === null ? [] : knees),
    ...(search === null || seeds.length === 1 ? [] : KNEE_RANGE),
    ['holds', ({ run }) => run?.holds ?? false],
    ...firstBroken,
    ['connectionsPerSecond', ({ run }) => run?.connectionsPerSecond ?? null],
    ['connections', ({ run }) => run?.connections ?? null],
    ['packets', ({ run }) => run?.packets ?? null],
    ['durationSeconds', ({ run }) => run?.durationSeconds ?? null],
    ['settled', ({ run }) => run?.settled ?? null],
    ...FIGURES.map(([name, value]): Column => [name, ({ run }) => (run === null ? null : value(run.figures))]),
  ]
}

/** Over the seeds. */
const KNEE_RANGE: readonly Column[] = [
  ['leastKneeConnectionsPerSecond', ({ draws }) => draws?.least ?? null],
  ['mostKneeConnectionsPerSecond', ({ draws }) => draws?.most ?? null],
]

const FIGURES: readonly (readonly [name: string, value: (figures: Figures) => number | null])[] = [
  ['dropFraction', (figures) => figures.dropFraction],
  ['failedFraction', (figures) => figures.failedFraction],
  ['brokenFraction', (figures) => figures.brokenFraction],
  ['conntrackFraction', (figures) => figures.conntrackFraction],
  ['snatFraction', (figures) => figures.snatFraction],
  ['cpuFraction', (figures) => figures.cpuFraction],
  ['cpuPeakFraction', (figures) => figures.cpuPeakFraction],
  ['crossNodeFraction', (figures) => figures.crossNodeFraction],
  ['masqueradedFraction', (figures) => figures.masqueradedFraction],
  ['clientIpPreservedFraction', (figures) => figures.clientIpPreservedFraction],
  ['maxOverMean', (figures) => figures.maxOverMean],
  ['deliveredConnectionsPerSecond', (figures) => figures.delivered.connectionsPerSecond],
  ['deliveredPacketsPerSecond', (figures) => figures.delivered.packetsPerSecond],
  ['packetP50Micros', (figures) => figures.pathLatencyMicros.packet.p50],
  ['packetP99Micros', (figures) => figures.pathLatencyMicros.packet.p99],
  ['packetP999Micros', (figures) => figures.pathLatencyMicros.packet.p999],
  ['connectionSetupP99Micros', (figures) => figures.pathLatencyMicros.connectionSetup.p99],
]

function field(value: Value): string {
  const text = value === null ? '' : String(value)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
