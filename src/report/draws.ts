/**
 * Several reports of the same replay as one: each figure by itself as the median over the draws, with the least and the most beside it.
 *
 * The median is one that occurred (nearest rank, the lower of two in the middle), so counts stay whole; figures of one table need
 * not add up. Elements of lists are matched by what they are (a pod by its name, wherever it is); what a draw does not list is 0
 * there. Null, where it stands for "never", is more than every number. Latencies of which a draw recorded nothing have no say.
 */
import { conclusionsOf } from './conclusion.ts'
import type { DrawnRun, PlacementReport, ReplayReport, RunReport } from './types.ts'
import { formatCount } from './units.ts'

type Json = unknown
type Fields = Readonly<Record<string, Json>>
/** Of sorted values. */
type Pick = (values: readonly (number | null)[]) => number | null

export interface DrawnReports {
  readonly seeds: readonly number[]
  readonly placements: readonly PlacementReport[]
  /** Seeds slowest. */
  readonly reports: readonly ReplayReport[]
}

/** @param drawn  a report at least; one alone stays as it is */
export function mergeDraws({ seeds, placements, reports }: DrawnReports): ReplayReport {
  const first = reports[0]!
  if (reports.length === 1) return first
  const each = reports.map(({ runs }) => runs)
  const median = picked(reports.map(figuresAlone), middle)
  return {
    ...first,
    trace: { ...(median('trace') as ReplayReport['trace']) },
    runs: (median('runs') as RunReport[]).map((run, i) => ({
      ...run,
      histograms: summed(each.map((runs) => runs[i]!)),
      series: first.runs[i]!.series,
    })),
    draws: {
      count: reports.length,
      seeds: [...seeds],
      placements: placements.map(({ placement, pods }) => ({ placement, pods })),
      advice: answersOf(reports),
      least: picked(reports.map(figuresAlone), (values) => values[0]!)('runs') as DrawnRun[],
      most: picked(reports.map(figuresAlone), (values) => values.at(-1)!)('runs') as DrawnRun[],
      each,
    },
    derived: [...first.derived, ...placements.slice(1).flatMap(placementNotes)],
    warnings: unique(reports.flatMap(({ warnings }) => warnings)),
    engine: engineOver(reports),
  }
}

function picked(reports: readonly Figures[], pick: Pick): (field: 'trace' | 'runs') => Json {
  return (field) =>
    merged(
      reports.map((report) => report[field]),
      pick,
      field,
    )
}

/** The same for any values of one shape. */
export function overDraws<Value extends object>(
  values: readonly Value[],
): { readonly median: Value; readonly least: Value; readonly most: Value } {
  const all = (pick: Pick): Value => merged(values, pick, '') as Value
  return { median: all(middle), least: all((sorted) => sorted[0]!), most: all((sorted) => sorted.at(-1)!) }
}

interface Figures {
  readonly trace: ReplayReport['trace']
  readonly runs: readonly DrawnRun[]
}

/** Distributions and the course of a run are nothing that a median is taken of. */
function figuresAlone({ trace, runs }: ReplayReport): Figures {
  return { trace, runs: runs.map(({ histograms: _, series: __, ...run }) => run) }
}

function middle(values: readonly (number | null)[]): number | null {
  return values[Math.ceil(values.length / 2) - 1]!
}

/** @param field  whose values these are; undefined ones are those of a draw that has none */
function merged(values: readonly Json[], pick: Pick, field: string): Json {
  const there = values.filter((value) => value !== undefined)
  const some = there.find((value) => value !== null)
  if (Array.isArray(some)) return mergedList(there.filter(Array.isArray) as Json[][], values.length, pick, field)
  if (isObject(some)) return mergedObject(there.filter(isObject), values.length - there.length, pick)
  if (typeof some === 'number') {
    const numbers = [...(there as (number | null)[]), ...Array<number>(values.length - there.length).fill(0)]
    return pick(numbers.sort((a, b) => (a ?? Number.POSITIVE_INFINITY) - (b ?? Number.POSITIVE_INFINITY)))
  }
  // A pod that is on another node in another draw is on none in all of them.
  return field === 'node' && there.some((value) => value !== there[0]) ? null : there[0]
}

/** @param missing  draws that do not have it: their numbers are 0 */
function mergedObject(given: readonly Fields[], missing: number, pick: Pick): Fields {
  const isLatency = given.every((one) => Object.hasOwn(one, 'p999'))
  const recorded = isLatency ? given.filter((one) => one['count'] !== 0) : given
  const objects = recorded.length > 0 ? recorded : given
  const absent = isLatency ? 0 : missing
  const names = [...new Set(given.flatMap((one) => Object.keys(one)))]
  return Object.fromEntries(
    names.map((name) => {
      const [from, without] = isLatency && name === 'count' ? [given, missing] : [objects, absent]
      return [name, merged([...from.map((one) => one[name]), ...Array<Json>(without).fill(undefined)], pick, name)]
    }),
  )
}

function mergedList(lists: readonly (readonly Json[])[], draws: number, pick: Pick, field: string): Json[] {
  const byIdentity = lists.map((list) => new Map(list.map((element, i) => [identityOf(element, i, field), element])))
  const identities = [...new Set(byIdentity.flatMap((elements) => [...elements.keys()]))]
  return identities.map((identity) => {
    const values = byIdentity.map((elements) => elements.get(identity))
    return merged([...values, ...Array<Json>(draws - lists.length).fill(undefined)], pick, field)
  })
}

/** What an element is called, in whichever draw; a pod has another address where it is on another node. */
function identityOf(element: Json, index: number, list: string): string {
  if (!isObject(element)) return typeof element === 'string' ? element : String(index)
  const keys = IDENTITIES[list]
  if (keys === undefined) return String(index)
  return keys.map(([key, other]) => String(element[key] ?? (other === undefined ? '' : element[other]))).join('\n')
}

const IDENTITIES: Readonly<Record<string, readonly (readonly [key: string, orElse?: string])[]>> = {
  endpoints: [['service'], ['pod', 'endpoint']],
  services: [['service']],
  imbalance: [['service']],
  nodes: [['node']],
  conntrackHolders: [['service']],
  servers: [['pod', 'address']],
  rules: [['rule'], ['service'], ['status']],
  pods: [['service'], ['pod', 'endpoint']],
  proxies: [['pod', 'address']],
}

function summed(runs: readonly RunReport[]): RunReport['histograms'] {
  const sum = (of: (run: RunReport) => RunReport['histograms']['packet']): RunReport['histograms']['packet'] => {
    const bins = new Map<number, { to: number; count: number }>()
    for (const run of runs) {
      const { fromMicros, toMicros, counts } = of(run)
      fromMicros.forEach((from, i) => {
        const bin = bins.get(from) ?? { to: toMicros[i]!, count: 0 }
        bin.count += counts[i]!
        bins.set(from, bin)
      })
    }
    const sorted = [...bins].sort(([a], [b]) => a - b)
    return {
      fromMicros: sorted.map(([from]) => from),
      toMicros: sorted.map(([, { to }]) => to),
      counts: sorted.map(([, { count }]) => count),
    }
  }
  return {
    packet: sum(({ histograms }) => histograms.packet),
    firstPacket: sum(({ histograms }) => histograms.firstPacket),
    connectionSetup: sum(({ histograms }) => histograms.connectionSetup),
    request: sum(({ histograms }) => histograms.request),
  }
}

/** What each draw would be answered if it were the only one. */
function answersOf(reports: readonly ReplayReport[]): { pair: string; answer: string; draws: number }[] {
  const counts = new Map<string, { pair: string; answer: string; draws: number }>()
  for (const report of reports) {
    for (const { effect, answer = '', pair = '' } of conclusionsOf(report)) {
      if (effect !== 'advice') continue
      const key = `${pair}\n${answer}`
      const entry = counts.get(key) ?? { pair, answer, draws: 0 }
      entry.draws++
      counts.set(key, entry)
    }
  }
  return [...counts.values()]
}

function placementNotes({ placement, pods }: PlacementReport): { object: string; what: string }[] {
  return Object.entries(pods).map(([object, nodes]) => {
    const parts = Object.entries(nodes).map(([node, count]) => {
      const where = node === '' ? 'no node' : node
      return count === 1 ? where : `${formatCount(count)} on ${where}`
    })
    return { object, what: `in placement ${placement}: ${parts.join(', ')}` }
  })
}

function engineOver(reports: readonly ReplayReport[]): ReplayReport['engine'] {
  const engines = reports.map(({ engine }) => engine)
  const wallSeconds = engines.reduce((sum, one) => sum + one.wallSeconds, 0)
  const packets = engines.reduce((sum, one) => sum + one.packetsPerSecond * one.wallSeconds, 0)
  return {
    ...engines[0]!,
    wallSeconds,
    packetsPerSecond: packets / wallSeconds,
    peakRssBytes: Math.max(...engines.map(({ peakRssBytes }) => peakRssBytes)),
    nativeAddons: engines.some(({ nativeAddons }) => nativeAddons),
  }
}

function unique(warnings: ReplayReport['warnings']): ReplayReport['warnings'] {
  const seen = new Set<string>()
  return warnings.filter(({ where, message }) => {
    const key = `${where}\n${message}`
    return !seen.has(key) && seen.add(key)
  })
}

function isObject(value: Json): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
