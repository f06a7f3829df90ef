/**
 * Thresholds: expressions over the JSON report that a run must meet, for CI.
 *
 *   runs[policy=local].pathLatencyMicros.packet.p99 < 2ms
 *   runs[policy=local,proxyMode=nftables].connections.failed == 0
 *   endpoints[service=default/web:http].share < 40%          (a run's field without `runs`: every run)
 *   local.p99 < 1.2 * cluster.p99                            (a policy for its run, a percentile for that of packets)
 *
 * PATH = NAME SELECTOR? ('.' NAME SELECTOR?)…, SELECTOR = [*], [0] or [key=value, …] (a value may be quoted), then one
 * of < <= > >= == != and a number with an optional unit, or another path, `FACTOR *` before it if need be, that leads to
 * one number of the same kind. A list without a selector means all of its elements; a path
 * that leads to several numbers holds only if all of them do. Field names, units and operators are checked by
 * `parseExpression`, before a run starts; that a selector chose nothing is known only afterwards.
 *
 * Invariants: a threshold never passes for want of data: no match is an error, and a latency of which nothing was
 * recorded fails. Any text is either a threshold or a UserError `E_THRESHOLD` with exit code 2.
 */
import { UserError } from '../errors.ts'
import { nearestName, suggestion } from '../nearest.ts'
import { dimensionOf, isCounterMap, LATENCY_SHAPE, SHAPE, unitsOf } from './fields.ts'
import { REASON_NAMES } from './reasons.ts'
import { type Filter, type Segment, scanThreshold, type Wording } from './threshold-syntax.ts'

export type { Filter, Segment } from './threshold-syntax.ts'

export type Operator = '<' | '<=' | '>' | '>=' | '==' | '!='

/** What expressions are about: a kind of document. */
export interface Subject extends Wording {
  /** `a report`, for messages. */
  readonly what: string
  /** A document with one element in every list. */
  readonly shape: object
  /** The list whose elements' fields may be named without it: then all of them are meant. */
  readonly list: string | null
  /** `base` on the right side means the same figure of another document (`againstBase`). */
  readonly hasBase?: boolean
}

export const REPLAY_SUBJECT: Subject = {
  flag: '--threshold',
  example: 'runs[policy=local].pathLatencyMicros.packet.p99 < 2ms',
  what: 'a report',
  shape: SHAPE,
  list: 'runs',
}

export interface Threshold {
  /** As the user wrote it. */
  readonly text: string
  readonly subject: Subject
  readonly path: readonly Segment[]
  readonly operator: Operator
  /** In the unit of the field; null where it is another field of the document. */
  readonly limit: number | null
  /** What stands on the right side in place of a number. */
  readonly other: { readonly factor: number; readonly path: readonly Segment[] } | null
  /** Where the right side is `FACTOR * base`: the factor. */
  readonly ofBase?: number
}

export interface ThresholdMatch {
  /** With the elements that were chosen: `runs[policy=local,proxyMode=nftables].connections.failed`. */
  readonly path: string
  /** In the unit of the field; null where there was nothing to measure. */
  readonly value: number | null
  /** That it was held against; null where there was nothing to measure on the right side. */
  readonly limit: number | null
  readonly pass: boolean
}

export interface ThresholdResult {
  readonly threshold: Threshold
  readonly pass: boolean
  /** Never empty. */
  readonly matches: readonly ThresholdMatch[]
}

const COMPARE: Readonly<Record<Operator, (value: number, limit: number) => boolean>> = {
  '<': (value, limit) => value < limit,
  '<=': (value, limit) => value <= limit,
  '>': (value, limit) => value > limit,
  '>=': (value, limit) => value >= limit,
  '==': (value, limit) => value === limit,
  '!=': (value, limit) => value !== limit,
}

type Json = unknown

/** Read an expression over a replay report; see `parseExpression`. */
export function parseThreshold(text: string): Threshold {
  return parseExpression(text, REPLAY_SUBJECT)
}

/**
 * Read an expression and check it against the fields that its subject has.
 *
 * @throws UserError `E_THRESHOLD`, exit code 2: syntax, unknown field (with the nearest known one), unknown unit, or a
 *         field that is no number
 */
export function parseExpression(text: string, subject: Subject): Threshold {
  const scanned = scanThreshold(text, subject)
  const refuse = refuser(subject, text)
  const path = checkedPath(scanned.path, subject, refuse)
  const { right } = scanned
  const base = { text: text.trim(), subject, path, operator: scanned.operator }
  if (right.kind === 'number') {
    return { ...base, limit: limitOf(path, right.number, right.unit, refuse), other: null }
  }
  if (subject.hasBase === true && right.path.length === 1 && right.path[0]!.name === 'base') {
    if (right.path[0]!.selector !== null) throw refuse('base is the same figure of the first report: it takes no [...]')
    return { ...base, limit: null, other: null, ofBase: right.factor }
  }
  const other = checkedPath(right.path, subject, refuse)
  const [one, two] = [path, other].map((segments) => dimensionOf(segments.map(({ name }) => name)))
  if (one !== two) throw refuse(`${path.at(-1)!.name} and ${other.at(-1)!.name} do not measure the same`)
  return { ...base, limit: null, other: { factor: right.factor, path: other } }
}

function checkedPath(written: readonly Segment[], subject: Subject, refuse: Refuse): readonly Segment[] {
  const path = withList(withShortForms(written, subject), subject)
  checkFields(path, subject, refuse)
  return path
}

const POLICIES: ReadonlySet<string> = new Set(['local', 'cluster', 'as-is'])

/** Lists of the Timeline's part that may be named without it. */
const OF_TIMELINE: ReadonlySet<string> = new Set(['lost', 'delayed', 'gaps', 'losses'])

/** `local.p99` → `runs[policy=local].pathLatencyMicros.packet.p99`; what the subject has no place for stays as it is. */
function withShortForms(written: readonly Segment[], { shape, list }: Subject): readonly Segment[] {
  const element = elementOf(shape, list)
  let path = written
  // Of a replay with a Timeline, as in a rollout: `lost[policy=local].count`.
  if (OF_TIMELINE.has(path[0]!.name) && Object.hasOwn(shape, 'timeline')) {
    path = [{ name: 'timeline', selector: null }, ...path]
  }
  const [head] = path
  if (list !== null && head!.selector === null && POLICIES.has(head!.name) && Object.hasOwn(element, 'policy')) {
    const filters = [{ key: 'policy', value: head!.name }]
    path = [{ name: list, selector: { kind: 'filter', filters } }, ...path.slice(1)]
  }
  const leaf = path.at(-1)!
  const isRun = path.length === 1 || (path.length === 2 && path[0]!.name === list)
  const run = list === null ? shape : element
  if (!isRun || leaf.selector !== null || !Object.hasOwn(run, 'pathLatencyMicros') || Object.hasOwn(run, leaf.name))
    return path
  if (!Object.hasOwn(LATENCY_SHAPE, leaf.name)) return path
  const packets = ['pathLatencyMicros', 'packet'].map((name): Segment => ({ name, selector: null }))
  return [...path.slice(0, -1), ...packets, leaf]
}

/**
 * Hold a document against thresholds of its kind, in their order.
 *
 * @throws UserError `E_THRESHOLD`, exit code 2, when a selector chose nothing
 */
export function evaluateThresholds(thresholds: readonly Threshold[], document: object): ThresholdResult[] {
  return thresholds.map((threshold) => {
    const { path, operator, other, limit: fixed } = threshold
    const limit = other === null ? fixed : limitIn(document, threshold, other)
    const matches = valuesAt(document, path, threshold).map(({ path, value }): ThresholdMatch => {
      const pass = value !== null && limit !== null && COMPARE[operator](value, limit)
      return { path, value, limit, pass }
    })
    return { threshold, pass: matches.every((match) => match.pass), matches }
  })
}

/**
 * The figures of a document that an expression is about, each with whether it holds of it; where the right side is `base`, against the
 * same figure of the document that is compared with.
 *
 * @throws UserError `E_THRESHOLD`, exit code 2, when a selector chose nothing in either
 */
export function againstBase(threshold: Threshold, document: object, base: object): ThresholdMatch[] {
  const { operator, ofBase, path } = threshold
  if (ofBase === undefined) return [...evaluateThresholds([threshold], document)[0]!.matches]
  const found = valuesAt(document, path, threshold)
  const before = valuesAt(base, path, threshold)
  const byPath = new Map(before.map((one) => [one.path, one.value]))
  // As many of other names, such as runs of another proxy mode, are held against each other in their order.
  const inOrder = found.length === before.length && !found.some((one) => byPath.has(one.path))
  return found.map(({ path: at, value }, i) => {
    const known = (inOrder ? before[i]!.value : byPath.get(at)) ?? null
    const limit = known === null ? null : ofBase * known
    return { path: at, value, limit, pass: value !== null && limit !== null && COMPARE[operator](value, limit) }
  })
}

function limitIn(
  document: object,
  threshold: Threshold,
  { factor, path }: NonNullable<Threshold['other']>,
): number | null {
  const found = valuesAt(document, path, threshold)
  if (found.length > 1) {
    const refuse = refuser(threshold.subject, threshold.text)
    throw refuse(
      `the right side is ${found.length} numbers: ${found
        .slice(0, 3)
        .map((one) => one.path)
        .join(', ')} …`,
      'choose one with [key=value]',
    )
  }
  const value = found[0]!.value
  return value === null ? null : factor * value
}

interface Found {
  readonly path: string
  readonly value: number | null
}

/** Never empty. */
function valuesAt(document: object, path: readonly Segment[], threshold: Threshold): Found[] {
  const found: Found[] = []
  if (path[0]!.name === 'timeline' && !Object.hasOwn(document, 'timeline')) {
    throw refuser(threshold.subject, threshold.text)('this replay has no Timeline', 'give one with --timeline')
  }
  walk({ path, threshold, found }, document, 0, '')
  return found
}

/** A path may begin at the document, or at an element of its main list: then it means every one. */
function withList(path: readonly Segment[], { shape, list }: Subject): readonly Segment[] {
  const first = path[0]!.name
  const inElement = Object.hasOwn(elementOf(shape, list), first) && !Object.hasOwn(shape, first)
  return inElement && list !== null ? [{ name: list, selector: { kind: 'all' } }, ...path] : path
}

function elementOf(shape: object, list: string | null): object {
  const elements: Json = list === null ? undefined : (shape as Readonly<Record<string, Json>>)[list]
  return Array.isArray(elements) && isObject(elements[0]) ? elements[0] : {}
}

function checkFields(path: readonly Segment[], subject: Subject, refuse: Refuse): void {
  let shape: Json = subject.shape
  let parent = ''
  for (const segment of path) {
    if (isCounterMap(parent)) {
      checkCounter(parent, segment, refuse)
      shape = 0
    } else {
      if (!isObject(shape)) throw refuse(`${parent} is a value and has no field ${segment.name}`)
      if (!Object.hasOwn(shape, segment.name)) throw unknownField(segment.name, parent, shape, subject, refuse)
      shape = shape[segment.name]
      if (Array.isArray(shape)) {
        shape = shape[0]
        if (segment.selector?.kind === 'filter')
          checkFilters(segment.name, segment.selector.filters, shape, subject, refuse)
      } else if (segment.selector !== null) {
        throw refuse(`${segment.name} is not a list, so it cannot have [...]`)
      }
    }
    parent = segment.name
  }
  if (typeof shape === 'number') return
  const known = isObject(shape) ? Object.keys(shape) : []
  throw refuse(`${parent} is not a number`, known.length > 0 ? `its fields: ${known.join(', ')}` : '')
}

/** Reasons are a closed list, so a misspelt one is an error and not a count of 0; response codes and types are open. */
function checkCounter(map: string, segment: Segment, refuse: Refuse): void {
  if (segment.selector !== null) throw refuse(`${segment.name} is not a list, so it cannot have [...]`)
  if (map === 'drops' && !REASON_NAMES.includes(segment.name)) {
    throw refuse(`no drop reason is called ${segment.name}`, suggestion(segment.name, REASON_NAMES))
  }
  if (map === 'byStatus' && !/^[1-5]\d\d$/.test(segment.name)) throw refuse(`${segment.name} is no HTTP status`)
}

function checkFilters(list: string, filters: readonly Filter[], element: Json, subject: Subject, refuse: Refuse): void {
  for (const { key } of filters) {
    if (!isObject(element)) throw refuse(`the elements of ${list} have no fields to select by`)
    if (!Object.hasOwn(element, key)) throw unknownField(key, list, element, subject, refuse)
  }
}

function unknownField(name: string, parent: string, shape: object, subject: Subject, refuse: Refuse): UserError {
  const of = parent === '' ? subject.what : parent
  const fields = Object.keys(shape)
  if (parent === '') fields.push(...Object.keys(elementOf(subject.shape, subject.list)))
  return refuse(`${of} has no field ${name}`, suggestion(name, fields) || 'dpemu help metrics lists all')
}

function limitOf(path: readonly Segment[], number: number, unit: string, refuse: Refuse): number {
  if (unit === '') return number
  const units = unitsOf(dimensionOf(path.map((segment) => segment.name)))
  const factor = units.get(unit)
  if (factor === undefined) {
    const field = path.at(-1)!.name
    throw refuse(`${field} is not measured in ${unit}`, `units of ${field}: ${[...units.keys()].join(', ')}`)
  }
  // Dividing keeps `57%` the number that 0.57 is.
  return factor >= 1 ? number * factor : number / Math.round(1 / factor)
}

interface Walk {
  readonly path: readonly Segment[]
  readonly threshold: Threshold
  readonly found: Found[]
}

function walk(way: Walk, value: Json, depth: number, done: string): void {
  const segment = way.path[depth]
  if (segment === undefined) {
    way.found.push({ path: done, value: typeof value === 'number' ? value : null })
    return
  }
  const path = done === '' ? segment.name : `${done}.${segment.name}`
  const object = isObject(value) ? value : {}
  const next = Object.hasOwn(object, segment.name) ? object[segment.name] : undefined
  if (Array.isArray(next)) {
    for (const index of choose(way.threshold, segment, next, path)) {
      walk(way, next[index], depth + 1, `${path}[${labelOf(segment.name, next[index], index)}]`)
    }
  } else if (next === undefined && isCounterMap(way.path[depth - 1]?.name ?? '')) {
    way.found.push({ path, value: 0 })
  } else if (isEmptyLatency(object) && segment.name !== 'count') {
    way.found.push({ path, value: null })
  } else {
    walk(way, next, depth + 1, path)
  }
}

function choose(threshold: Threshold, segment: Segment, list: readonly Json[], path: string): number[] {
  const refuse = refuser(threshold.subject, threshold.text)
  const selector = segment.selector ?? { kind: 'all' }
  const chosen: number[] = []
  for (let i = 0; i < list.length; i++) {
    if (selector.kind === 'index' && i !== selector.index) continue
    if (selector.kind === 'filter' && !selector.filters.every((filter) => holds(filter, list[i]))) continue
    chosen.push(i)
  }
  if (chosen.length > 0) return chosen
  if (list.length === 0) throw refuse(`${path} is empty in this report`)
  throw refuse(`nothing in ${path} matches ${selectorText(segment)}`, nearestElement(segment, list))
}

function holds(filter: Filter, element: Json): boolean {
  return isObject(element) && String(element[filter.key]) === filter.value
}

/** The first filter that alone matches nothing is the misspelt one; name the value it should have had. */
function nearestElement(segment: Segment, list: readonly Json[]): string {
  if (segment.selector?.kind === 'index') return `it has ${list.length}, counted from 0`
  if (segment.selector?.kind !== 'filter') return ''
  for (const filter of segment.selector.filters) {
    if (list.some((element) => holds(filter, element))) continue
    const values = [...new Set(list.map((element) => (isObject(element) ? String(element[filter.key]) : '')))]
    const near = nearestName(filter.value, values)
    if (near !== null) return `did you mean ${filter.key}=${near}?`
    return `${filter.key} is one of: ${values.slice(0, 12).join(', ')}${values.length > 12 ? ', …' : ''}`
  }
  return 'each of the filters matches something, but not all of them the same element'
}

function selectorText(segment: Segment): string {
  const selector = segment.selector
  if (selector?.kind === 'index') return `[${selector.index}]`
  if (selector?.kind !== 'filter') return '[*]'
  return `[${selector.filters.map((filter) => `${filter.key}=${filter.value}`).join(',')}]`
}

/** What tells an element of this list from its neighbours. */
const IDENTITY: Readonly<Record<string, readonly string[]>> = {
  runs: ['policy', 'proxyMode', 'ingressPath'],
  endpoints: ['service', 'endpoint'],
  imbalance: ['service'],
  services: ['service'],
  rules: ['rule', 'status'],
  pods: ['service', 'endpoint'],
  proxies: ['address'],
  nodes: ['node'],
  model: ['name'],
  cells: ['name'],
  tried: ['connectionsPerSecond'],
  broke: ['objective'],
  offered: ['policy'],
  lost: ['policy'],
  delayed: ['policy'],
  gaps: ['policy'],
  losses: ['policy', 'service', 'cause', 'phase', 'clientSees', 'outcome'],
  longLived: ['policy'],
  byCause: ['cause'],
  neededPreStopSeconds: ['policy'],
  safe: ['policy'],
  servers: ['address'],
  conntrackHolders: ['service'],
  // Of benchmarks.
  rows: ['row', 'size', 'skew', 'variant'],
  ratios: ['row', 'size', 'skew', 'against'],
  replay: ['trace', 'policy', 'workers', 'packets'],
}

/** What an element of a list is called in a path: `policy=local,proxyMode=nftables`; its place where nothing tells it from others. */
export function labelOf(list: string, element: unknown, index: number): string {
  const keys = IDENTITY[list]
  if (keys === undefined || !isObject(element)) return String(index)
  const telling = keys.filter((key) => element[key] !== null && element[key] !== undefined)
  return telling.map((key) => `${key}=${String(element[key])}`).join(',')
}

/** A LatencySummary of which nothing was recorded holds zeros that are no measurement. */
function isEmptyLatency(object: Readonly<Record<string, Json>>): boolean {
  return object['count'] === 0 && Object.hasOwn(object, 'p999')
}

function isObject(value: Json): value is Readonly<Record<string, Json>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

type Refuse = (message: string, hint?: string) => UserError

function refuser({ flag }: Subject, text: string): Refuse {
  return (message, hint = '') =>
    new UserError('E_THRESHOLD', `${flag} '${text.trim()}': ${message}`, { hint, exitCode: 2 })
}
