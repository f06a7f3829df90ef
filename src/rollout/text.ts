/** A rollout report for people: in short, losses by cause, the timeline, preStop, one of each told, what was assumed. */
import { type Cell, listSection, type ReportDocument, type Section, textSection } from '../report/document.ts'
import { renderDocumentMarkdown } from '../report/markdown.ts'
import { renderDocumentText, type TextOptions } from '../report/text.ts'
import type { ThresholdResult } from '../report/threshold.ts'
import { thresholdLines } from '../report/threshold-lines.ts'
import { countOf, emulatesText, formatCount, formatPercent, formatSeconds } from '../report/units.ts'
import type { Policy } from './balancer.ts'
import { CAUSE_WORDS, type Cause, PHASE_WORDS } from './causes.ts'
import type { Picture } from './picture.ts'
import type { RolloutReport, Spread } from './report.ts'

const POLICY_NAMES: Readonly<Record<Policy, string>> = { cluster: 'Cluster', local: 'Local' }
const POLICIES = ['cluster', 'local'] as const

/** Two-space indent, `schemaVersion` first, a newline at the end. */
export function renderRolloutJson(report: RolloutReport, results: readonly ThresholdResult[]): string {
  const { schemaVersion, kind, ...rest } = report
  const thresholds = results.map(({ threshold, pass, matches }) => ({ threshold: threshold.text, pass, matches }))
  return `${JSON.stringify({ schemaVersion, kind, thresholds, ...rest }, null, 2)}\n`
}

export function renderRolloutText(
  report: RolloutReport,
  picture: Picture,
  results: readonly ThresholdResult[],
  options: TextOptions,
): string {
  return renderDocumentText(rolloutDocument(report, picture, results), options)
}

export function renderRolloutMarkdown(
  report: RolloutReport,
  picture: Picture,
  results: readonly ThresholdResult[],
): string {
  return renderDocumentMarkdown(rolloutDocument(report, picture, results))
}

export function rolloutDocument(
  report: RolloutReport,
  picture: Picture,
  results: readonly ThresholdResult[],
): ReportDocument {
  const { runs, connectionsPerSecond, proxyMode, emulates, controlPlane, services } = report
  return {
    title: `dpemu rollout${report.target === '' ? '' : ` ${report.target}`}`,
    subtitle: [
      `${countOf(runs, 'run')}, ${formatCount(connectionsPerSecond)} new connections a second, ${proxyMode}, control plane ${controlPlane.name}`,
      ...services.map(({ service, way, loadBalancer }) => `Service ${service}: ${wayWords(way, loadBalancer)}`),
      `as ${emulatesText(emulates)}`,
    ],
    sections: [
      ...(results.length === 0 ? [] : [textSection('Thresholds', thresholdLines(results))]),
      textSection('In short', inShort(report)),
      ...lossSection(report),
      ...longLivedSection(report),
      pictureSection(picture),
      ...preStopSection(report),
      ...toldSection(report),
      ...(report.derived.length === 0
        ? []
        : [
            listSection(
              'Assumed, and what says otherwise',
              report.derived.map(({ object, what }) => `${object}: ${what}`),
            ),
          ]),
    ],
  }
}

function wayWords(way: string, loadBalancer: string): string {
  if (way === 'names') return 'clients connect to the pods that its name stands for'
  if (way === 'ingress') return 'requests come by ingress-nginx, which sends them to pods'
  if (way === 'inside') return 'clients are pods, on all nodes alike'
  return loadBalancer === ''
    ? 'clients outside connect to all nodes alike'
    : `clients outside, by load balancer ${loadBalancer}`
}

/** Lost by policy and why, and the one change that makes it zero. */
export function inShort(report: RolloutReport): Cell[] {
  const lines: Cell[] = areAlike(report)
    ? [verdictOf(report, 'cluster', 'Cluster, and Local alike,')]
    : POLICIES.map((policy) => verdictOf(report, policy, POLICY_NAMES[policy]))
  const bad = POLICIES.filter((policy) => of(report.lost, policy).count > 0 || of(report.delayed, policy).count > 0)
  if (bad.length > 0) lines.push(remedy(report, bad))
  return lines
}

/** Where no balancer chooses among nodes, externalTrafficPolicy has no part in it. */
function areAlike({ losses }: RolloutReport): boolean {
  const [cluster, local] = POLICIES.map((policy) =>
    losses
      .filter((one) => one.policy === policy)
      .map(({ cause, clientSees, count }) => `${cause} ${clientSees} ${count}`)
      .join(),
  )
  return cluster === local
}

function verdictOf(report: RolloutReport, policy: Policy, name: string): Cell {
  const offered = of(report.offered, policy).count
  const lost = of(report.lost, policy)
  const delayed = of(report.delayed, policy)
  const main = mainLoss(report, policy, 'lost')
  const late = mainLoss(report, policy, 'delayed')
  const total = countOf(Math.round(offered), 'connection')
  const wait =
    delayed.count === 0 || late === null
      ? ''
      : ` ${about(delayed)} ${delayed.count === 1 ? 'is' : 'are'} late, since they had to be tried again: ${CAUSE_WORDS[late.cause]}.`
  if (lost.count === 0 || main === null) {
    return { text: `${name} loses none of ${total}.${wait}`, tone: wait === '' ? 'good' : 'plain' }
  }
  const share = lost.lostFraction
  const all = main.count >= lost.count * 0.995 ? 'all' : `${about(main)} of them`
  return {
    text: `${name} loses ${about(lost)} of ${total} (${formatPercent(share)}), ${all} ${main.clientSees}: ${CAUSE_WORDS[main.cause]}.${wait}`,
    tone: 'bad',
  }
}

interface Kind {
  readonly cause: Cause
  readonly clientSees: string
  count: number
}

/** The most frequent cause and sight of a policy, all Services together. */
function mainLoss({ losses }: RolloutReport, policy: Policy, outcome: 'lost' | 'delayed'): Kind | null {
  const kinds = new Map<string, Kind>()
  for (const { cause, clientSees, count, ...one } of losses) {
    if (one.policy !== policy || one.outcome !== outcome) continue
    const key = `${cause} ${clientSees}`
    const known = kinds.get(key)
    if (known === undefined) kinds.set(key, { cause, clientSees, count })
    else known.count += count
  }
  return [...kinds.values()].sort((a, b) => b.count - a.count)[0] ?? null
}

function remedy(report: RolloutReport, bad: readonly Policy[]): Cell {
  const causes = new Set(report.losses.filter(({ policy }) => bad.includes(policy)).map(({ cause }) => cause))
  if (report.safe !== null) {
    const found = report.safe.filter(({ policy }) => bad.includes(policy))
    const parts = found.map(({ policy, preStopSeconds, graceSeconds, leaves }) => {
      if (preStopSeconds === null) return `no preStop helps ${POLICY_NAMES[policy]}`
      const result =
        leaves === 0
          ? `makes ${POLICY_NAMES[policy]} zero`
          : `leaves ${POLICY_NAMES[policy]} ${short(leaves)} of other causes`
      return `a preStop of ${preStopSeconds} s with a grace period of ${graceSeconds} s ${result}`
    })
    const probe = found.find(({ readinessPeriodSeconds }) => readinessPeriodSeconds !== null)?.readinessPeriodSeconds
    if (probe != null) causes.delete('not-listening-yet')
    if (probe != null) parts[0] = `with a readinessProbe every ${probe} s ${parts[0]!}`
    const most = Math.max(...found.map(({ preStopSeconds }) => preStopSeconds ?? -1))
    const row = report.preStopTable.find(({ preStopSeconds }) => preStopSeconds === most)
    const price =
      row === undefined || row.rolloutSeconds < report.rollout.meanSeconds * 1.01
        ? ''
        : `; the rollout then takes ${formatSeconds(row.rolloutSeconds)} in place of ${formatSeconds(report.rollout.meanSeconds)}, with ${row.peakPods} pods at its peak`
    return sentence(`${parts.join(', ')}${price}${otherRemedy(causes)}`)
  }
  const needed = bad.map((policy) => ({ policy, seconds: of(report.neededPreStopSeconds, policy).neededSeconds }))
  const lags = needed.filter(({ seconds }) => seconds !== 0)
  const isOne = lags.length === 2 && lags[0]!.seconds === lags[1]!.seconds
  const parts = lags.slice(0, isOne ? 1 : 2).map(({ policy, seconds }, i) => {
    const where = isOne ? '' : `under ${POLICY_NAMES[policy]} `
    if (seconds === null) return `${where}some sender never learns of a deletion, and no preStop is long enough`
    return `${where}${i === 0 ? 'every sender knows of a deletion ' : ''}after ${seconds} s`
  })
  if (parts.length === 0) return sentence(`no sender was behind: what is lost has another cause${otherRemedy(causes)}`)
  const isKnown = lags.some(({ seconds }) => seconds !== null)
  const advice = isKnown
    ? ': with a preStop as long none is sent to a pod that has stopped (--safe finds the least, and what it costs)'
    : ''
  return sentence(`${parts.join(', ')}${advice}${otherRemedy(causes)}`)
}

function otherRemedy(causes: ReadonlySet<string>): string {
  if (causes.has('no-endpoint') || causes.has('ingress-503') || causes.has('no-target'))
    return '; for a time there is no pod at all: more replicas, or maxSurge 1 and maxUnavailable 0, keep one'
  if (causes.has('not-listening-yet')) return '; a readinessProbe keeps new pods out until they listen'
  if (causes.has('lb-reset')) return '; the balancer must not end connections of unhealthy targets'
  return ''
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`
}

function lossSection(report: RolloutReport): Section[] {
  const kinds = new Map<
    string,
    {
      readonly outcome: string
      readonly sees: string
      readonly cause: string
      readonly phase: string
      readonly counts: Map<Policy, Spread>
    }
  >()
  for (const one of report.losses) {
    const key = `${one.outcome} ${one.clientSees} ${one.cause} ${one.phase}`
    const kind = kinds.get(key) ?? {
      outcome: one.outcome,
      sees: one.clientSees,
      cause: one.cause,
      phase: PHASE_WORDS[one.phase],
      counts: new Map<Policy, Spread>(),
    }
    const known = kind.counts.get(one.policy)
    kind.counts.set(one.policy, known === undefined ? one : sum(known, one))
    kinds.set(key, kind)
  }
  if (kinds.size === 0) return []
  const cell = (spread: Spread | undefined): string =>
    spread === undefined ? '0' : `${formatCount(spread.p50)} (${formatCount(spread.p95)})`
  const rows = [...kinds.values()].map(({ sees, cause, phase, counts }): Cell[] => [
    sees,
    cause,
    phase,
    cell(counts.get('cluster')),
    cell(counts.get('local')),
  ])
  const gaps = report.gaps.map(
    ({ policy, p50Seconds, p95Seconds }) =>
      `${POLICY_NAMES[policy]} ${formatSeconds(p50Seconds)} (${formatSeconds(p95Seconds)})`,
  )
  return [
    {
      title: 'Losses by cause: median of the runs (95 %)',
      table: {
        head: ['client sees', 'cause', 'when', 'Cluster', 'Local'],
        align: ['left', 'left', 'left', 'right', 'right'],
        rows,
        runTable: false,
      },
      lines: [`Longest time in which none got through: ${gaps.join(', ')}.`],
      list: false,
    },
  ]
}

/** Of different Services; medians of sums are not sums of medians, but nearly. */
function sum(a: Spread, b: Spread): Spread {
  return { count: a.count + b.count, p50: a.p50 + b.p50, p95: a.p95 + b.p95, most: a.most + b.most }
}

function longLivedSection({ longLived }: RolloutReport): Section[] {
  if (longLived.every(({ breaksEach }) => breaksEach === 0)) return []
  const causes = [...new Set(longLived.flatMap(({ byCause }) => byCause.map(({ cause }) => cause)))]
  const cells = (pick: (one: RolloutReport['longLived'][number]) => number): string[] =>
    longLived.map((one) => pick(one).toFixed(2))
  const rows = [
    ['breaks of each', ...cells(({ breaksEach }) => breaksEach)],
    ...causes.map((cause) => [
      `  ${cause}`,
      ...cells(({ byCause }) => byCause.find((one) => one.cause === cause)?.breaksEach ?? 0),
    ]),
    ['on the pod with most, in even shares', ...cells(({ mostOverFair }) => mostOverFair)],
  ]
  const head = ['', ...longLived.map(({ policy }) => POLICY_NAMES[policy])]
  return [
    {
      title: 'Connections that clients keep open',
      table: { head, align: ['left', ...longLived.map(() => 'right' as const)], rows, runTable: false },
      lines: [],
      list: false,
    },
  ]
}

function pictureSection({ scale, rows, leftOut }: Picture): Section {
  return {
    title: 'Timeline of the first run',
    table: { head: ['', scale], align: ['left', 'left'], rows, runTable: false },
    lines: [
      ...(leftOut > 0
        ? [{ text: `... and ${countOf(leftOut, 'pod')} more (-o json has all)`, tone: 'quiet' as const }]
        : []),
      {
        text: 'Pods: ░ starting, █ ready, ▒ ending, · gone. Nodes: █ a target with a pod, x a target without, ─ no target.',
        tone: 'quiet',
      },
    ],
    list: false,
  }
}

function preStopSection({ preStopTable }: RolloutReport): Section[] {
  if (preStopTable.length === 0) return []
  const cell = (lost: number, delayed: number): string =>
    `${short(lost)}${delayed > 0 ? ` + ${short(delayed)} late` : ''}`
  return [
    {
      title: 'What preStop costs and saves: means over the runs',
      table: {
        head: ['preStop', 'grace period', 'lost under Cluster', 'lost under Local', 'rollout', 'pods at its peak'],
        align: ['right', 'right', 'right', 'right', 'right', 'right'],
        rows: preStopTable.map((row) => [
          `${row.preStopSeconds} s`,
          `${row.graceSeconds} s`,
          cell(row.lost.cluster, row.delayed.cluster),
          cell(row.lost.local, row.delayed.local),
          formatSeconds(row.rolloutSeconds),
          formatCount(row.peakPods),
        ]),
        runTable: false,
      },
      lines: [],
      list: false,
    },
  ]
}

/** One of each cause and policy. */
function toldSection({ firstRun }: RolloutReport): Section[] {
  const seen = new Set<string>()
  const lines = firstRun.told.flatMap(({ policy, cause, clientSees, story }): Cell[] => {
    if (seen.has(`${policy} ${cause}`)) return []
    seen.add(`${policy} ${cause}`)
    return [`${POLICY_NAMES[policy]}, ${clientSees} (${cause}):`, ...story.map((line) => `  ${line}`)]
  })
  return lines.length === 0 ? [] : [textSection('One of each, told', lines)]
}

function of<T extends { readonly policy: Policy }>(list: readonly T[], policy: Policy): T {
  return list.find((one) => one.policy === policy)!
}

function about({ count }: { readonly count: number }): string {
  return short(count)
}

/** Means below ten with a digit behind the point. */
function short(count: number): string {
  return count >= 10 || Number.isInteger(count)
    ? formatCount(Math.round(count))
    : count < 0.05
      ? '<0.1'
      : count.toFixed(1)
}
