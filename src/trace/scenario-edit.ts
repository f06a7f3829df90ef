/**
 * Scenarios made from a scenario: with fields changed, and with its traffic scaled to another rate.
 *
 * The results are texts again (JSON, which is YAML), so that whatever reads scenarios checks them like any other.
 * A scaled scenario keeps its shape: rates are multiplied, and starts, counts and changes of the cluster are stretched
 * over as long as the connections asked for last at that rate. Sessions, think times and returns stay as they are.
 */
import { load } from 'js-yaml'
import type { TraceChange } from './format.ts'
import { parseScenario, type Scenario, type Stream } from './scenario.ts'
import { Field } from './scenario-fields.ts'

export type FieldValue = string | number | boolean

export interface FieldEdit {
  /** `duration`, `traffic[0].arrivals.rate`. */
  readonly path: string
  readonly value: FieldValue
}

export interface Scaling {
  /** What every stream's rate is multiplied by. */
  readonly factor: number
  /** Over the whole trace; null: as many as the scenario's own length gives at that rate. */
  readonly connections: number | null
}

/** Above this no stream is generated; the bound of a scenario's `arrivals.rate`. */
const MAX_PER_SECOND = 1e7
const LEAST_PER_SECOND = 1e-6

type RawMap = Record<string, unknown>

/**
 * The scenario with fields set; a map on the way to one is made where there is none.
 *
 * @param text  of a scenario that parses
 * @throws UserError E_SCENARIO_FIELD where a path leads nowhere, or what the change makes is no scenario
 */
export function editScenario(text: string, file: string, edits: readonly FieldEdit[]): string {
  const root = rawScenario(text)
  for (const { path, value } of edits) setField(root, file, path, value)
  const edited = JSON.stringify(root)
  parseScenario(edited, file)
  return edited
}

/** What a scenario offers when all its streams are under way: connections a second, returns of clients not counted. */
export function connectionsPerSecond(scenario: Scenario): number {
  return scenario.traffic.reduce((sum, { arrivals }) => sum + arrivals.perSecond, 0)
}

/** The factors between which every stream has a rate that can be generated. */
export function scalingLimits(scenario: Scenario): { readonly least: number; readonly most: number } {
  const rates = scenario.traffic.map(({ arrivals }) => arrivals.perSecond)
  return { least: LEAST_PER_SECOND / Math.min(...rates), most: MAX_PER_SECOND / Math.max(...rates) }
}

/** @param text  of a scenario that parses */
export function scaleScenario(text: string, file: string, { factor, connections }: Scaling): string {
  const scenario = parseScenario(text, file)
  const root = rawScenario(text)
  const own = expectedConnections(scenario)
  /** By what its timeline is stretched, and its counts multiplied. */
  const stretch = connections === null ? 1 : connections / (own * factor)
  const times = connections === null ? factor : connections / own
  const streams = Array.isArray(root['traffic']) ? (root['traffic'] as RawMap[]) : [root['traffic'] as RawMap]
  scenario.traffic.forEach((stream, i) => {
    streams[i]!['arrivals'] = scaledArrivals(stream, factor, times)
    if (stream.startSeconds > 0) streams[i]!['start'] = stream.startSeconds * stretch
  })
  if (root['timeline'] !== undefined && stretch !== 1) {
    new Field(root['timeline'], file, 'timeline').fail('has times of its own, which cannot be scaled', 'leave it out')
  }
  if (root['changes'] !== undefined) root['changes'] = stretched(root['changes'], scenario.changes, file, stretch)
  if (connections !== null) {
    delete root['duration']
    root['connections'] = connections
  } else if (Number.isFinite(scenario.connections)) {
    root['connections'] = Math.max(1, Math.round(scenario.connections * factor))
  }
  return JSON.stringify(root)
}

function scaledArrivals({ arrivals }: Stream, factor: number, times: number): RawMap {
  return {
    process: arrivals.process,
    rate: arrivals.perSecond * factor,
    ...(Number.isFinite(arrivals.connections)
      ? { connections: Math.max(1, Math.round(arrivals.connections * times)) }
      : {}),
  }
}

function stretched(raw: unknown, changes: readonly TraceChange[], file: string, stretch: number): unknown[] {
  const list = (Array.isArray(raw) ? raw : [raw]) as RawMap[]
  if (changes.length === 0) return list
  return list.map((change, i) => {
    const seconds = new Field(change['at'], file, `changes[${i}].at`).duration()
    return { ...change, at: seconds * stretch }
  })
}

/** Connections that the scenario opens, returns of clients not counted. */
export function expectedConnections({ connections, durationSeconds, traffic }: Scenario): number {
  const opened = traffic.reduce(
    (sum, { arrivals, startSeconds }) =>
      sum + Math.min(arrivals.connections, arrivals.perSecond * Math.max(0, durationSeconds - startSeconds)),
    0,
  )
  return Math.max(1, Math.min(connections, opened))
}

/** A tree of its own: two streams that share an alias must not be changed together. */
function rawScenario(text: string): RawMap {
  return JSON.parse(JSON.stringify(load(text))) as RawMap
}

function setField(root: RawMap, file: string, path: string, value: FieldValue): void {
  const steps = stepsOf(path)
  if (steps.length === 0)
    new Field(undefined, file, path).fail('is no path to a field', 'for example traffic[0].arrivals.rate')
  const fail = (message: string): never => new Field(undefined, file, path).fail(message)
  let here: unknown = root
  for (const [i, step] of steps.entries()) {
    const isLast = i === steps.length - 1
    if (typeof step === 'number') {
      const list: unknown[] = Array.isArray(here) ? here : [here]
      if (step >= list.length) fail(`leads nowhere: there are ${list.length} entries, counted from 0`)
      if (isLast && Array.isArray(here)) here[step] = value
      else if (isLast) fail('leads to no single value')
      here = list[step]
    } else {
      if (typeof here !== 'object' || here === null || Array.isArray(here)) fail('leads through what is no map')
      const map = here as RawMap
      if (isLast) map[step] = value
      else if (!Object.hasOwn(map, step)) map[step] = {}
      here = map[step]
    }
  }
}

/** `traffic[0].to[1].weight` → traffic, 0, to, 1, weight; empty for what is no path. */
function stepsOf(path: string): (string | number)[] {
  if (!/^[A-Za-z]\w*(\[\d{1,6}\])*(\.[A-Za-z][\w-]*(\[\d{1,6}\])*)*$/.test(path)) return []
  return path.split(/[.[\]]+/).flatMap((step) => (step === '' ? [] : [/^\d/.test(step) ? Number(step) : step]))
}
