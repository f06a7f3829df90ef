/** What a Timeline costs clients, as sections: lost and late by cause and policy, what happened, one connection told. */
import { CAUSE_WORDS, type Cause } from '../rollout/causes.ts'
import { type Cell, listSection, type Section, shorten, textSection } from './document.ts'
import type { TimelineReport } from './timeline-types.ts'
import type { ReplayReport } from './types.ts'
import { countOf, formatCount, formatPercent, formatSeconds } from './units.ts'

const MAX_EVENTS = 12
const NAMES: Readonly<Record<string, string>> = { cluster: 'Cluster', local: 'Local', 'as-is': 'As written' }

export function timelineSections({ timeline }: ReplayReport): Section[] {
  if (timeline === undefined) return []
  return [lossSection(timeline), eventSection(timeline), ...toldSection(timeline), ...assumedSection(timeline)]
}

function lossSection(timeline: TimelineReport): Section {
  const { delayed, gaps, losses, lost, offered, runs } = timeline
  const policies = lost.map(({ policy }) => policy)
  const kinds = new Map<string, { readonly labels: readonly string[]; readonly counts: Map<string, number> }>()
  for (const { cause, clientSees, count, outcome, policy, service } of losses) {
    const key = [outcome, clientSees, cause, service].join()
    const kind = kinds.get(key) ?? { labels: [outcome, clientSees, cause, service], counts: new Map<string, number>() }
    kind.counts.set(policy, (kind.counts.get(policy) ?? 0) + count)
    kinds.set(key, kind)
  }
  const lines = lost.map((one, i): Cell => {
    const main = mainCause(timeline, one.policy)
    const total = countOf(Math.round(offered[i]!.count), 'connection')
    const late = delayed[i]!.count === 0 ? '' : `; ${formatCount(delayed[i]!.count)} late, since they were tried again`
    const gap = gaps[i]!.p50Seconds > 0 ? `; none got through for ${formatSeconds(gaps[i]!.p50Seconds)}` : ''
    const name = NAMES[one.policy] ?? one.policy
    if (one.count === 0) return { text: `${name} loses none of ${total}${late}.`, tone: late === '' ? 'good' : 'plain' }
    const why = main === null ? '' : `, mostly: ${CAUSE_WORDS[main as Cause]}`
    return {
      text: `${name} loses ${formatCount(one.count)} of ${total} (${formatPercent(one.lostFraction)})${why}${late}${gap}.`,
      tone: 'bad',
    }
  })
  return {
    title: `Lost by clients over the timeline${runs === 1 ? '' : `: means of ${countOf(runs, 'course')}`}`,
    table:
      kinds.size === 0
        ? null
        : {
            head: ['', 'client sees', 'cause', 'Service', ...policies.map((policy) => NAMES[policy] ?? policy)],
            align: ['left', 'left', 'left', 'left', ...policies.map(() => 'right' as const)],
            rows: [...kinds.values()].map(({ labels, counts }) => [
              ...labels,
              ...policies.map((policy) => formatCount(counts.get(policy) ?? 0)),
            ]),
            runTable: false,
          },
    lines,
    list: false,
  }
}

function mainCause({ losses }: TimelineReport, policy: string): string | null {
  const byCause = new Map<string, number>()
  for (const one of losses)
    if (one.policy === policy && one.outcome === 'lost')
      byCause.set(one.cause, (byCause.get(one.cause) ?? 0) + one.count)
  return [...byCause].sort((a, b) => b[1] - a[1])[0]?.[0] ?? null
}

function eventSection({ events, moments, otherConnections, source }: TimelineReport): Section {
  const lines = events.map(({ atSeconds, what }) => `${formatSeconds(atSeconds)}: ${what}`)
  const others =
    otherConnections === 0 ? '' : ` ${countOf(otherConnections, 'connection')} to other destinations are not counted.`
  return listSection(`Timeline ${source}`, [
    ...shorten(lines, MAX_EVENTS),
    {
      text: `Packets met ${countOf(moments, 'rule set')} in turn; a SYN that fails counts as failed there, while here it is sent again.${others}`,
      tone: 'quiet',
    },
  ])
}

function toldSection({ told }: TimelineReport): Section[] {
  const [first] = told
  if (first === undefined) return []
  const title = `One connection told (${NAMES[first.policy] ?? first.policy}, ${first.cause}, ${first.clientSees})`
  return [textSection(title, first.story)]
}

function assumedSection({ derived }: TimelineReport): Section[] {
  if (derived.length === 0) return []
  const lines = derived.map(({ object, what }) => `${object}: ${what}`)
  return [listSection('Assumed of the timeline, and what says otherwise', lines)]
}
