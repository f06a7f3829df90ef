/** What reports were made from and with, where it is not the same: to be said before any figure is. */
import { type Compared, type Fields, isFields, type Kind } from './read.ts'

export interface Circumstance {
  /** `model.linkMicros` */
  readonly what: string
  /** As text, in the order of the reports; null where a report does not say. */
  readonly values: readonly (string | null)[]
}

/** Fields that tell how a report was made, in the order of their weight. */
const TOLD: Readonly<Record<Kind, readonly string[]>> = {
  replay: [
    'trace',
    'inputs',
    'runs',
    'comparedServices',
    'draws',
    'changes',
    'model',
    'emulates',
    'engine.version',
    'warnings',
  ],
  capacity: ['scenario', 'search', 'seeds', 'objectives', 'axes', 'model', 'emulates', 'version', 'warnings'],
  rollout: [
    'target',
    'connectionsPerSecond',
    'proxyMode',
    'services',
    'controlPlane',
    'runs',
    'seed',
    'emulates',
    'version',
    'warnings',
  ],
  bench: ['machine.cpu', 'machine.cpus', 'machine.platform', 'node', 'v8', 'command', 'revision'],
}
/** Figures of draws, not how many and which there were. */
const FIGURES: ReadonlySet<string> = new Set(['least', 'most', 'advice', 'pods'])
const MAX_TEXT = 80

/** Those that differ. */
export function circumstancesOf(reports: readonly Compared[], kind: Kind): Circumstance[] {
  const told = reports.map(({ document }) => {
    const texts = new Map<string, string>()
    for (const field of TOLD[kind]) tell(valueAt(document, field), field, texts)
    return texts
  })
  const names = [...new Set(told.flatMap((texts) => [...texts.keys()]))]
  return names
    .map((what) => ({ what, values: told.map((texts) => texts.get(what) ?? null) }))
    .filter(({ values }) => new Set(values).size > 1)
    .sort((a, b) => weight(a.what, kind) - weight(b.what, kind))
}

function weight(what: string, kind: Kind): number {
  return TOLD[kind].findIndex((field) => what === field || what.startsWith(`${field}.`) || what.startsWith(`${field}[`))
}

function tell(value: unknown, path: string, texts: Map<string, string>): void {
  if (value === undefined) return
  if (path === 'runs' && Array.isArray(value)) {
    const runs = value
      .filter(isFields)
      .map(({ policy, proxyMode, ingressPath }) =>
        [policy, proxyMode, ingressPath].filter((name) => typeof name === 'string').join(' '),
      )
    texts.set(path, runs.join(', '))
    return
  }
  if (path === 'model' && Array.isArray(value)) {
    for (const constant of value.filter(isFields))
      texts.set(`model.${String(constant['name'])}`, String(constant['value']))
  } else if (path === 'warnings' && Array.isArray(value)) {
    for (const { code, where, message } of value.filter(isFields))
      texts.set(
        `warnings[${String(code)}]`,
        [texts.get(`warnings[${String(code)}]`), `${String(where)}: ${String(message)}`].filter(Boolean).join('; '),
      )
  } else if (isFields(value)) {
    for (const [name, inner] of Object.entries(value)) if (!FIGURES.has(name)) tell(inner, `${path}.${name}`, texts)
  } else texts.set(path, textOf(value))
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  return Array.isArray(value) && value.every((one) => typeof one !== 'object')
    ? value.join(', ')
    : JSON.stringify(value)
}

/** In a table. */
export function shown(value: string | null): string {
  if (value === null) return 'not said'
  const letters = [...value]
  return letters.length <= MAX_TEXT ? value : `${letters.slice(0, MAX_TEXT - 1).join('')}…`
}

function valueAt(document: Fields, path: string): unknown {
  return path.split('.').reduce<unknown>((value, name) => (isFields(value) ? value[name] : undefined), document)
}
