/**
 * The sentence that a comparison ends in, and what would make it another one.
 *
 * Failures and slower requests outweigh everything; an uneven Service outweighs nothing but can be mended; client addresses, hops and
 * path latency decide where nothing else does.
 */
import type { Conclusion, Pair } from './conclusion.ts'
import { drawsText } from './spread.ts'
import type { ReplayReport, RunReport } from './types.ts'
import { formatMicros, formatPercent } from './units.ts'

/** What must not get worse for anything in return. */
const GRAVE = new Set([
  ...['connections-failed', 'connections-broken', 'requests-failed', 'requests-refused', 'names-failed'],
  ...['request-p99', 'request-p50', 'conntrack', 'source-ports', 'cpu', 'pod-cpu'],
])
/** A worsening below this is mentioned and decides nothing. */
const DECIDES = 1.2

const SHORT: Readonly<Record<string, string>> = {
  'connections-failed': 'connections fail',
  'network-policy': 'NetworkPolicies drop more',
  'connections-broken': 'connections break',
  'requests-failed': 'requests fail',
  'requests-refused': 'requests are refused',
  'names-failed': 'names are not resolved',
  'request-p99': 'requests get slower',
  'request-p50': 'requests get slower',
  conntrack: 'a conntrack table fills further',
  'source-ports': 'source ports run lower',
  cpu: 'a node gets busier',
  'pod-cpu': 'a pod gets busier',
  imbalance: 'the load is less even',
  'request-imbalance': 'requests are shared less evenly',
  'client-address': 'client addresses are lost',
  crossings: 'more connections cross nodes',
  'path-p50': 'the path gets longer',
  'path-p99': 'the path gets longer',
  'setup-p99': 'connections open more slowly',
  'forwarded-for': 'the proxy knows fewer clients',
}

const GAIN: Readonly<Record<string, string>> = {
  'client-address': 'pods see client addresses',
  crossings: 'fewer hops',
  'path-p50': 'a shorter path',
  'path-p99': 'a shorter path',
  'setup-p99': 'faster connection set-up',
  'request-p99': 'faster requests',
  'request-p50': 'faster requests',
  imbalance: 'a more even load',
  'request-imbalance': 'requests shared more evenly',
  'connections-failed': 'fewer failures',
  'network-policy': 'fewer drops by NetworkPolicies',
  'connections-broken': 'fewer broken connections',
  'names-failed': 'fewer names that fail',
  'forwarded-for': 'proxies that know the client',
  conntrack: 'emptier conntrack tables',
  'source-ports': 'fewer source ports in use',
  cpu: 'less busy nodes',
  'pod-cpu': 'less busy pods',
  'requests-failed': 'fewer failures',
  'requests-refused': 'fewer refusals',
}

/** `; …`: what would help, or '' where nothing is known to. @param drawn  several seeds have been tried */
export function remedyOf(effect: string, run: RunReport, drawn: boolean = false): string {
  if (effect !== 'affinity') return ''
  const hits = run.nodes.reduce((sum, node) => sum + node.affinityHits, 0)
  if (hits === 0) return ''
  const chance = drawn ? '' : 'another seed can give another figure, and '
  return `; ClientIP affinity sends all clients behind one address to one pod: ${chance}cookies at an Ingress or no affinity${drawn ? ' give' : ''} a fair one`
}

/**
 * Why NetworkPolicies drop connections of a run, and what lets them through: masquerade decides which address an `ipBlock` meets.
 *
 * @param fewer  the run that drops fewer; null where there is none
 */
export function policyRemedy({ drops, policy }: RunReport, fewer: RunReport | null): string {
  const dropped = (reason: string): number => drops[`network-policy-${reason}`] ?? 0
  const parts: string[] = []
  if (dropped('ingress') > 0) {
    const more = fewer === null || dropped('ingress') > (fewer.drops['network-policy-ingress'] ?? 0)
    parts.push(
      fewer !== null && more && policy === 'cluster'
        ? "pods on other nodes see a node's address in place of the client's, which an ipBlock for clients does not match; let the nodes' addresses in as well, or keep Local"
        : fewer !== null && more && policy === 'local'
          ? "pods see the clients' own addresses, and their ingress rules let in others; an ipBlock for the clients' ranges mends it"
          : 'no ingress rule of the pods lets these clients in; dpemu explain names the policies',
    )
  }
  if (dropped('egress') > 0) {
    parts.push(
      "no egress rule of the clients lets them out to the endpoints' own addresses and ports, which count, not the Service's",
    )
  }
  if (dropped('dns') > 0)
    parts.push('clients cannot ask for names; egress to port 53 of the DNS pods, UDP and TCP, mends it')
  return parts.join('; and ')
}

/** One sentence; `…`. */
export function advise(pair: Pair, effects: readonly Conclusion[], report: ReplayReport): Conclusion {
  const { baseName, otherName } = pair
  const between = otherName === 'Local' ? 'Advice' : `Advice between ${baseName} and ${otherName}`
  const [answer, words] = adviceOf(pair, effects, report)
  const sentence = `${between}: ${words}${openQuestions(effects, report)}${dependsOn(pair, effects)}`
  return { effect: 'advice', direction: 'advice', evidence: '', service: '', values: [], answer, sentence }
}

/** What the draws leave open that would weigh against any advice. */
function openQuestions(effects: readonly Conclusion[], report: ReplayReport): string {
  const open = effects.filter(({ direction }) => direction === 'undecided')
  if (open.length === 0 || report.draws === null || effects.length === open.length) return ''
  const named = list(unique(open.map(({ effect }) => SHORT[effect] ?? effect)))
  return ` Whether ${named}, ${drawsText(report.draws)} do not decide.`
}

/** In a word or three, and in a sentence. */
function adviceOf(pair: Pair, effects: readonly Conclusion[], report: ReplayReport): [answer: string, words: string] {
  const { baseName, otherName } = pair
  const weighty = ({ values }: Conclusion): boolean => {
    const [before = 0, after = 0] = values.map(({ value }) => value)
    return before === 0 || after === 0 || Math.max(before, after) / Math.min(before, after) >= DECIDES
  }
  const worse = effects.filter((one) => one.direction === 'worse' && weighty(one))
  const better = effects.filter((one) => one.direction === 'better' && weighty(one))
  const losses = unique(worse.map(({ effect }) => SHORT[effect] ?? effect))
  const gains = unique(better.map(({ effect }) => GAIN[effect] ?? effect))
  if (worse.length === 0 && better.length === 0) {
    if (effects.some(({ direction }) => direction === 'undecided') && report.draws !== null)
      return ['undecided', `none, since ${drawsText(report.draws)} do not decide what differs.`]
    return ['no difference', `no difference that matters, because ${becauseSame(pair, report)}.`]
  }
  const grave = worse.filter(({ effect }) => GRAVE.has(effect))
  const remedy = remedies(pair, worse)
  if (grave.length > 0) {
    const named = list(unique(grave.map(({ effect }) => SHORT[effect] ?? effect)))
    const instead = gains.length > 0 ? ` It would bring ${list(gains)}.` : ''
    return [`not ${otherName}`, `not ${otherName} as it stands: ${named}.${remedy}${instead}`]
  }
  const graveBetter = better.some(({ effect }) => GRAVE.has(effect))
  if (better.length === 0) return [baseName, `${baseName}; with ${otherName} ${list(losses)}, and nothing gets better.`]
  if (worse.length === 0) return [otherName, `${otherName}: ${list(gains)}, and nothing measured gets worse.`]
  const only = graveBetter
    ? `${otherName}: ${list(gains)}`
    : `${otherName}, if ${list(gains)} ${gains.length > 1 ? 'are' : 'is'} worth it`
  return [`${otherName} at a cost`, `${only}; but ${list(losses)}.${remedy}`]
}

function remedies(pair: Pair, worse: readonly Conclusion[]): string {
  const effects = new Set(worse.map(({ effect }) => effect))
  if (effects.has('network-policy')) return ` ${capital(policyRemedy(pair.other, pair.base))}.`
  if (effects.has('connections-failed') && (pair.other.drops['no-local-endpoint'] ?? 0) > 0) {
    return ' A pod on every node that gets traffic, or a load balancer that asks the health check node port, mends it.'
  }
  if (effects.has('imbalance') && pair.otherName === 'Local') {
    return ' As many pods on each node that gets traffic (topologySpreadConstraints over kubernetes.io/hostname, or a DaemonSet) make it even.'
  }
  if (effects.has('source-ports'))
    return ' Connections that are kept open, or pods that are dialled directly, need fewer ports.'
  if (effects.has('conntrack')) return ' conntrack.maxPerCore of kube-proxy sets the limit.'
  return ''
}

function becauseSame({ base, other }: Pair, report: ReplayReport): string {
  if (other.connections.attempted === 0) return 'the trace has no connections'
  if (base.policy !== other.policy && report.comparedServices.length === 0)
    return 'no Service can be reached from outside the cluster'
  if (base.policy !== other.policy && base.masqueradedFraction === other.masqueradedFraction)
    return 'no connection of this trace takes another way under the other policy'
  return 'every figure is within a fifth'
}

/** The two inputs that the answer depends on most, and what they would do if they were a fifth more. */
function dependsOn(pair: Pair, effects: readonly Conclusion[]): string {
  const inputs: { readonly weight: number; readonly text: string }[] = []
  const uneven = effects.find(({ effect, direction }) => effect === 'imbalance' && direction !== 'same')
  if (uneven !== undefined && pair.otherName === 'Local') {
    inputs.push({
      weight: Math.max(...uneven.values.map(({ value }) => value)),
      text: `where the pods of ${uneven.service} are`,
    })
  }
  for (const [name, value, what] of fullestResources(pair)) {
    if (value < 0.4) continue
    inputs.push({
      weight: value,
      text: `the load (a fifth more takes ${name} from ${formatPercent(value)} to ${formatPercent(value * 1.2)} of ${what})`,
    })
    break
  }
  const hop = Math.abs(pair.base.pathLatencyMicros.packet.mean - pair.other.pathLatencyMicros.packet.mean)
  if (effects.some(({ effect }) => effect.startsWith('path-')) && hop > 0) {
    inputs.push({
      weight: 0.3,
      text: `the time of a hop between nodes (a fifth more or less changes the mean difference of ${formatMicros(hop)} to ${formatMicros(hop * 1.2)} or ${formatMicros(hop * 0.8)})`,
    })
  }
  if (inputs.length === 0) return ''
  const top = inputs.sort((a, b) => b.weight - a.weight).slice(0, 2)
  return ` It depends most on ${top.map(({ text }) => text).join(' and on ')}.`
}

/** Shares of limits in use, fullest first, over both runs. */
function fullestResources({ base, other }: Pair): [string, number, string][] {
  const found: [string, number, string][] = []
  for (const run of [base, other]) {
    for (const node of run.nodes) {
      found.push([
        `the conntrack table of ${node.node}`,
        node.conntrackMax > 0 ? node.conntrackPeak / node.conntrackMax : 0,
        'its maximum',
      ])
      found.push([`${node.node}`, node.cpuUtilizationPeak, 'its CPU'])
      found.push([`the source ports of ${node.node}`, node.snatPortsPeak / 64_512, 'what there is'])
    }
    for (const { pod, podUtilization } of run.endpoints)
      if (pod !== null) found.push([`pod ${pod}`, podUtilization, 'its CPU'])
  }
  return found.sort((a, b) => b[1] - a[1])
}

function capital(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`
}

function list(parts: readonly string[]): string {
  return parts.length <= 1 ? (parts[0] ?? '') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}`
}

function unique(parts: readonly string[]): string[] {
  return [...new Set(parts)]
}
