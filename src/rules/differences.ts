/**
 * One packet's two answers compared, and what differs for many packets said once.
 *
 * A difference is of a frontend and of a kind; the sources for which it holds are gathered.
 */
import type { Leaf } from './read/follow.ts'

export type DifferenceKind =
  | 'mode'
  | 'hook'
  | 'frontend-missing'
  | 'frontend-stale'
  | 'verdict'
  | 'source-ranges'
  | 'endpoint-missing'
  | 'endpoint-stale'
  | 'weight'
  | 'affinity'
  | 'masquerade'
  | 'hairpin'

export type SourceKind = 'address' | 'pod of the node' | 'pod of another node' | 'node' | 'other node'

export interface SourceName {
  readonly kind: SourceKind
  readonly text: string
}

/** As one packet shows it. */
export interface Raw {
  readonly kind: DifferenceKind
  /** `default/web:http`; '' where nobody is named. */
  readonly service: string
  /** `10.96.0.10:80/tcp`; '' for what is not of one frontend. */
  readonly frontend: string
  /** `clusterIP`, `nodePort`, … */
  readonly what: string
  readonly text: string
  /** null: for everybody. */
  readonly source: SourceName | null
  readonly where: string
}

export interface Difference {
  readonly kind: DifferenceKind
  readonly service: string
  readonly frontend: string
  readonly what: string
  readonly text: string
  /** Who sees it; empty: everybody. */
  readonly sources: readonly SourceName[]
  /** Place in the dump, '' where there is none. */
  readonly where: string
}

export interface Expected {
  readonly action: 'none' | 'accept' | 'dnat' | 'drop' | 'reject'
  readonly endpoints: readonly string[]
  readonly masquerade: boolean
  readonly affinitySeconds: number
  /** Source ranges had a say. */
  readonly byRanges: boolean
}

interface Scope {
  readonly comparesMasquerade: boolean
  readonly comparesRefusals: boolean
  /** Whether an endpoint can meet itself here. */
  comparesHairpin(endpoint: string): boolean
  whatOf(endpoint: string): string
}

/** Shares that kube-proxy writes with ten decimals, and the kernel keeps in 31 bits. */
const SHARE_TOLERANCE = 0.01
const NO_WEIGHT = 1e-9

const WORDS: Readonly<Record<Leaf['verdict'], string>> = {
  none: 'goes on untouched',
  accept: 'is let in',
  drop: 'is dropped',
  reject: 'is rejected',
  dnat: 'goes to endpoints',
}

export function compareAnswers(expected: Expected, leaves: readonly Leaf[], source: SourceName, scope: Scope): Raw[] {
  const raws: Raw[] = []
  const say = (kind: DifferenceKind, text: string, line = 0): void => {
    raws.push({ kind, service: '', frontend: '', what: '', text, source, where: line > 0 ? String(line) : '' })
  }
  const taken = leaves.filter(({ weight }) => weight > NO_WEIGHT)
  const verdicts = new Map<Leaf['verdict'], number>()
  for (const { verdict, weight } of taken) verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + weight)
  const wrong = [...verdicts].filter(([verdict]) => verdict !== expected.action)
  const refused = new Set<string>(['drop', 'reject'])
  for (const [verdict, weight] of wrong) {
    const isRefusal = refused.has(verdict) || refused.has(expected.action)
    if (isRefusal && !scope.comparesRefusals) continue
    const share = weight > 1 - NO_WEIGHT ? '' : ` (${(weight * 100).toPrecision(3)} % of connections)`
    say(
      expected.byRanges ? 'source-ranges' : 'verdict',
      `${WORDS[verdict]}${share}; by the manifests it ${WORDS[expected.action]}`,
    )
  }
  if (expected.action !== 'dnat' || !verdicts.has('dnat')) return raws

  const shares = new Map<string, { weight: number; masquerade: boolean; hairpin: boolean; line: number }>()
  const remembered = new Map<string, Set<string>>()
  for (const leaf of taken) {
    if (leaf.verdict !== 'dnat') continue
    const endpoint = endpointText(leaf)
    const known = shares.get(endpoint)
    shares.set(endpoint, {
      weight: (known?.weight ?? 0) + leaf.weight,
      masquerade: leaf.masquerade,
      hairpin: leaf.hairpin && (known?.hairpin ?? true),
      line: leaf.line,
    })
    remembered.set(endpoint, new Set(leaf.remembers))
    // A pod that meets itself is masqueraded whatever the rest says.
    const isItself = leaf.address === source.text
    if (scope.comparesMasquerade && !isItself && leaf.masquerade !== expected.masquerade) {
      say(
        'masquerade',
        expected.masquerade
          ? 'is not masqueraded; by the manifests it is'
          : 'is masqueraded; by the manifests it is not',
      )
    }
    if (!leaf.hairpin && scope.comparesHairpin(endpoint))
      say('hairpin', `endpoint ${endpoint} is not masqueraded when it meets itself`, leaf.line)
  }
  const wanted = new Set(expected.endpoints)
  for (const endpoint of expected.endpoints) {
    if (!shares.has(endpoint)) say('endpoint-missing', `endpoint ${endpoint} gets nothing`)
  }
  for (const [endpoint, { line }] of shares) {
    if (!wanted.has(endpoint))
      say('endpoint-stale', `endpoint ${endpoint} gets connections: ${scope.whatOf(endpoint)}`, line)
  }
  if (raws.length === 0) {
    const fair = 1 / expected.endpoints.length
    for (const [endpoint, { weight, line }] of shares) {
      if (Math.abs(weight - fair) <= SHARE_TOLERANCE * fair) continue
      say(
        'weight',
        `endpoint ${endpoint} gets ${(weight * 100).toPrecision(3)} % of new connections instead of ${(fair * 100).toPrecision(3)} %`,
        line,
      )
    }
  }
  raws.push(...compareAffinity(expected, leaves, shares, remembered, source))
  return raws
}

/** A client is kept where some list leads to one endpoint alone, and that endpoint's way puts the client into it. */
function compareAffinity(
  expected: Expected,
  leaves: readonly Leaf[],
  shares: ReadonlyMap<string, { readonly line: number }>,
  remembered: ReadonlyMap<string, ReadonlySet<string>>,
  source: SourceName,
): Raw[] {
  const raws: Raw[] = []
  const say = (text: string, line = 0): void => {
    raws.push({
      kind: 'affinity',
      service: '',
      frontend: '',
      what: '',
      text,
      source,
      where: line > 0 ? String(line) : '',
    })
  }
  const targets = new Map<string, Set<string>>()
  const seconds = new Map<string, number>()
  for (const leaf of leaves) {
    if (leaf.list === '') continue
    const endpoint = leaf.verdict === 'dnat' ? endpointText(leaf) : leaf.verdict
    const known = targets.get(leaf.list)
    if (known === undefined) targets.set(leaf.list, new Set([endpoint]))
    else known.add(endpoint)
    seconds.set(leaf.list, leaf.seconds)
  }
  const kept = new Map<string, number>()
  for (const [list, ends] of targets) {
    const [endpoint] = ends
    if (ends.size === 1 && remembered.get(endpoint!)?.has(list)) kept.set(endpoint!, seconds.get(list)!)
  }
  const wanted = expected.affinitySeconds
  if (wanted === 0) {
    if (kept.size > 0)
      say(
        `clients are kept to their endpoint for ${[...new Set(kept.values())].join(', ')} s; the Service has no affinity`,
      )
    return raws
  }
  if (kept.size === 0) {
    say(`clients are not kept to an endpoint; by the manifests they are, for ${wanted} s`)
    return raws
  }
  const others = new Set([...kept.values()].filter((one) => one !== wanted))
  for (const one of others) say(`clients are kept to their endpoint for ${one} s instead of ${wanted} s`)
  for (const [endpoint, { line }] of shares) {
    if (!kept.has(endpoint)) say(`clients are not kept to endpoint ${endpoint}`, line)
  }
  return raws
}

function endpointText({ address, port }: Leaf): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

const ORDER: readonly DifferenceKind[] = [
  'mode',
  'hook',
  'frontend-missing',
  'frontend-stale',
  'verdict',
  'source-ranges',
  'endpoint-missing',
  'endpoint-stale',
  'weight',
  'affinity',
  'masquerade',
  'hairpin',
]

/** The same of many sources becomes one; in the order of Services, frontends and kinds. */
export function gather(raws: readonly Raw[]): Difference[] {
  const byText = new Map<string, { raw: Raw; sources: Map<string, SourceName> }>()
  for (const raw of raws) {
    const key = [raw.kind, raw.service, raw.frontend, raw.text].join('\n')
    const known = byText.get(key) ?? { raw, sources: new Map() }
    if (raw.source !== null) known.sources.set(raw.source.text, raw.source)
    byText.set(key, known)
  }
  const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
  return [...byText.values()]
    .map(({ raw, sources }): Difference => {
      const { source: _source, ...rest } = raw
      return { ...rest, sources: [...sources.values()].sort((a, b) => compare(a.text, b.text)) }
    })
    .sort(
      (a, b) =>
        compare(a.service, b.service) ||
        compare(a.frontend, b.frontend) ||
        ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind) ||
        compare(a.text, b.text),
    )
}
