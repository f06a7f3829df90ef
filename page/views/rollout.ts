/** The page of a rollout report: losses by cause and over time, the timeline of the first run, and which preStop makes it zero. */
import type { RolloutJson, RolloutPage } from '../../src/report/html/page-data.ts'
import { formatCount, formatPercent, formatRatio, formatSeconds } from '../../src/report/units.ts'
import { barChart } from '../charts/bars.ts'
import { lineChart } from '../charts/line.ts'
import { timeline } from '../charts/timeline.ts'
import { h, shown } from '../dom.ts'
import { runTable, table } from '../table.ts'
import { finePrint, thresholdsPart } from './fine-print.ts'
import { lossesOverTimePart, lossesPart, toldPart } from './losses.ts'
import { type Part, part, timeText } from './section.ts'

const POLICIES = ['cluster', 'local'] as const
const NAMES = ['Cluster', 'Local'] as const

export function rolloutParts(page: RolloutPage): (Part | null)[] {
  return [
    thresholdsPart(page),
    outcomePart(page),
    lossesPart(page.report, page.words),
    lossesOverTimePart(page.report, page.report.firstRun.events),
    timelinePart(page),
    preStopPart(page),
    longLivedPart(page),
    toldPart(page.report.firstRun.told),
    ...finePrint(page),
  ]
}

function of<T extends { readonly policy: string }>(list: readonly T[], policy: string): T | undefined {
  return list.find((one) => one.policy === policy)
}

function outcomePart({ report }: RolloutPage): Part | null {
  const row = (
    name: string,
    value: (policy: string) => number | null | undefined,
    text: (value: number) => string,
    bad = false,
  ) => ({ name, values: POLICIES.map((policy) => value(policy) ?? null), text, bad })
  return part(
    'runs',
    'Side by side',
    `Means over ${formatCount(report.runs)} runs.`,
    runTable('What the change costs', NAMES, [
      row('connections offered', (policy) => of(report.offered, policy)?.count, formatCount),
      row('lost', (policy) => of(report.lost, policy)?.count, formatCount, true),
      row('lost, of all', (policy) => of(report.lost, policy)?.lostFraction, formatPercent, true),
      row('lost in the worst run', (policy) => of(report.lost, policy)?.most, formatCount, true),
      row('late', (policy) => of(report.delayed, policy)?.count, formatCount, true),
      row('longest time in which none got through', (policy) => of(report.gaps, policy)?.p50Seconds, formatSeconds),
      row('the same, 95 %', (policy) => of(report.gaps, policy)?.p95Seconds, formatSeconds),
      row(
        'preStop that every sender needs',
        (policy) => of(report.neededPreStopSeconds, policy)?.neededSeconds,
        formatSeconds,
      ),
      row('time of the rollout', () => report.rollout.meanSeconds, formatSeconds),
      row('most pods at once', () => report.rollout.peakPods, formatCount),
    ]),
  )
}

const KINDS: readonly (readonly [letter: string, kind: string, text: string])[] = [
  ['░', 'starting', 'pod starts'],
  ['█', 'ready', 'ready; node: gets connections, has a pod'],
  ['▒', 'ending', 'pod ends'],
  ['·', 'gone', 'pod is gone'],
  ['x', 'blind', 'node gets connections, has no pod'],
  ['─', 'idle', 'node gets none'],
]

function timelinePart({ report: { firstRun }, picture }: RolloutPage): Part | null {
  const rows = picture.rows.map(([name, line]) => ({ name, parts: partsOf([...line], firstRun.endSeconds) }))
  const kinds = KINDS.filter(([, kind]) => rows.some(({ parts }) => parts.some((one) => one.kind === kind))).map(
    ([, kind, text]) => ({ kind, text }),
  )
  type Pod = RolloutJson['firstRun']['pods'][number]
  const time = (head: string, at: (pod: Pod) => number | null) => ({
    head,
    value: at,
    text: (pod: Pod) => (at(pod) === null ? '' : formatSeconds(at(pod)!)),
  })
  return part(
    'timeline',
    'Timeline of the first run',
    picture.leftOut === 0 ? '' : `${formatCount(picture.leftOut)} more pods change; they are in the table.`,
    rows.length === 0
      ? null
      : timeline({
          label: 'What each pod and node is, over time',
          rows,
          kinds,
          endSeconds: firstRun.endSeconds,
          marks: firstRun.events.map(({ atSeconds, what }) => ({ at: atSeconds, text: what })),
        }),
    table(
      'Pods',
      [
        { head: 'pod', value: ({ name }: Pod) => name },
        { head: 'node', value: ({ node }: Pod) => node },
        time('created', ({ createdSeconds }) => createdSeconds),
        time('deleted', ({ deletedSeconds }) => deletedSeconds),
        time('SIGTERM', ({ sigtermSeconds }) => sigtermSeconds),
        time('ended', ({ endedSeconds }) => endedSeconds),
      ],
      firstRun.pods,
    ),
    table(
      'Events',
      [
        { head: 'at', value: ({ atSeconds }) => atSeconds, text: ({ atSeconds }) => formatSeconds(atSeconds) },
        { head: 'what', value: ({ what }) => what },
      ],
      firstRun.events,
    ),
  )
}

/** Letters that stand for as long each, as spans. */
function partsOf(
  letters: readonly string[],
  endSeconds: number,
): { from: number; to: number; kind: string; text: string }[] {
  const parts: { from: number; to: number; kind: string; text: string }[] = []
  for (const [i, letter] of letters.entries()) {
    const known = KINDS.find(([one]) => one === letter)
    if (known === undefined) continue
    const [, kind, text] = known
    const [from, to] = [(i * endSeconds) / letters.length, ((i + 1) * endSeconds) / letters.length]
    const before = parts.at(-1)
    if (before?.kind === kind && Math.abs(before.to - from) < 1e-9) before.to = to
    else parts.push({ from, to, kind, text })
  }
  return parts
}

function preStopPart({ report: { preStopTable, safe } }: RolloutPage): Part | null {
  if (preStopTable.length === 0) return null
  const rows = [...preStopTable].sort((a, b) => a.preStopSeconds - b.preStopSeconds)
  return part(
    'prestop',
    'How long a preStop',
    '',
    ...(safe ?? []).map(({ policy, preStopSeconds, graceSeconds, leaves, because }) =>
      h(
        'p',
        {},
        `${policy === 'local' ? 'Local' : 'Cluster'}: ${preStopSeconds === null ? 'no preStop makes it zero' : `a preStop of ${formatSeconds(preStopSeconds)} with a grace period of ${formatSeconds(graceSeconds)} leaves ${formatCount(leaves)}`}${because === '' ? '' : `; ${shown(because)}`}.`,
      ),
    ),
    lineChart({
      label: 'Connections lost by preStop',
      lines: POLICIES.map((policy, index) => ({
        name: NAMES[index]!,
        index,
        x: rows.map(({ preStopSeconds }) => preStopSeconds),
        y: rows.map(({ lost }) => lost[policy]),
      })),
      x: { title: 'preStop', format: timeText },
      y: { title: 'connections lost, mean of the runs', format: formatCount, from: 0 },
      dots: true,
    }),
    table(
      'By preStop',
      [
        {
          head: 'preStop',
          value: ({ preStopSeconds }) => preStopSeconds,
          text: ({ preStopSeconds }) => formatSeconds(preStopSeconds),
        },
        {
          head: 'grace period',
          value: ({ graceSeconds }) => graceSeconds,
          text: ({ graceSeconds }) => formatSeconds(graceSeconds),
        },
        ...POLICIES.flatMap((policy, i) => [
          { head: `lost, ${NAMES[i]}`, value: (row: (typeof rows)[number]) => row.lost[policy] },
          { head: `late, ${NAMES[i]}`, value: (row: (typeof rows)[number]) => row.delayed[policy] },
        ]),
        {
          head: 'rollout',
          value: ({ rolloutSeconds }) => rolloutSeconds,
          text: ({ rolloutSeconds }) => formatSeconds(rolloutSeconds),
        },
        { head: 'most pods', value: ({ peakPods }) => peakPods },
      ],
      rows,
    ),
  )
}

function longLivedPart({ report: { longLived } }: RolloutPage): Part | null {
  if (longLived.every(({ breaksEach }) => breaksEach === 0)) return null
  const causes = [...new Set(longLived.flatMap(({ byCause }) => byCause.map(({ cause }) => cause)))]
  return part(
    'long-lived',
    'Connections that clients keep open',
    'How often each of them breaks, and how unevenly they are left.',
    barChart({
      label: 'Breaks of each long-lived connection, by cause',
      rows: causes.map((name) => ({
        name,
        values: POLICIES.map(
          (policy) => of(longLived, policy)?.byCause.find(({ cause }) => cause === name)?.breaksEach ?? 0,
        ),
      })),
      runs: NAMES,
      format: formatRatio,
      noun: 'causes',
    }),
    runTable('Long-lived connections', NAMES, [
      {
        name: 'breaks of each',
        values: POLICIES.map((policy) => of(longLived, policy)?.breaksEach ?? null),
        text: formatRatio,
      },
      {
        name: 'fullest pod over an even share',
        values: POLICIES.map((policy) => of(longLived, policy)?.mostOverFair ?? null),
        text: formatRatio,
      },
    ]),
  )
}
