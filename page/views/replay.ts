/** The page of a replay report, in the order in which someone decides. */
import type { ReplayPage } from '../../src/report/html/page-data.ts'
import {
  formatBytes,
  formatCount,
  formatNanos,
  formatPercent,
  formatRate,
  formatSeconds,
} from '../../src/report/units.ts'
import { h, shown } from '../dom.ts'
import { table } from '../table.ts'
import { finePrint, thresholdsPart } from './fine-print.ts'
import { flowPart } from './flow.ts'
import { latencyPart } from './latency.ts'
import { lossesOverTimePart, lossesPart, toldPart } from './losses.ts'
import { dnsPart, ingressPart } from './names-and-routes.ts'
import { nodesPart } from './nodes.ts'
import { dropsPart, outcomesPart } from './outcomes.ts'
import { overTimePart } from './over-time.ts'
import { type Part, part, timeText } from './section.ts'
import { sharesPart } from './shares.ts'

export function replayParts(page: ReplayPage): (Part | null)[] {
  return [
    thresholdsPart(page),
    outcomesPart(page),
    latencyPart(page),
    sharesPart(page),
    flowPart(page),
    dropsPart(page),
    nodesPart(page),
    overTimePart(page),
    ...timelineParts(page),
    ingressPart(page),
    dnsPart(page),
    drawsPart(page),
    ...finePrint(page),
    enginePart(page),
  ]
}

/** Of a Timeline beside the trace. */
function timelineParts({ report: { timeline }, words }: ReplayPage): (Part | null)[] {
  if (timeline === undefined) return []
  const { events, told } = timeline
  const happenings = table(
    'What happened in the first course',
    [
      { head: 'at', value: ({ atSeconds }) => atSeconds, text: ({ atSeconds }) => timeText(atSeconds) },
      { head: 'what', value: ({ what }) => what },
    ],
    events,
  )
  return [
    lossesPart(timeline, words),
    lossesOverTimePart(timeline, events),
    part('events', 'Timeline', `From ${shown(timeline.source)}.`, happenings),
    toldPart(told),
  ]
}

function drawsPart({ report: { draws } }: ReplayPage): Part | null {
  if (draws === null) return null
  return part(
    'draws',
    'Draws',
    `Every figure is the median of ${formatCount(draws.count)} draws: ${formatCount(draws.seeds.length)} seeds, ${formatCount(draws.placements.length)} placements.`,
    table(
      'What each draw by itself would be answered',
      [
        { head: 'runs', value: ({ pair }) => pair },
        { head: 'answer', value: ({ answer }) => answer },
        { head: 'draws', value: ({ draws: count }) => count },
        {
          head: 'of all',
          value: ({ draws: count }) => count / draws.count,
          text: ({ draws: count }) => formatPercent(count / draws.count),
        },
      ],
      draws.advice,
    ),
  )
}

function enginePart({ report: { engine } }: ReplayPage): Part | null {
  const { p50, p99 } = engine.processingNanosPerPacket
  return part(
    'engine',
    'dpemu’s own speed',
    'Measured, and no part of the result.',
    h(
      'p',
      {},
      shown(
        `${formatRate(engine.packetsPerSecond)} packets emulated, ${formatSeconds(engine.wallSeconds)}, ${formatCount(engine.workers)} workers, ${formatCount(engine.shards)} shards; ${formatNanos(p50)} a packet (p99 ${formatNanos(p99)}), ${formatBytes(engine.peakRssBytes)}. dpemu ${engine.version}, Node ${engine.node}, ${engine.machine}.`,
      ),
    ),
  )
}
