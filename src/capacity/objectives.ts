/**
 * What must hold for a rate to count as carried: threshold expressions over the figures of one run.
 *
 * Where several break in one run, the one furthest beyond its limit broke first.
 */
import { OBJECTIVE_SUBJECT } from '../report/capacity-fields.ts'
import type { BrokenObjective, Figures } from '../report/capacity-types.ts'
import { evaluateThresholds, parseExpression, type Threshold } from '../report/threshold.ts'
import type { Culprit, Culprits } from './figures.ts'

/** How close to the knee a search stops: a fraction of the rate. */
export const DEFAULT_TOLERANCE = 0.02

/**
 * Traffic gets through, soon, and nothing that a run can use up is used up: conntrack tables, source ports, CPUs of nodes
 * and of pods (where they are queues). Ports stop at 95 %: beyond, the kernel's bounded search fails now and then.
 */
export const DEFAULT_OBJECTIVES: readonly string[] = [
  'dropFraction < 0.001',
  'pathLatencyMicros.packet.p99 < 2ms',
  'conntrackFraction < 80%',
  'snatFraction < 95%',
  'cpuFraction < 95%',
  'podFraction < 95%',
]

/** @throws UserError `E_THRESHOLD`, exit code 2 */
export function parseObjectives(texts: readonly string[]): Threshold[] {
  return texts.map((text) => parseExpression(text, OBJECTIVE_SUBJECT))
}

/** The objectives that a run does not meet, furthest beyond its limit first. */
export function brokenObjectives(
  objectives: readonly Threshold[],
  figures: Figures,
  culprits: Culprits,
): BrokenObjective[] {
  return evaluateThresholds(objectives, figures)
    .filter(({ pass }) => !pass)
    .map(({ threshold, matches }): BrokenObjective => {
      const { value, limit } = matches[0]!
      const figure = figureOf(threshold.path)
      const culprit = culpritOf(figure, culprits)
      return {
        objective: threshold.text,
        figure,
        value,
        limit,
        excess: excessOf(threshold, value, limit),
        node: culprit?.node ?? null,
        service: culprit?.service ?? null,
        serviceShare: culprit?.serviceShare ?? null,
        reason: isLoss(figure) ? (culprits.drop?.reason ?? null) : null,
      }
    })
    .sort((a, b) => (weight(b) > weight(a) ? 1 : weight(b) < weight(a) ? -1 : 0))
}

/** Whether an objective can hang on how far conntrack tables have filled: then runs must be long enough for that. */
export function hangsOnTables({ path }: Threshold): boolean {
  const figure = figureOf(path)
  return figure === 'conntrackFraction' || figure === 'snatFraction' || isLoss(figure)
}

function figureOf(path: Threshold['path']): string {
  return path.map(({ name }) => name).join('.')
}

/** Who is behind a figure. Only conntrack entries are a Service's. */
function culpritOf(figure: string, culprits: Culprits): Culprit | null {
  if (figure === 'conntrackFraction') return culprits.conntrack
  if (isLoss(figure)) return culprits.drop?.reason === 'conntrack-full' ? culprits.drop : nodeOnly(culprits.drop)
  if (figure === 'snatFraction') return nodeOnly(culprits.snat)
  if (figure.startsWith('cpu')) return nodeOnly(culprits.cpu)
  if (figure === 'podFraction' || figure.startsWith('requestLatencyMicros.')) return culprits.pod
  return figure.startsWith('pathLatencyMicros.') ? nodeOnly(culprits.queue) : null
}

function isLoss(figure: string): boolean {
  return /^(dropFraction|failedFraction|brokenFraction|drops\.|delivered\.)/.test(figure)
}

function nodeOnly(culprit: Culprit | null): Culprit | null {
  return culprit === null ? null : { node: culprit.node, service: null, serviceShare: null }
}

function excessOf({ operator }: Threshold, value: number | null, limit: number | null): number | null {
  if (value === null || limit === null || limit === 0) return null
  return operator === '>' || operator === '>=' ? 1 - value / limit : value / limit - 1
}

/** Beyond a limit of 0, or with nothing recorded, is beyond all. */
function weight({ excess }: BrokenObjective): number {
  return excess ?? Number.POSITIVE_INFINITY
}
