/**
 * The words of the verdict: one effect, or one fault, to one sentence. What is said is decided in conclusion.ts.
 *
 * Over several draws figures are medians with their least and most; what differs in its cause from draw to draw (which pod is the
 * fullest) is named where all draws agree on it.
 */
import { policyRemedy, remedyOf } from './advice.ts'
import type { Drawn, Effect, Scene } from './conclusion.ts'
import type { Shares, Uneven } from './figures.ts'
import { reasonSentence } from './reasons.ts'
import { spreadText } from './spread.ts'
import type { EndpointReport, RunReport } from './types.ts'
import { formatCount, formatPercent } from './units.ts'

/** `path latency p50 54.7 µs instead of 567 µs` */
export function fragmentOf(effect: Effect): string {
  const { base, other } = effect
  const times = factor(base.value, other.value)
  return `${other.figure.label} ${shown(other)} instead of ${shown(base)}${times}${agreement(effect)}`
}

/** null: a fragment will do. */
export function sentenceOf(effect: Effect): string | null {
  const { pair, base, other, direction } = effect
  const { baseName, otherName } = pair
  const [a, b] = [shown(base), shown(other)]
  const worse = direction === 'worse' ? pair.other : pair.base
  const { effect: name, of: service, label } = other.figure
  switch (name) {
    case 'connections-failed':
      return direction === 'same'
        ? `Either way, ${b} of connections fail${mainReason(pair.other)}.`
        : `${otherName}: ${b} of connections fail (${baseName}: ${a})${mainReason(worse)}${agreement(effect)}.`
    case 'network-policy': {
      const how = policyRemedy(worse, direction === 'same' ? null : worse === pair.other ? pair.base : pair.other)
      return direction === 'same'
        ? `Either way, NetworkPolicies drop ${b} of connections: ${how}.`
        : `${otherName}: NetworkPolicies drop ${b} of connections (${baseName}: ${a})${agreement(effect)}; ${direction === 'worse' ? otherName : baseName}: ${how}.`
    }
    case 'requests-failed':
    case 'requests-refused':
      return direction === 'same'
        ? `Either way, ${b} of requests are answered ${statusesOf(pair.other, name)}.`
        : `${otherName}: ${b} of requests are answered ${statusesOf(worse, name)} (${baseName}: ${a})${agreement(effect)}.`
    case 'client-address':
      return clientAddress(effect)
    case 'crossings':
      return crossings(effect)
    case 'imbalance':
      return effect.draws === '' ? imbalance(effect) : imbalanceOver(effect)
    default: {
      const of = service === '' ? '' : ` of ${service}`
      return direction === 'same' ? `Either way, ${label}${of}: ${b}.` : null
    }
  }
}

/** What the draws leave open: how far they go apart, and which way how many go. */
export function undecidedText({ pair, base, other, draws, directions }: Effect): string {
  const count = (wanted: string): number => directions.filter((direction) => direction === wanted).length
  const parts = [
    [count('worse'), `worse under ${pair.otherName}`],
    [count('better'), `better under ${pair.otherName}`],
    [count('same'), 'bad under both'],
  ].flatMap(([times, what]) => (times === 0 ? [] : [`${what} in ${times}`]))
  const of = other.figure.of === '' ? '' : ` of ${other.figure.of}`
  const figures = `${pair.baseName} ${shown(base)}, ${pair.otherName} ${shown(other)}`
  return `Not decided by ${draws}: ${other.figure.label}${of}, ${figures}; ${parts.join(', ')}.`
}

/** Of one run: whether its connections were established. */
export function outcomeText(run: RunReport, failed: Drawn): string {
  if (run.connections.attempted === 0) return 'The trace has no connections.'
  if ((failed.spread?.most ?? failed.value) === 0) return 'Every connection was established.'
  return `${shown(failed)} of connections failed${mainReason(run)}.`
}

/** A fault of one run. @param found  `3 of 10 seeds` that have it; '' for all that count */
export function describedText(
  one: Drawn,
  scenes: readonly { readonly run: RunReport; readonly shares: Shares }[],
  found: string,
): string {
  const { effect, of: service, label } = one.figure
  const before = found === '' ? '' : `In ${found}: `
  const first = (text: string): string => (found === '' ? capitalised(text) : text)
  const of = service === '' ? '' : ` of ${service}`
  const { run } = scenes[0]!
  if (effect === 'imbalance') {
    const [uneven, name] = fullest(scenes.map(({ shares }) => shares.uneven.get(service)))
    if (uneven === null) return `${before}${first(label)}${of}: ${shown(one)}.`
    const share = one.spread === null ? formatPercent(uneven.endpoint.share) : shareText(one, uneven.fair)
    const got = `${share} of the connections to ${service} (fair share ${formatPercent(uneven.fair)})`
    return `${before}${first(name)} got ${got}${remedyOf('affinity', run, one.spread !== null)}.`
  }
  if (effect === 'requests-failed' || effect === 'requests-refused')
    return `${before}${shown(one)} of requests were answered ${statusesOf(run, effect)}.`
  if (effect === 'network-policy')
    return `${before}NetworkPolicies dropped ${shown(one)} of connections: ${policyRemedy(run, null)}.`
  return `${before}${first(label)}${of}: ${shown(one)}.`
}

function shown({ figure, value, spread }: Drawn): string {
  return spreadText(figure.format, value, spread)
}

/** Where some draws go another way. */
function agreement({ draws, agreeing, directions }: Effect): string {
  return draws === '' || agreeing === directions.length ? '' : `, in ${agreeing} of ${draws}`
}

/** ` (13 times)` where it is twice and more. */
function factor(before: number, after: number): string {
  if (before <= 0 || after <= 0) return ''
  const times = Math.max(before, after) / Math.min(before, after)
  return times < 2 ? '' : after > before ? ` (${times.toFixed(times < 10 ? 1 : 0)} times)` : ''
}

function clientAddress({ pair, base, other }: Effect): string {
  const text = (run: RunReport, hidden: Drawn, what: string): string => {
    const [count, all] = [Math.round(hidden.value), run.connections.established]
    const most = Math.round(hidden.spread?.most ?? hidden.value)
    if (most === 0) return `keeps ${what} on every connection`
    return `hides ${what} on ${count === all ? 'every connection' : `${shown(hidden)} of ${formatCount(all)} connections`}`
  }
  const [after, before] = [text(pair.other, other, 'the client address'), text(pair.base, base, 'it')]
  return `${pair.otherName} ${after}; ${pair.baseName} ${before}.`
}

function crossings(effect: Effect): string {
  const { pair, base, other } = effect
  const { baseName, otherName } = pair
  if (effect.draws !== '')
    return `Connections over a second node: ${otherName} ${shown(other)}, ${baseName} ${shown(base)}, of ${formatCount(pair.other.connections.established)}${agreement(effect)}.`
  const difference = Math.round(Math.abs(base.value - other.value))
  const [more, less] = other.value > base.value ? [otherName, baseName] : [baseName, otherName]
  const { established } = pair.other.connections
  const share = formatPercent(established === 0 ? 0 : difference / established)
  return `${more} takes ${formatCount(difference)} connections (${share} of all) over a second node that ${less} does not.`
}

function imbalance({ pair, scenes, other: { figure }, direction }: Effect): string {
  const scene = scenes[0]!
  const service = figure.of
  if (direction === 'same') {
    const [here, there] = [scene.otherShares.uneven.get(service)!, scene.baseShares.uneven.get(service)!]
    const part = (name: string, { endpoint }: Uneven): string =>
      `${name} ${endpointName(endpoint)} with ${formatPercent(endpoint.share)}`
    return `${service} is uneven either way: ${part(pair.otherName, here)}, ${part(pair.baseName, there)} (fair share ${formatPercent(here.fair)})${remedyOf('affinity', pair.other)}.`
  }
  const [run, shares, others, name, otherName] =
    direction === 'better'
      ? [pair.base, scene.baseShares, scene.otherShares, pair.baseName, pair.otherName]
      : [pair.other, scene.otherShares, scene.baseShares, pair.otherName, pair.baseName]
  const { endpoint, fair } = shares.uneven.get(service)!
  const before = others.share(service, endpoint.endpoint)
  return `${name}: ${endpointName(endpoint)} gets ${formatPercent(endpoint.share)} of the connections to ${service} (fair share ${formatPercent(fair)}, ${otherName} ${formatPercent(before)})${remedyOf('affinity', run)}.`
}

/** Which pod is the fullest may be chance: then it has no name. */
function imbalanceOver(effect: Effect): string {
  const { pair, scenes, base, other, direction } = effect
  const service = other.figure.of
  const shares = (of: (scene: Scene) => Shares): ReturnType<typeof fullest> =>
    fullest(scenes.map((scene) => of(scene).uneven.get(service)))
  const [here, hereName] = shares(({ otherShares }) => otherShares)
  const [there, thereName] = shares(({ baseShares }) => baseShares)
  const fair = (here ?? there)!.fair
  const [b, a] = [shareText(other, fair), shareText(base, fair)]
  const remedy = remedyOf('affinity', direction === 'better' ? pair.base : pair.other, true)
  if (direction === 'same')
    return `${service} is uneven either way: ${pair.otherName} ${hereName} with ${b}, ${pair.baseName} ${thereName} with ${a} (fair share ${formatPercent(fair)})${remedy}.`
  const [name, who, share, otherName, otherShare] =
    direction === 'better'
      ? [pair.baseName, thereName, a, pair.otherName, b]
      : [pair.otherName, hereName, b, pair.baseName, a]
  return `${name}: ${who} gets ${share} of the connections to ${service} (fair share ${formatPercent(fair)}, fullest under ${otherName} ${otherShare})${agreement(effect)}${remedy}.`
}

/** Of the fullest endpoint, out of how far it is above the mean. */
function shareText({ value, spread }: Drawn, fair: number): string {
  const text = (ratio: number): string => formatPercent(ratio * fair)
  return spreadText(text, value, spread)
}

/** The first draw's, and the name that all draws have for it. */
function fullest(draws: readonly (Uneven | undefined)[]): [Uneven | null, string] {
  const found = draws.filter((one) => one !== undefined)
  const names = new Set(found.map(({ endpoint }) => endpointName(endpoint)))
  return [found[0] ?? null, names.size === 1 ? [...names][0]! : 'the fullest endpoint']
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

function endpointName(endpoint: EndpointReport): string {
  return endpoint.pod === null ? `endpoint ${endpoint.endpoint}` : `pod ${endpoint.pod.replace(/^default\//, '')}`
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
