/**
 * What a sweep varies: `-P nodes=3..30:3` and `-L policy=Local,Cluster`, and every combination of their values.
 *
 * The first axis varies slowest. What an axis may be called: how the runs are made (policy, proxyMode, rate, connections,
 * seed), the cluster (nodes, replicas.NAMESPACE/WORKLOAD), a constant of the model, or a field of the scenario by path.
 */
import type { ConstantName } from '../compile/model.ts'
import { UserError } from '../errors.ts'
import { suggestion } from '../nearest.ts'
import type { CapacityAxis, ParameterValue } from '../report/capacity-types.ts'

/** What an axis of a name changes. */
export type AxisTarget =
  | { readonly kind: 'run'; readonly name: RunAxis }
  | { readonly kind: 'nodes' }
  | { readonly kind: 'replicas'; readonly namespace: string; readonly workload: string }
  | { readonly kind: 'constant'; readonly name: ConstantName }
  | { readonly kind: 'field'; readonly path: string }
  | { readonly kind: 'manifest'; readonly field: ManifestField }

/** A field of an object of the manifests: `Service/shop/web:spec.sessionAffinity`. */
export interface ManifestField {
  /** As written, for messages. */
  readonly text: string
  readonly objectKind: string
  readonly namespace: string
  readonly name: string
  /** Names, and indices of lists. */
  readonly path: readonly (string | number)[]
}

export interface Axis extends CapacityAxis {
  readonly target: AxisTarget
}

const RUN_AXES = ['policy', 'proxyMode', 'rate', 'connections', 'seed'] as const
export type RunAxis = (typeof RUN_AXES)[number]

const CHOICES: Readonly<Partial<Record<RunAxis, readonly string[]>>> = {
  policy: ['cluster', 'local', 'as-is'],
  proxyMode: ['nftables', 'iptables', 'ipvs'],
}
/** Whole numbers of which the least is given; `rate` is a factor. */
const LEAST: Readonly<Record<string, number>> = { connections: 1, seed: 0, nodes: 1, replicas: 0 }
const MOST: Readonly<Record<string, number>> = {
  connections: 100_000_000,
  seed: 0xffff_ffff,
  nodes: 1000,
  replicas: 10_000,
}
const MAX_VALUES = 10_000
export const MAX_CELLS = 10_000

/**
 * @param ranges     values of -P: `NAME=FROM..TO` or `NAME=FROM..TO:STEP`
 * @param lists      values of -L: `NAME=A,B,C`
 * @param constants  names of the model's
 * @throws UserError `E_USAGE`, exit code 2
 */
export function parseAxes(
  ranges: readonly string[],
  lists: readonly string[],
  constants: readonly ConstantName[],
): Axis[] {
  const axes = [
    ...ranges.map((text) => axisOf('-P', text, rangeOf, constants)),
    ...lists.map((text) => axisOf('-L', text, listOf, constants)),
  ]
  for (const [i, { name }] of axes.entries()) {
    if (axes.findIndex((other) => other.name === name) < i) throw usage(`two axes are called ${name}`)
  }
  return axes
}

/** Every combination, the last axis varying fastest; one empty one where there is no axis. */
export function combinations(axes: readonly Axis[]): ReadonlyMap<string, ParameterValue>[] {
  const count = axes.reduce((product, { values }) => product * values.length, 1)
  if (count > MAX_CELLS) throw usage(`the axes make ${count} combinations; at most ${MAX_CELLS} can be run`)
  return axes.reduce<ReadonlyMap<string, ParameterValue>[]>(
    (made, { name, values }) => made.flatMap((one) => values.map((value) => new Map([...one, [name, value]]))),
    [new Map()],
  )
}

function axisOf(
  flag: string,
  text: string,
  valuesOf: (flag: string, text: string) => ParameterValue[],
  constants: readonly ConstantName[],
): Axis {
  const equals = text.indexOf('=')
  if (equals <= 0) throw usage(`${flag} ${text}: expected NAME=VALUES`, `${EXAMPLES[flag]}`)
  const name = text.slice(0, equals).trim()
  const target = targetOf(flag, text, name, constants)
  const values = valuesOf(`${flag} ${text}`, text.slice(equals + 1)).map((value) => checked(flag, text, target, value))
  const twice = values.find((value, i) => values.indexOf(value) < i)
  if (twice !== undefined) throw usage(`${flag} ${text}: ${twice} is given twice`)
  return { name, values, target }
}

const EXAMPLES: Readonly<Record<string, string>> = {
  '-P': 'for example -P nodes=3..30:3',
  '-L': 'for example -L policy=local,cluster',
}

function targetOf(flag: string, text: string, name: string, constants: readonly ConstantName[]): AxisTarget {
  const run = RUN_AXES.find((known) => known === name)
  if (run !== undefined) return { kind: 'run', name: run }
  if (name === 'nodes') return { kind: 'nodes' }
  const replicas = /^replicas\.(?:([^/\s]+)\/)?([^/\s]+)$/.exec(name)
  if (replicas !== null) return { kind: 'replicas', namespace: replicas[1] ?? 'default', workload: replicas[2]! }
  const constant = constants.find((known) => known === name)
  if (constant !== undefined) return { kind: 'constant', name: constant }
  if (/^(traffic|changes)[.[]/.test(name) || name === 'duration') return { kind: 'field', path: name }
  const field = manifestFieldOf(name)
  if (field !== null) return { kind: 'manifest', field }
  const known = [...RUN_AXES, 'nodes', 'duration', 'replicas.NAMESPACE/WORKLOAD', 'traffic[0].FIELD', ...constants]
  throw usage(
    `${flag} ${text}: there is nothing called ${name} to vary`,
    suggestion(name, known) ||
      `known: ${known.slice(0, 9).join(', ')}, KIND/NAMESPACE/NAME:FIELD of the manifests, and the constants of the model`,
  )
}

/** `Service/web:spec.ports[0].port` is one of namespace default. */
function manifestFieldOf(text: string): ManifestField | null {
  const match = /^([A-Z]\w*)\/(?:([\w.-]+)\/)?([\w.-]+):([A-Za-z][\w.[\]/-]*)$/.exec(text)
  if (match === null) return null
  const [, objectKind, namespace, name, path] = match
  const steps = path!.split(/[.[]/).map((step) => {
    const index = /^(\d{1,3})\]$/.exec(step)?.[1]
    return index === undefined ? step : Number(index)
  })
  if (steps.some((step) => step === '' || (typeof step === 'string' && step.includes(']')))) return null
  return { text, objectKind: objectKind!, namespace: namespace ?? 'default', name: name!, path: steps }
}

/** `3..30:3`; the step is 1 where it is left out, and the end belongs to it where a step meets it. */
function rangeOf(what: string, text: string): number[] {
  const number = String.raw`\s*([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*`
  const match = new RegExp(String.raw`^${number}\.\.${number}(?::${number})?$`).exec(text)
  if (match === null) throw usage(`${what}: expected FROM..TO or FROM..TO:STEP`, EXAMPLES['-P'])
  const [from, to] = [Number(match[1]), Number(match[2])]
  const step = match[3] === undefined ? 1 : Number(match[3])
  if (to < from) throw usage(`${what}: the range ends before it begins`)
  if (!(step > 0)) throw usage(`${what}: the step must be above 0`)
  const count = Math.floor((to - from) / step + 1e-9) + 1
  if (!(count <= MAX_VALUES)) throw usage(`${what}: that are more than ${MAX_VALUES} values`)
  // Twelve digits: 0.1 + 2 × 0.1 is the 0.3 that was meant.
  return Array.from({ length: count }, (_, i) => Number((from + i * step).toPrecision(12)))
}

function listOf(what: string, text: string): ParameterValue[] {
  const values = text.split(',').map((value) => value.trim())
  if (values.includes('')) throw usage(`${what}: a value is missing`, EXAMPLES['-L'])
  if (values.length > MAX_VALUES) throw usage(`${what}: that are more than ${MAX_VALUES} values`)
  return values.map((value) => {
    if (value === 'true' || value === 'false') return value === 'true'
    return /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/.test(value) ? Number(value) : value
  })
}

function checked(flag: string, text: string, target: AxisTarget, value: ParameterValue): ParameterValue {
  const refuse = (expected: string, hint = ''): UserError => usage(`${flag} ${text}: ${value} is not ${expected}`, hint)
  if (target.kind === 'field' || target.kind === 'manifest') return value
  if (target.kind === 'constant') {
    if (typeof value !== 'number') throw refuse('a number')
    return value
  }
  const name = target.kind === 'run' ? target.name : target.kind
  const choices = target.kind === 'run' ? CHOICES[target.name] : undefined
  if (choices !== undefined) {
    const found = choices.find((choice) => choice === String(value).toLowerCase())
    if (found === undefined) throw refuse(`one of ${choices.join(', ')}`, suggestion(String(value), choices))
    return found
  }
  if (name === 'rate') {
    if (typeof value !== 'number' || !(value > 0)) throw refuse("a factor above 0 of the scenario's own rate")
    return value
  }
  const [least, most] = [LEAST[name]!, MOST[name]!]
  if (!Number.isInteger(value) || Number(value) < least || Number(value) > most) {
    throw refuse(`a whole number from ${least} to ${most}`)
  }
  return value
}

function usage(message: string, hint = ''): UserError {
  return new UserError('E_USAGE', message, { hint, exitCode: 2 })
}
