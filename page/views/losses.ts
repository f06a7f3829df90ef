/** What a change costs clients, of a rollout or of a replay's Timeline: losses by cause, over time, and one of each told. */
import type { RolloutJson } from '../../src/report/html/page-data.ts'
import { formatCount } from '../../src/report/units.ts'
import { barChart } from '../charts/bars.ts'
import { newGroup } from '../charts/group.ts'
import { lineChart } from '../charts/line.ts'
import { h, shown } from '../dom.ts'
import { numbers, table } from '../table.ts'
import { grid, type Part, part, timeText, titled } from './section.ts'

type Losses = Pick<RolloutJson, 'lost' | 'losses' | 'overTime'>
type Happening = RolloutJson['firstRun']['events'][number]
type Told = RolloutJson['firstRun']['told']

const NAMES: Readonly<Record<string, string>> = { cluster: 'Cluster', local: 'Local', 'as-is': 'As written' }

export function policyName(policy: string): string {
  return NAMES[policy] ?? policy
}

export function lossesPart({ losses, lost }: Losses, words: Readonly<Record<string, string>>): Part | null {
  const policies = lost.map(({ policy }) => policy)
  if (losses.length === 0)
    return part('losses', 'Losses by cause', '', h('p', { class: 'good' }, '✓ No connection is lost or late.'))
  const causes = [...new Set(losses.map(({ cause, clientSees }) => JSON.stringify([clientSees, cause])))].map(
    (key) => JSON.parse(key) as [string, string],
  )
  return part(
    'losses',
    'Losses by cause',
    'Connections a run, by what the client sees and why.',
    barChart({
      label: 'Connections lost or late, by cause',
      rows: causes.map(([sees, cause]) => ({
        name: `${sees}: ${cause}`,
        values: policies.map((policy) =>
          losses
            .filter((loss) => loss.policy === policy && loss.cause === cause && loss.clientSees === sees)
            .reduce((sum, { count }) => sum + count, 0),
        ),
      })),
      runs: policies.map(policyName),
      format: formatCount,
      noun: 'causes',
    }),
    table(
      'Losses',
      [
        { head: 'cause', value: ({ cause }) => cause },
        { head: 'what that is', value: ({ cause }) => words[cause] ?? '' },
        { head: 'policy', value: ({ policy }) => policyName(policy) },
        { head: 'Service', value: ({ service }) => service },
        { head: 'client sees', value: ({ clientSees }) => clientSees },
        { head: 'outcome', value: ({ outcome }) => outcome },
        { head: 'when', value: ({ phase }) => words[phase] ?? phase },
        { head: 'mean', value: ({ count }) => count, text: ({ count }) => formatCount(count) },
        { head: 'median', value: ({ p50 }) => p50, text: ({ p50 }) => formatCount(p50) },
        { head: '95 %', value: ({ p95 }) => p95, text: ({ p95 }) => formatCount(p95) },
        { head: 'most', value: ({ most }) => most, text: ({ most }) => formatCount(most) },
      ],
      losses,
    ),
  )
}

export function lossesOverTimePart({ overTime }: Losses, events: readonly Happening[]): Part | null {
  const group = newGroup()
  const marks = events.map(({ atSeconds, what }) => ({ at: atSeconds, text: what }))
  const chart = (title: string, key: 'lost' | 'delayed'): HTMLElement | null => {
    if (overTime.every((one) => one[key].every((count) => count === 0))) return null
    return titled(
      title,
      lineChart({
        label: `${title} over time`,
        lines: overTime.map((one, index) => ({
          name: policyName(one.policy),
          index,
          x: one[key].map((_, second) => second),
          y: one[key],
        })),
        x: { title: 'time; lines up and down are events of the first run', format: timeText },
        y: { title: 'a second, mean of the runs', format: formatCount, from: 0 },
        steps: true,
        marks,
        group,
      }),
    )
  }
  const charts = [chart('Connections lost', 'lost'), chart('Connections late', 'delayed')]
  if (charts.every((one) => one === null)) return null
  const seconds = overTime[0]?.lost.map((_, second) => second) ?? []
  return part(
    'losses-time',
    'Losses over time',
    '',
    grid(...charts),
    numbers(
      'losses by second',
      [
        { head: 'second', value: (second: number) => second },
        ...overTime.flatMap(({ policy, lost, delayed }) => [
          { head: `lost, ${policyName(policy)}`, value: (second: number) => lost[second] ?? 0 },
          { head: `late, ${policyName(policy)}`, value: (second: number) => delayed[second] ?? 0 },
        ]),
      ],
      seconds,
    ),
  )
}

export function toldPart(told: Told): Part | null {
  if (told.length === 0) return null
  return part(
    'told',
    'One of each, told',
    'A connection of the first run for every way in which one was lost or late.',
    grid(
      ...told.map(({ policy, service, cause, clientSees, story }) =>
        titled(
          `${policyName(policy)}, ${shown(service)}: ${clientSees}, ${cause}`,
          h('ol', { class: 'story' }, ...story.map((line) => h('li', {}, shown(line)))),
        ),
      ),
    ),
  )
}
