/**
 * What chance has to do with the figures: with one draw what another could change, with several how far they agree.
 *
 * Shares of endpoints are the part that one seed decides most. A Service's share is the sum of independent choices: of connections,
 * or, under ClientIP affinity, of clients' entries, since those that follow go where the first went. Two standard deviations of a
 * binomial draw are what another seed easily moves a share by; clients that are not alike move it by more.
 */
import { drawsText } from './spread.ts'
import type { DrawsReport, ReplayReport, RunReport } from './types.ts'
import { countOf, formatCount } from './units.ts'

/** Of a fair share: less is told by no table. */
const WORTH_SAYING = 0.05
const MAX_SERVICES = 2

export function chanceLines(report: ReplayReport): string[] {
  return report.draws === null ? oneDraw(report) : agreementLines(report.draws)
}

interface Loose {
  readonly service: string
  readonly choices: number
  readonly fair: number
  /** Of the fair share. */
  readonly swing: number
  readonly byAffinity: boolean
}

function oneDraw(report: ReplayReport): string[] {
  const loosest = new Map<string, Loose>()
  for (const loose of report.runs.flatMap((run) => looseShares(run, report))) {
    const before = loosest.get(loose.service)
    if (before === undefined || loose.swing > before.swing) loosest.set(loose.service, loose)
  }
  const found = [...loosest.values()].filter(({ swing }) => swing >= WORTH_SAYING).sort((a, b) => b.swing - a.swing)
  if (found.length === 0) return []
  const parts = found.slice(0, MAX_SERVICES).map(({ service, choices, fair, swing, byAffinity }) => {
    const why = byAffinity
      ? `${countOf(choices, 'choice')} for clients with ClientIP affinity`
      : countOf(choices, 'connection')
    const points = Number((swing * fair * 100).toPrecision(2))
    return `an endpoint's share of ${service} by ${points} points${byAffinity ? ' or more' : ''} (${why} decide it)`
  })
  const more = found.length - parts.length
  const rest = more > 0 ? `, and shares of ${countOf(more, 'more Service port')}` : ''
  return [`This is one seed: another easily moves ${parts.join(' and ')}${rest}. --seeds 10 gives medians and ranges.`]
}

function looseShares(run: RunReport, { comparedServices }: ReplayReport): Loose[] {
  // A proxy has few connections to backends, and shares out requests: those it counts, and leaves nothing to chance.
  if (run.ingress !== null) return []
  const wanted = new Set(comparedServices)
  const misses = run.nodes.reduce((sum, node) => sum + node.affinityMisses, 0)
  const hits = run.nodes.reduce((sum, node) => sum + node.affinityHits, 0)
  const totals = new Map<string, number>()
  for (const { service, connections } of run.endpoints) totals.set(service, (totals.get(service) ?? 0) + connections)
  return run.imbalance.flatMap(({ service, endpoints }) => {
    const isCompared = wanted.size === 0 || wanted.has(service.replace(/:[^:]*$/, ''))
    const connections = totals.get(service) ?? 0
    if (!isCompared || endpoints < 2 || connections === 0) return []
    // Each connection of a Service with affinity is a hit or a miss.
    const byAffinity = hits > 0 && hits + misses >= connections
    const choices = byAffinity ? Math.max(1, Math.min(misses, connections)) : connections
    const fair = 1 / endpoints
    const swing = Math.min(1 / fair - 1, 2 * Math.sqrt((1 - fair) / (fair * choices)))
    return [{ service, choices, fair, swing, byAffinity }]
  })
}

/** How far the answer depends on what was drawn. */
function agreementLines(draws: DrawsReport): string[] {
  const pairs = [...new Set(draws.advice.map(({ pair }) => pair))]
  return pairs.map((pair) => {
    const answers = draws.advice.filter((one) => one.pair === pair).sort((a, b) => b.draws - a.draws)
    const of = pairs.length === 1 ? '' : `${pair}: `
    const [first] = answers
    if (answers.length === 1)
      return `${of}Each of ${drawsText(draws)} by itself gives the same answer: ${first!.answer}.`
    const parts = answers.map(({ answer, draws: count }) => `${answer} in ${formatCount(count)}`)
    return `${of}Of ${drawsText(draws)}, each by itself, the answer is ${parts.join(', ')}: it depends on ${dependsOn(draws)}.`
  })
}

function dependsOn({ seeds, placements }: DrawsReport): string {
  if (placements.length === 1) return 'chance'
  return seeds.length === 1 ? 'where the scheduler puts the pods' : 'chance and on where the scheduler puts the pods'
}
