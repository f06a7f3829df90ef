/**
 * What the runs come to, for the one who has to decide: each effect with its size, what gets worse before what gets better, then one
 * sentence of advice and what the answer depends on.
 *
 * Runs are compared in pairs: Local with Cluster of the same proxy mode and way in; where the policies do not differ, each further
 * run with the first. A figure that differs by less than 5 % is called equal (the histogram's buckets are about as wide); every figure
 * that gets worse by more than a fifth is said, held by a property test. A single run says what failed and what is uneven.
 */
import { advise, policyRemedy, remedyOf } from './advice.ts'
import { type Figure, figuresOf, type Shares, sharesOf, type Uneven } from './figures.ts'
import { reasonSentence } from './reasons.ts'
import { runNames } from './run-names.ts'
import type { EndpointReport, ReplayReport, RunReport } from './types.ts'
import { formatCount, formatPercent } from './units.ts'

export type Direction = 'worse' | 'better' | 'same' | 'advice'

export interface Conclusion {
  /** `connections-failed`, `request-p99`, `client-address`, … and `advice`. */
  readonly effect: string
  /** Of the second run against the first; `same`: a fault of both; `advice`: what to do. */
  readonly direction: Direction
  /** Path in the report, below `runs[]`; '' for advice. */
  readonly evidence: string
  /** Service port, or '' for the whole run. */
  readonly service: string
  /** Of each run, named as in the tables, the first of the pair first; of client addresses and hops, connections. */
  readonly values: readonly { readonly run: string; readonly value: number }[]
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

interface Scene extends Pair {
  readonly baseShares: Shares
  readonly otherShares: Shares
}

/** Below it two figures are called equal. */
const NOISE = 0.05
/** Two ratios of fullest to mean nearer than this are told as one finding: both are uneven. */
const MUCH_MORE = 1.5
const SENTENCES_OF_AN_EFFECT = 2

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
  const groups = new Map<string, { names: string[]; conclusions: Told[] }>()
  for (const pair of pairs) {
    const conclusions = comparePair(pair, report)
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

function comparePair(runs: Pair, report: ReplayReport): Told[] {
  const pair: Scene = { ...runs, baseShares: sharesOf(runs.base), otherShares: sharesOf(runs.other) }
  const before = new Map(figuresOf(pair.base, report).map((figure) => [keyOf(figure), figure]))
  const found: Told[] = []
  for (const after of figuresOf(pair.other, report)) {
    const base = before.get(keyOf(after))
    if (base === undefined) continue
    const direction = unevenUnderBoth(pair, base, after) ? 'same' : directionOf(base, after)
    if (direction !== null) found.push(tell(pair, base, after, direction))
  }
  const kept = found.filter(({ sentence }) => sentence !== '')
  const order: Direction[] = ['worse', 'same', 'better']
  const sorted = order.flatMap((direction) => kept.filter((one) => one.direction === direction))
  return [...sorted, advise(pair, sorted, report)]
}

function keyOf({ effect, of }: Figure): string {
  return `${effect} ${of}`
}

/** Whether the second is worse, better, or as bad as the first; null where it is no matter. */
function directionOf(base: Figure, after: Figure): Direction | null {
  const [a, b] = [base.value, after.value]
  if (Math.max(a, b) < after.matters) return null
  if (Math.abs(a - b) > NOISE * Math.max(a, b)) return b > a ? 'worse' : 'better'
  return ALWAYS_SAID.has(after.effect) && Math.min(a, b) >= after.matters ? 'same' : null
}

/** Faults that are worth a sentence where both runs have them alike. */
const ALWAYS_SAID = new Set([
  ...[
    'connections-failed',
    'network-policy',
    'connections-broken',
    'requests-failed',
    'requests-refused',
    'names-failed',
  ],
  ...['imbalance', 'request-imbalance', 'conntrack', 'source-ports', 'cpu', 'pod-cpu'],
])

function tell(pair: Scene, base: Figure, after: Figure, direction: Direction): Told {
  const { baseName, otherName } = pair
  const conclusion = {
    effect: after.effect,
    direction,
    evidence: after.evidence,
    service: after.of,
    values: [
      { run: baseName, value: base.value },
      { run: otherName, value: after.value },
    ],
  }
  const sentence = sentenceOf(pair, base, after, direction)
  if (sentence !== null) return { ...conclusion, sentence }
  const subject = after.of === '' ? otherName : `${otherName}, ${after.of}`
  const [a, b] = [base.format(base.value), after.format(after.value)]
  const fragment = `${after.label} ${b} instead of ${a}${factor(base.value, after.value)}`
  return { ...conclusion, sentence: `${subject}: ${fragment}.`, subject, fragment }
}

/** A Service whose fullest endpoint is above chance under both, and not much more so under one of them. */
function unevenUnderBoth(pair: Scene, base: Figure, after: Figure): boolean {
  if (after.effect !== 'imbalance' || Math.min(base.value, after.value) < after.matters) return false
  if (Math.max(base.value, after.value) > MUCH_MORE * Math.min(base.value, after.value)) return false
  return pair.baseShares.uneven.has(after.of) && pair.otherShares.uneven.has(after.of)
}

/** null: a fragment will do. */
function sentenceOf(pair: Scene, base: Figure, after: Figure, direction: Direction): string | null {
  const { baseName, otherName } = pair
  const [a, b] = [base.format(base.value), after.format(after.value)]
  const worse = direction === 'worse' ? pair.other : pair.base
  switch (after.effect) {
    case 'connections-failed':
      return direction === 'same'
        ? `Either way, ${b} of connections fail${mainReason(pair.other)}.`
        : `${otherName}: ${b} of connections fail (${baseName}: ${a})${mainReason(worse)}.`
    case 'network-policy': {
      const how = policyRemedy(worse, direction === 'same' ? null : worse === pair.other ? pair.base : pair.other)
      return direction === 'same'
        ? `Either way, NetworkPolicies drop ${b} of connections: ${how}.`
        : `${otherName}: NetworkPolicies drop ${b} of connections (${baseName}: ${a}); ${direction === 'worse' ? otherName : baseName}: ${how}.`
    }
    case 'requests-failed':
    case 'requests-refused':
      return direction === 'same'
        ? `Either way, ${b} of requests are answered ${statusesOf(pair.other, after.effect)}.`
        : `${otherName}: ${b} of requests are answered ${statusesOf(worse, after.effect)} (${baseName}: ${a}).`
    case 'client-address':
      return clientAddress(pair, base.value, after.value)
    case 'crossings':
      return crossings(pair, base.value, after.value)
    case 'imbalance':
      return imbalance(pair, after.of, direction)
    default: {
      const of = after.of === '' ? '' : ` of ${after.of}`
      return direction === 'same' ? `Either way, ${after.label}${of}: ${b}.` : null
    }
  }
}

/** ` (13 times)` where it is twice and more. */
function factor(before: number, after: number): string {
  if (before <= 0 || after <= 0) return ''
  const times = Math.max(before, after) / Math.min(before, after)
  return times < 2 ? '' : after > before ? ` (${times.toFixed(times < 10 ? 1 : 0)} times)` : ''
}

function clientAddress({ baseName, otherName, other, base }: Pair, before: number, after: number): string {
  const text = (run: RunReport, hidden: number, what: string): string => {
    const [count, all] = [Math.round(hidden), run.connections.established]
    if (count === 0) return `keeps ${what} on every connection`
    return `hides ${what} on ${count === all ? 'every connection' : `${formatCount(count)} of ${formatCount(all)} connections`}`
  }
  return `${otherName} ${text(other, after, 'the client address')}; ${baseName} ${text(base, before, 'it')}.`
}

function crossings({ baseName, otherName, other }: Pair, before: number, after: number): string {
  const difference = Math.round(Math.abs(before - after))
  const [more, less] = after > before ? [otherName, baseName] : [baseName, otherName]
  const share = formatPercent(other.connections.established === 0 ? 0 : difference / other.connections.established)
  return `${more} takes ${formatCount(difference)} connections (${share} of all) over a second node that ${less} does not.`
}

function imbalance(pair: Scene, service: string, direction: Direction): string {
  if (direction === 'same') {
    const [here, there] = [pair.otherShares.uneven.get(service), pair.baseShares.uneven.get(service)]
    if (here === undefined || there === undefined) return ''
    const part = (name: string, { endpoint }: Uneven): string =>
      `${name} ${endpointName(endpoint)} with ${formatPercent(endpoint.share)}`
    return `${service} is uneven either way: ${part(pair.otherName, here)}, ${part(pair.baseName, there)} (fair share ${formatPercent(here.fair)})${remedyOf('affinity', pair.other)}.`
  }
  const [run, shares, others, name, otherName] =
    direction === 'better'
      ? [pair.base, pair.baseShares, pair.otherShares, pair.baseName, pair.otherName]
      : [pair.other, pair.otherShares, pair.baseShares, pair.otherName, pair.baseName]
  const uneven = shares.uneven.get(service)
  if (uneven === undefined) return ''
  const { endpoint, fair } = uneven
  const before = others.share(service, endpoint.endpoint)
  return `${name}: ${endpointName(endpoint)} gets ${formatPercent(endpoint.share)} of the connections to ${service} (fair share ${formatPercent(fair)}, ${otherName} ${formatPercent(before)})${remedyOf('affinity', run)}.`
}

/** `, mostly REASON (sentence)`, or nothing. */
function mainReason(run: RunReport): string {
  const [reason] = Object.entries(run.drops).sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))[0] ?? ['']
  if (reason === '') return ''
  const sentence = reasonSentence(reason)
  return `, mostly ${reason}${sentence === '' ? '' : ` (${sentence})`}`
}

function statusesOf({ ingress }: RunReport, effect: string): string {
  const first = effect === 'requests-failed' ? '5' : '4'
  return Object.keys(ingress?.byStatus ?? {})
    .filter((status) => status.startsWith(first))
    .join(' or ')
}

/** One run after the other, with their names where they differ; the same once. */
function describeRuns(report: ReplayReport): Conclusion[] {
  return report.runs.flatMap((run) => describeRun(run, report))
}

function describeRun(run: RunReport, report: ReplayReport): Conclusion[] {
  const name = runNames([run])[0]!
  const shares = sharesOf(run)
  const told: Conclusion[] = []
  const { attempted, failed } = run.connections
  const say = (figure: Pick<Figure, 'effect' | 'evidence' | 'of' | 'value'>, sentence: string): void => {
    const { effect, evidence, of, value } = figure
    told.push({ effect, direction: 'same', evidence, service: of, values: [{ run: name, value }], sentence })
  }
  const outcome =
    attempted === 0
      ? 'The trace has no connections.'
      : failed === 0
        ? 'Every connection was established.'
        : `${formatPercent(failed / attempted)} of connections failed${mainReason(run)}.`
  say({ effect: 'connections-failed', evidence: 'connections.failed', of: '', value: failed }, outcome)
  for (const figure of figuresOf(run, report)) {
    if (!ALWAYS_SAID.has(figure.effect) || figure.effect === 'connections-failed' || figure.value < figure.matters)
      continue
    if (figure.value === 0) continue
    if (figure.effect === 'imbalance') {
      const uneven = shares.uneven.get(figure.of)
      if (uneven === undefined) continue
      const share = `${formatPercent(uneven.endpoint.share)} of the connections to ${figure.of} (fair share ${formatPercent(uneven.fair)})`
      say(figure, `${capitalised(endpointName(uneven.endpoint))} got ${share}${remedyOf('affinity', run)}.`)
    } else if (figure.effect === 'requests-failed' || figure.effect === 'requests-refused') {
      say(figure, `${figure.format(figure.value)} of requests were answered ${statusesOf(run, figure.effect)}.`)
    } else if (figure.effect === 'network-policy') {
      say(figure, `NetworkPolicies dropped ${figure.format(figure.value)} of connections: ${policyRemedy(run, null)}.`)
    } else {
      const of = figure.of === '' ? '' : ` of ${figure.of}`
      say(figure, `${capitalised(figure.label)}${of}: ${figure.format(figure.value)}.`)
    }
  }
  return told
}

function endpointName(endpoint: EndpointReport): string {
  return endpoint.pod === null ? `endpoint ${endpoint.endpoint}` : `pod ${endpoint.pod.replace(/^default\//, '')}`
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
