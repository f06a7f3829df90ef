/**
 * What the runs come to, for the one who has to decide: each effect with its size, what gets worse before what gets better, then one
 * sentence of advice and what the answer depends on.
 *
 * Runs are compared in pairs: Local with Cluster of the same proxy mode and way in; where the policies do not differ, each further
 * run with the first. A figure that differs by less than 5 % is called equal (the histogram's buckets are about as wide); every figure
 * that gets worse by more than a fifth is said, held by a property test. A single run says what failed and what is uneven.
 *
 * Over several draws (seeds, placements) each draw is judged by itself: an effect is said where nine in ten draws have it and the
 * medians agree, otherwise it is not decided, which is said too.
 */
import { advise } from './advice.ts'
import { type Figure, figuresOf, type Shares, sharesOf } from './figures.ts'
import { runNames } from './run-names.ts'
import { describedText, fragmentOf, outcomeText, sentenceOf, undecidedText } from './sentences.ts'
import { drawsText, type Spread } from './spread.ts'
import type { ReplayReport, RunReport } from './types.ts'
import { formatCount } from './units.ts'

export type Direction = 'worse' | 'undecided' | 'better' | 'same' | 'advice'

export interface Conclusion {
  /** `connections-failed`, `request-p99`, `client-address`, … and `advice`. */
  readonly effect: string
  /** Of the second run against the first; `same`: a fault of both; `undecided`: the draws differ; `advice`: what to do. */
  readonly direction: Direction
  /** Path in the report, below `runs[]`; '' for advice. */
  readonly evidence: string
  /** Service port, or '' for the whole run. */
  readonly service: string
  /**
   * Of each run, named as in the tables, the first of the pair first; of client addresses and hops, connections. Over draws the median,
   * with the least and the most.
   */
  readonly values: readonly (Partial<Spread> & { readonly run: string; readonly value: number })[]
  /** Draws that have it; only where there are several. */
  readonly draws?: number
  /** Of advice: `Local`, `Local at a cost`, `not Local`, `Cluster`, `no difference`, `undecided`; and of which pair of runs. */
  readonly answer?: string
  readonly pair?: string
  readonly sentence: string
}

/** With what a list of several of the same run and Service is written from: `path latency p50 54.7 µs instead of 567 µs`. */
interface Told extends Conclusion {
  readonly subject?: string
  readonly fragment?: string
}

/** A pair of runs and what they are called. */
export interface Pair {
  readonly base: RunReport
  readonly other: RunReport
  readonly baseName: string
  readonly otherName: string
}

/** A pair as one draw has it. */
export interface Scene extends Pair {
  readonly baseShares: Shares
  readonly otherShares: Shares
}

/** A figure of one run over the draws: the median, and what each draw has; `spread` is null where there is one draw. */
export interface Drawn {
  readonly figure: Figure
  readonly value: number
  readonly spread: Spread | null
}

/** An effect as sentences need it. */
export interface Effect {
  readonly pair: Pair
  /** By draw. */
  readonly scenes: readonly Scene[]
  readonly base: Drawn
  readonly other: Drawn
  readonly direction: Direction
  /** `10 seeds`; '' where there is one draw. */
  readonly draws: string
  /** Draws that go the same way. */
  readonly agreeing: number
  readonly directions: readonly (Direction | null)[]
}

/** Below it two figures are called equal. */
const NOISE = 0.05
/** Two ratios of fullest to mean nearer than this are told as one finding: both are uneven. */
const MUCH_MORE = 1.5
const SENTENCES_OF_AN_EFFECT = 2
/** Of the draws: fewer decide nothing. */
const DECISIVE = 0.9

/** The sentences, figures of one Service in one, and of many Services with the same effect the first; never empty. */
export function conclude(report: ReplayReport): string[] {
  const all = told(report)
  const totals = new Map<string, number>()
  for (const one of all) totals.set(kindOf(one), (totals.get(kindOf(one)) ?? 0) + 1)
  const counts = new Map<string, number>()
  const sentences: string[] = []
  let subject: string | null = null
  for (const one of all) {
    const kind = kindOf(one)
    const count = (counts.get(kind) ?? 0) + 1
    counts.set(kind, count)
    if (one.service !== '' && count > SENTENCES_OF_AN_EFFECT) continue
    const left = one.service === '' || count < SENTENCES_OF_AN_EFFECT ? 0 : (totals.get(kind) ?? 0) - count
    const more = left === 0 ? '' : ` (${formatCount(left)} more ${left === 1 ? 'Service' : 'Services'} likewise)`
    if (one.subject !== undefined && one.subject === subject) {
      sentences.push(`${sentences.pop()!.slice(0, -1)}, ${one.fragment}${more}.`)
    } else sentences.push(`${one.sentence.slice(0, -1)}${more}.`)
    subject = one.subject ?? null
  }
  return sentences
}

/** What is said of several Services. */
function kindOf({ effect, direction, subject, service }: Told): string {
  return `${effect} ${direction} ${service === '' ? '' : (subject?.split(', ')[0] ?? '')}`
}

/** The same one by one, for `conclusion` in the JSON. */
export function conclusionsOf(report: ReplayReport): Conclusion[] {
  return told(report).map(({ subject: _, fragment: __, ...conclusion }) => conclusion)
}

function told(report: ReplayReport): Told[] {
  const pairs = pairsOf(report)
  if (pairs.length === 0) return describeRuns(report)
  // Every draw has the same runs in the same order.
  const drawn = report.draws?.each?.map((runs) => pairsOf({ ...report, runs: [...runs] }))
  const groups = new Map<string, { names: string[]; conclusions: Told[] }>()
  for (const [i, pair] of pairs.entries()) {
    const conclusions = comparePair(pair, drawn?.map((draw) => draw[i]!) ?? [pair], report)
    const text = conclusions.map(({ sentence }) => sentence).join('\n')
    const before = groups.get(text)
    if (before === undefined) groups.set(text, { names: [pairName(pair)], conclusions })
    else before.names.push(pairName(pair))
  }
  const all = [...groups.values()].flatMap(({ names, conclusions }) =>
    groups.size === 1 || names[0] === '' ? conclusions : conclusions.map((one) => prefixed(one, names.join(', '))),
  )
  // What holds of every run is said of the first pair only.
  const said = new Set<string>()
  return all.filter(({ direction, sentence }) => {
    const isNew = !said.has(sentence)
    if (direction === 'same') said.add(sentence)
    return isNew
  })
}

function prefixed(one: Told, name: string): Told {
  const subject = one.subject === undefined ? {} : { subject: `${name}: ${one.subject}` }
  return { ...one, ...subject, sentence: `${name}: ${one.sentence}` }
}

/** Local against Cluster where there are both; else every further run against the first. */
function pairsOf({ runs }: ReplayReport): Pair[] {
  const policies = runs.flatMap((other) => {
    if (other.policy !== 'local') return []
    const base = runs.find(
      (run) => run.policy === 'cluster' && run.proxyMode === other.proxyMode && run.ingressPath === other.ingressPath,
    )
    return base === undefined ? [] : [{ base, other, baseName: 'Cluster', otherName: 'Local' }]
  })
  if (policies.length > 0) return policies
  const names = runNames(runs)
  const [base, ...others] = runs
  return others.map((other, i) => ({ base: base!, other, baseName: names[0]!, otherName: names[i + 1]! }))
}

/** What tells pairs of one report apart: proxy mode and way in. */
function pairName({ other, otherName }: Pair): string {
  return otherName === 'Local' ? [other.proxyMode, other.ingressPath ?? ''].filter((part) => part !== '').join(' ') : ''
}

function comparePair(pair: Pair, draws: readonly Pair[], report: ReplayReport): Told[] {
  const scenes = draws.map(
    (runs): Scene => ({ ...runs, baseShares: sharesOf(runs.base), otherShares: sharesOf(runs.other) }),
  )
  const figures = scenes.map(({ base, other }) => [byKey(base, report), byKey(other, report)] as const)
  const text = report.draws?.each === undefined ? '' : drawsText(report.draws)
  const found: Told[] = []
  for (const figure of figuresOf(pair.other, report)) {
    const key = keyOf(figure)
    const both = figures.map(([bases, others]) => [bases.get(key), others.get(key)] as const)
    const [base, other] = [over(both.map(([one]) => one)), over(both.map(([, one]) => one))]
    if (base === null || other === null) continue
    const directions = both.map(([a, b], draw) =>
      a === undefined || b === undefined ? null : directionOf(scenes[draw]!, a, b),
    )
    const direction = decided(directions, base.value, other.value)
    if (direction === null) continue
    const agreeing = directions.filter((one) => one === direction).length
    found.push(tell({ pair, scenes, base, other, direction, draws: text, agreeing, directions }))
  }
  const order: Direction[] = ['worse', 'undecided', 'same', 'better']
  const sorted = order.flatMap((direction) => found.filter((one) => one.direction === direction))
  return [...sorted, { ...advise(pair, sorted, report), pair: pairName(pair) || `${pair.baseName}, ${pair.otherName}` }]
}

function byKey(run: RunReport, report: ReplayReport): ReadonlyMap<string, Figure> {
  return new Map(figuresOf(run, report).map((figure) => [keyOf(figure), figure]))
}

function keyOf({ effect, of }: Figure): string {
  return `${effect} ${of}`
}

/** Over the draws that have the figure; null where none has. */
function over(figures: readonly (Figure | undefined)[]): Drawn | null {
  const there = figures.filter((figure) => figure !== undefined)
  const [figure] = there
  if (figure === undefined) return null
  if (figures.length === 1) return { figure, value: figure.value, spread: null }
  const values = there.map(({ value }) => value).sort((a, b) => a - b)
  const value = values[Math.ceil(values.length / 2) - 1]!
  return { figure, value, spread: { least: values[0]!, most: values.at(-1)! } }
}

/** What nine in ten draws say and the medians do not contradict; null where it is no matter to nine in ten. */
function decided(directions: readonly (Direction | null)[], base: number, other: number): Direction | null {
  if (directions.length === 1) return directions[0]!
  const enough = Math.ceil(directions.length * DECISIVE)
  const counts = new Map<Direction | null, number>()
  for (const direction of directions) counts.set(direction, (counts.get(direction) ?? 0) + 1)
  const agreed = [...counts].find(([, count]) => count >= enough)
  if (agreed === undefined) return 'undecided'
  const [direction] = agreed
  const isContradicted = (direction === 'worse' && other <= base) || (direction === 'better' && other >= base)
  return isContradicted ? 'undecided' : direction
}

/** Whether the second is worse, better, or as bad as the first in one draw; null where it is no matter. */
function directionOf(scene: Scene, base: Figure, after: Figure): Direction | null {
  const [a, b] = [base.value, after.value]
  if (Math.max(a, b) < after.matters) return null
  const { baseShares, otherShares } = scene
  const [before, now] = [baseShares.uneven.has(after.of), otherShares.uneven.has(after.of)]
  if (after.effect === 'imbalance') {
    const near = Math.max(a, b) <= MUCH_MORE * Math.min(a, b)
    if (Math.min(a, b) >= after.matters && near && before && now) return 'same'
  }
  if (Math.abs(a - b) > NOISE * Math.max(a, b)) {
    const direction = b > a ? 'worse' : 'better'
    // A share that chance explains is no finding.
    if (after.effect === 'imbalance' && !(direction === 'worse' ? now : before)) return null
    return direction
  }
  if (!ALWAYS_SAID.has(after.effect) || Math.min(a, b) < after.matters) return null
  return after.effect === 'imbalance' && !(before && now) ? null : 'same'
}

/** Faults that are worth a sentence where both runs have them alike. */
const ALWAYS_SAID = new Set([
  ...['connections-failed', 'network-policy', 'connections-broken', 'requests-failed', 'requests-refused'],
  'names-failed',
  ...['imbalance', 'request-imbalance', 'conntrack', 'source-ports', 'cpu', 'pod-cpu'],
])

function tell(effect: Effect): Told {
  const { pair, base, other, direction, draws, agreeing } = effect
  const { effect: name, evidence, of } = other.figure
  const conclusion = {
    effect: name,
    direction,
    evidence,
    service: of,
    values: [
      { run: pair.baseName, value: base.value, ...base.spread },
      { run: pair.otherName, value: other.value, ...other.spread },
    ],
    ...(draws === '' ? {} : { draws: agreeing }),
  }
  if (direction === 'undecided') return { ...conclusion, sentence: undecidedText(effect) }
  const sentence = sentenceOf(effect)
  if (sentence !== null) return { ...conclusion, sentence }
  const subject = of === '' ? pair.otherName : `${pair.otherName}, ${of}`
  const fragment = fragmentOf(effect)
  return { ...conclusion, sentence: `${subject}: ${fragment}.`, subject, fragment }
}

/** One run after the other, with their names where they differ; the same once. */
function describeRuns(report: ReplayReport): Conclusion[] {
  return report.runs.flatMap((run, i) => describeRun(run, report.draws?.each?.map((runs) => runs[i]!) ?? [run], report))
}

/** @param drawn  the run in each draw */
function describeRun(run: RunReport, drawn: readonly RunReport[], report: ReplayReport): Conclusion[] {
  const name = runNames([run])[0]!
  const draws = report.draws?.each === undefined ? '' : drawsText(report.draws)
  const scenes = drawn.map((one) => ({ run: one, shares: sharesOf(one), figures: byKey(one, report) }))
  const said: Conclusion[] = []
  const say = (one: Drawn, agreeing: number, direction: 'same' | 'undecided', sentence: string): void => {
    const { effect, evidence, of } = one.figure
    const values = [{ run: name, value: one.value, ...one.spread }]
    const holding = draws === '' ? {} : { draws: agreeing }
    said.push({ effect, direction, evidence, service: of, values, ...holding, sentence })
  }
  for (const figure of figuresOf(run, report)) {
    if (!ALWAYS_SAID.has(figure.effect)) continue
    const each = scenes.map(({ figures }) => figures.get(keyOf(figure)))
    const one = over(each)
    if (one === null) continue
    if (figure.effect === 'connections-failed') {
      const failures = { ...one, figure: { ...figure, evidence: 'connections.failed' } }
      say(failures, scenes.length, 'same', outcomeText(run, one))
      continue
    }
    const found = each.filter((other, draw) => other !== undefined && isFault(other, scenes[draw]!.shares)).length
    if (found === 0) continue
    const direction = found >= Math.ceil(scenes.length * DECISIVE) ? 'same' : 'undecided'
    say(one, found, direction, describedText(one, scenes, direction === 'undecided' ? `${found} of ${draws}` : ''))
  }
  return said
}

function isFault({ effect, of, value, matters }: Figure, shares: Shares): boolean {
  return value >= matters && value > 0 && (effect !== 'imbalance' || shares.uneven.has(of))
}
