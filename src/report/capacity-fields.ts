/** Which fields a capacity report has: for thresholds over it, and for objectives over the figures of one run. */
import type { CapacityReport, CapacityRun, Figures } from './capacity-types.ts'
import { LATENCY_SHAPE, PATH_LATENCY_SHAPE, RATES_SHAPE } from './fields.ts'
import type { Subject } from './threshold.ts'

const FIGURES: Figures = {
  dropFraction: 0,
  failedFraction: 0,
  brokenFraction: 0,
  conntrackFraction: 0,
  snatFraction: 0,
  cpuFraction: 0,
  cpuPeakFraction: 0,
  crossNodeFraction: 0,
  masqueradedFraction: 0,
  clientIpPreservedFraction: 0,
  maxOverMean: 0,
  offered: RATES_SHAPE,
  delivered: RATES_SHAPE,
  pathLatencyMicros: PATH_LATENCY_SHAPE,
  requestLatencyMicros: LATENCY_SHAPE,
  podFraction: 0,
  drops: {},
}

const RUN = {
  connectionsPerSecond: 0,
  timesScenario: 0,
  connections: 0,
  packets: 0,
  durationSeconds: 0,
  settled: true,
  holds: true,
  figures: FIGURES,
} satisfies CapacityRun

const SHAPE: CapacityReport = {
  schemaVersion: 1,
  kind: 'capacity',
  version: '',
  scenario: { name: '', seed: 0, connectionsPerSecond: 0 },
  search: { tolerance: 0, connections: 0 },
  seeds: [0],
  objectives: [''],
  axes: [{ name: '', values: [''] }],
  cells: [
    {
      name: '',
      policy: '',
      proxyMode: '',
      parameters: {},
      knee: {
        outcome: 'found',
        connectionsPerSecond: 0,
        failsAtConnectionsPerSecond: 0,
        timesScenario: 0,
        holdsAgainAtConnectionsPerSecond: 0,
      },
      run: RUN,
      tried: [RUN],
      broke: [
        {
          objective: '',
          figure: '',
          value: 0,
          limit: 0,
          excess: 0,
          node: '',
          service: '',
          serviceShare: 0,
          reason: '',
        },
      ],
      draws: {
        least: 0,
        most: 0,
        leastFigures: FIGURES,
        mostFigures: FIGURES,
        each: [{ seed: 0, holds: true, connectionsPerSecond: 0, brokeFirst: '' }],
      },
    },
  ],
  crossings: [
    {
      figure: '',
      proxyMode: '',
      parameters: {},
      lowerBelow: '',
      lowerAbove: '',
      connectionsPerSecond: 0,
      betweenConnectionsPerSecond: [0, 0],
    },
  ],
  model: [{ name: '', value: 0, unit: '', source: '', isSet: false }],
  warnings: [{ code: '', where: '', message: '' }],
  emulates: { kubernetes: '', kernel: '', coredns: '', ingressNginx: '' },
}

/** `knee.connectionsPerSecond > 2000` and `cells[policy=local].knee.connectionsPerSecond > 2000`. */
export const CAPACITY_SUBJECT: Subject = {
  flag: '--threshold',
  example: 'cells[policy=local].knee.connectionsPerSecond > 2000',
  what: 'a capacity report',
  shape: SHAPE,
  list: 'cells',
}

/** `pathLatencyMicros.packet.p99 < 2ms`, of every run. */
export const OBJECTIVE_SUBJECT: Subject = {
  flag: '--objective',
  example: 'dropFraction < 0.001',
  what: 'a run',
  shape: FIGURES,
  list: null,
}

/** A figure by its path, `requestLatencyMicros.mean`; undefined where there is none of that name. A reason that did not occur counts 0. */
export function figureValue(figures: Figures, path: string): number | undefined {
  let value: unknown = figures
  for (const step of path.split('.')) {
    value = typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>)[step] : undefined
  }
  if (typeof value === 'number') return value
  return path.startsWith('drops.') ? 0 : undefined
}
