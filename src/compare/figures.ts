/**
 * A report as a flat list of figures, each under the path that an expression names it by.
 *
 * What says how a report was made (`circumstances.ts`), what is measured of dpemu itself, lists of numbers and what repeats other
 * figures are left out.
 */
import { isCounterMap } from '../report/fields.ts'
import { labelOf } from '../report/threshold.ts'
import { type Compared, type Fields, isFields, type Kind } from './read.ts'

export interface Figures {
  /** Path to value, in the order of the document; null: there was nothing to measure. */
  readonly values: ReadonlyMap<string, number | null>
  /** Paths of maps in which a name that is not there counts 0. */
  readonly maps: ReadonlySet<string>
  /** Names of the fields to a figure, for its unit. */
  readonly fields: ReadonlyMap<string, readonly string[]>
}

/** Where the figures of a kind are, and fields below that are none or say them again. */
const ROOTS: Readonly<Record<Kind, readonly string[]>> = {
  replay: ['runs', 'timeline'],
  capacity: ['cells', 'crossings'],
  rollout: ['offered', 'lost', 'delayed', 'gaps', 'losses', 'longLived', 'rollout', 'neededPreStopSeconds', 'safe'],
  bench: ['rows', 'ratios', 'replay'],
}
const LEFT_OUT: Readonly<Record<Kind, ReadonlySet<string>>> = {
  // conntrack's drop and earlyDrop are conntrackDrops and earlyDrops, and clashResolve is always 0.
  replay: new Set([
    'series',
    'drop.conntrack',
    'earlyDrop.conntrack',
    'clashResolve',
    'histograms',
    'events',
    'overTime',
    'told',
    'conntrackHolders',
  ]),
  capacity: new Set(['tried', 'broke', 'draws', 'parameters', 'betweenConnectionsPerSecond']),
  rollout: new Set(['events', 'overTime']),
  bench: new Set(['rounds', 'target', 'targetMillions']),
}
/** Main lists: one element here and one there are held against each other, whatever they are called. */
const MAIN: ReadonlySet<string> = new Set(['runs', 'cells'])
const POLICIES: ReadonlySet<string> = new Set(['local', 'cluster', 'as-is'])

/** Paths are shortened alike in all reports, so that equal figures have equal ones. */
export function figuresOf(reports: readonly Compared[]): Figures[] {
  const alone = reports.every(({ document }) => [...MAIN].every((list) => lengthOf(document[list]) <= 1))
  const byPolicy = reports.every(({ document }) => isToldByPolicy(document['runs']))
  return reports.map(({ kind, document }) => {
    const figures = {
      values: new Map<string, number | null>(),
      maps: new Set<string>(),
      fields: new Map<string, string[]>(),
    }
    const walk = (value: unknown, path: string, fields: readonly string[]): void => {
      if (typeof value === 'number' || value === null) {
        figures.values.set(path, value)
        figures.fields.set(path, [...fields])
      } else if (Array.isArray(value)) {
        value.forEach((element, i) => {
          if (isFields(element)) walk(element, elementPath(path, fields.at(-1)!, element, i), fields)
        })
      } else if (isFields(value)) {
        if (isCounterMap(fields.at(-1) ?? '')) figures.maps.add(path)
        for (const [name, inner] of fieldsOf(value)) {
          const isLeftOut = LEFT_OUT[kind].has(name) || LEFT_OUT[kind].has(`${name}.${fields.at(-1)!}`)
          if (!isLeftOut) walk(inner, path === '' ? name : `${path}.${name}`, [...fields, name])
        }
      }
    }
    const elementPath = (path: string, list: string, element: Fields, i: number): string => {
      if (MAIN.has(list) && path === list) {
        if (alone) return `${path}[*]`
        if (list === 'runs' && byPolicy) return String(element['policy'])
      }
      return `${path}[${labelOf(list, element, i)}]`
    }
    for (const root of ROOTS[kind]) if (document[root] !== undefined) walk(document[root], root, [root])
    return figures
  })
}

/** Numbers and what holds some. Of a latency of which nothing was recorded all are null; how many there were, other figures say. */
function fieldsOf(value: Fields): [string, unknown][] {
  if (!Object.hasOwn(value, 'p999')) return Object.entries(value).filter(([, inner]) => typeof inner !== 'string')
  const isEmpty = value['count'] === 0
  return Object.entries(value)
    .filter(([name]) => name !== 'count')
    .map(([name, inner]) => [name, isEmpty ? null : inner])
}

function lengthOf(list: unknown): number {
  return Array.isArray(list) ? list.length : 0
}

/** `local.connections.failed` says which run is meant: each policy has one, and policies can be named so. */
function isToldByPolicy(runs: unknown): boolean {
  if (!Array.isArray(runs)) return false
  const policies = runs.map((run) => (isFields(run) ? run['policy'] : null))
  return policies.every((policy) => POLICIES.has(String(policy))) && new Set(policies).size === runs.length
}
