/** Two outcomes of one packet, as the ways in which they differ, each in a few words that are the same for all that are alike. */
import { REASON_NONE, REASONS } from '../../native-free-core/index.ts'
import type { Registry } from '../compile/registry.ts'
import { listed } from '../explain/dialled-name.ts'
import { countOf } from '../report/units.ts'
import { type Member, type Outcome, SEEN_CLIENT, SEEN_NOBODY } from './outcome.ts'
import type { Side, Sides } from './sides.ts'
import type { EffectKind } from './types.ts'

export interface Difference {
  readonly kind: EffectKind
  readonly from: string
  readonly to: string
}

const POLICY_REASON = /^network-policy-/
const RANGES_REASON = /not-in-source-ranges$/

/** Never empty for outcomes that `sameOutcome` tells apart. */
export function differencesOf(a: Outcome, b: Outcome, { registry, old, new: changed }: Sides): Difference[] {
  const found: Difference[] = []
  const say = (kind: EffectKind, from: string, to: string): void => {
    if (from !== to) found.push({ kind, from, to })
  }
  if (a.verdict === 'accept' || b.verdict === 'accept') say('health-check', verdictText(a), verdictText(b))
  else say('reachability', verdictText(a), verdictText(b))
  if (a.members.length > 0 && b.members.length > 0) {
    const text = (one: Member): string => registry.addressPort(one.address, one.port)
    const [was, is] = [
      new Map(a.members.map((one) => [text(one), one])),
      new Map(b.members.map((one) => [text(one), one])),
    ]
    const gone = [...was.keys()].filter((one) => !is.has(one))
    const come = [...is.keys()].filter((one) => !was.has(one))
    if (gone.length > 0 || come.length > 0)
      say('endpoints', countOf(was.size, 'endpoint'), setText(is.size, gone, come))
    const shared = [...was.keys()].filter((one) => is.has(one))
    const before = shared.map((one) => was.get(one)!)
    const after = shared.map((one) => is.get(one)!)
    const whose = [whoseAddress(a, old), whoseAddress(b, changed)] as const
    compareMembers(before, after, say, whose, registry)
  }
  if (a.members.length > 0 && b.members.length > 0)
    say('affinity', affinityText(a.affinityMs), affinityText(b.affinityMs))
  if (found.length === 0) say('client-address', seenText(a.seen, registry), seenText(b.seen, registry))
  return found
}

function compareMembers(
  before: readonly Member[],
  after: readonly Member[],
  say: (kind: EffectKind, from: string, to: string) => void,
  whose: readonly [old: Whose, changed: Whose],
  registry: Registry,
): void {
  const differ = (key: 'fate' | 'seen' | 'hop' | 'losesReply'): boolean =>
    before.some((one, i) => one[key] !== after[i]![key])
  if (differ('fate')) say('reachability', fatesText(before), fatesText(after))
  // As `sameOutcome` has it.
  const going = before.map((one, i) => one.fate === REASON_NONE && after[i]!.fate === REASON_NONE)
  const [a, b] = [before.filter((_, i) => going[i]), after.filter((_, i) => going[i])]
  if (a.some((one, i) => one.seen !== b[i]!.seen)) {
    const from = joined(a.map(({ seen }) => whose[0](seen)))
    const to = joined(b.map(({ seen }) => whose[1](seen)))
    if (from !== to) say('client-address', from, to)
    else say('client-address', addressesText(a, registry), addressesText(b, registry))
  }
  if (a.some((one, i) => one.hop !== b[i]!.hop)) say('hop', hopsText(a), hopsText(b))
  if (a.some((one, i) => one.losesReply !== b[i]!.losesReply)) say('reply', repliesText(a), repliesText(b))
}

/** `delivered`, `dropped [no-local-endpoint]` */
export function verdictText({ verdict, reason, health, members, seen }: Outcome): string {
  switch (verdict) {
    case 'deliver':
      return 'delivered'
    case 'partly':
      return `delivered to some endpoints only${blockedText(members)}`
    case 'accept':
      return `${health} from the health check`
    case 'none':
      return seen === SEEN_NOBODY ? 'no rule: nobody there' : 'no rule: goes to the address itself'
    default:
      return `${verdict === 'drop' ? 'dropped' : 'rejected'} [${REASONS[reason]!.name}]`
  }
}

function blockedText(members: readonly Member[]): string {
  const names = new Set(members.flatMap(({ fate }) => (fate === REASON_NONE ? [] : [REASONS[fate]!.name])))
  return names.size === 0 ? '' : ` [${[...names].join(', ')}]`
}

function fatesText(members: readonly Member[]): string {
  const blocked = members.filter(({ fate }) => fate !== REASON_NONE).length
  return blocked === 0
    ? 'all endpoints get it'
    : `${blocked} of ${members.length} endpoints do not get it${blockedText(members)}`
}

function setText(count: number, gone: readonly string[], come: readonly string[]): string {
  const parts = [
    ...(gone.length === 0 ? [] : [`without ${listed(gone)}`]),
    ...(come.length === 0 ? [] : [`with ${listed(come)}`]),
  ]
  return `${countOf(count, 'endpoint')}: ${parts.join(', ')}`
}

function affinityText(ms: number): string {
  return ms === 0 ? 'none' : `${ms / 1000} s`
}

type Whose = (seen: number) => string

/** An address that stands in for the client's, by whose it is. */
function whoseAddress({ node }: Outcome, { context: { rules } }: Side): Whose {
  return (seen) => {
    if (seen === SEEN_CLIENT) return "the client's address"
    const owner = rules.addressNode[seen]!
    if (owner < 0) return 'another address'
    return owner === node ? 'the address of the node that translates it' : "the address of the client's node"
  }
}

function seenText(seen: number, registry: Registry): string {
  if (seen === SEEN_NOBODY) return 'nobody'
  return seen === SEEN_CLIENT ? "the client's address" : registry.addressText(seen)
}

function addressesText(members: readonly Member[], registry: Registry): string {
  return joined(members.map(({ seen }) => seenText(seen, registry)))
}

function hopsText(members: readonly Member[]): string {
  return joined(members.map(({ hop }) => (hop ? 'one hop' : 'no hop')))
}

function repliesText(members: readonly Member[]): string {
  return joined(
    members.map(({ losesReply }) => (losesReply ? 'the answer goes past the node' : 'the answer comes back')),
  )
}

function joined(texts: readonly string[]): string {
  return [...new Set(texts)].sort().join(' or ')
}

/** Why policies, or source ranges, are to be looked at. */
export function involves({ reason, members }: Outcome): { readonly policies: boolean; readonly ranges: boolean } {
  const isPolicy = (code: number): boolean => POLICY_REASON.test(REASONS[code]!.name)
  return {
    policies: isPolicy(reason) || members.some(({ fate }) => isPolicy(fate)),
    ranges: RANGES_REASON.test(REASONS[reason]!.name),
  }
}
