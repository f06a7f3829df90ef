/**
 * The document that one shard of a run writes, and how all of a run's are found to belong together.
 *
 * A part is of one version: what is in its body is between the command that writes it and the merge of the same version.
 * It carries a digest of each thing that the result depends on, so that a part of another run is told from its own, and by what.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { UserError } from '../errors.ts'
import { packageVersion } from '../version.ts'
import { MAX_SHARD_COUNT, type Shard } from './shard.ts'

const COMMANDS = ['capacity', 'rollout', 'replay'] as const
export type PartCommand = (typeof COMMANDS)[number]

/** What a part says of itself: two of one run have the same but for `shard`. */
export interface PartHead {
  readonly schemaVersion: 1
  readonly kind: 'part'
  readonly version: string
  readonly command: PartCommand
  readonly shard: Shard
  /** SHA-256 by what the user knows it as: `scenario`, `manifests`, `options`, `seed`. */
  readonly inputs: Readonly<Record<string, string>>
}

export interface Part extends PartHead {
  /** SHA-256 of the body's text: what was cut, changed or put together by hand is found. */
  readonly digest: string
  readonly body: unknown
}

/** Bodies of all shards, in their order. */
export interface Gathered {
  readonly command: PartCommand
  readonly bodies: readonly unknown[]
  readonly inputs: PartHead['inputs']
}

/** @param inputs  values by what the user knows them as; they are kept as digests */
export function partHead(command: PartCommand, shard: Shard, inputs: Readonly<Record<string, unknown>>): PartHead {
  return { schemaVersion: 1, kind: 'part', version: packageVersion(), command, shard, inputs: digestsOf(inputs) }
}

export function digestsOf(inputs: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, digestOf(value)]))
}

/** Columns count by their bytes. */
function digestOf(value: unknown): string {
  const text = JSON.stringify(value, (_name, one: unknown) =>
    ArrayBuffer.isView(one) ? sha256(new Uint8Array(one.buffer as ArrayBuffer, one.byteOffset, one.byteLength)) : one,
  )
  return sha256(text ?? '')
}

function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

export function partText(head: PartHead, body: unknown): string {
  return `${JSON.stringify({ ...head, digest: digestOf(body), body })}\n`
}

/** Whether a file holds the very part that is about to be made: a pod that is started again has nothing to do. */
export function isMade(path: string, head: PartHead): boolean {
  let part: Part | null
  try {
    part = parse(readFileSync(path, 'utf8'))
  } catch {
    return false
  }
  if (part === null) return false
  const { body, digest, ...made } = part
  return digestOf(body) === digest && JSON.stringify(made) === JSON.stringify(head)
}

/**
 * All parts of one run.
 *
 * @param paths  in any order
 * @throws UserError `E_PART`, exit code 3: what is no part, a part of another run or version, one twice, or one that is missing
 */
export function gather(paths: readonly string[]): Gathered {
  const parts = paths.map((path) => ({ path, part: readPart(path) }))
  const first = parts[0]
  if (first === undefined) throw failure('there are no parts to merge')
  for (const { path, part } of parts) {
    const other = differencesOf(first.part, part)
    if (other.length > 0) {
      throw failure(`it is of another run than ${first.path}: they differ in ${listed(other)}`, path)
    }
  }
  const { count } = first.part.shard
  const byShard = new Map<number, { readonly path: string; readonly part: Part }>()
  for (const one of parts) {
    const { index } = one.part.shard
    const twin = byShard.get(index)
    if (twin !== undefined) throw failure(`it is shard ${index} of ${count}, and so is ${twin.path}`, one.path)
    byShard.set(index, one)
  }
  const missing = Array.from({ length: count }, (_, i) => i + 1).filter((index) => !byShard.has(index))
  if (missing.length > 0) {
    const which = missing.length === 1 ? `shard ${missing[0]} is` : `shards ${listed(missing)} are`
    throw failure(`${which} missing, of ${count}`, '', `run the same command with --shard ${missing[0]}/${count}`)
  }
  return {
    command: first.part.command,
    inputs: first.part.inputs,
    bodies: Array.from({ length: count }, (_, i) => byShard.get(i + 1)!.part.body),
  }
}

function readPart(path: string): Part {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw failure(`cannot read it: ${code === 'ENOENT' ? 'no such file' : message}`, path)
  }
  const part = parse(text)
  if (part === null) {
    throw failure('this is no part of a dpemu run, or not a whole one', path, 'parts are written by runs with --shard')
  }
  if (digestOf(part.body) !== part.digest) throw failure('it is damaged: its body is not what was written', path)
  if (part.version !== packageVersion()) {
    throw failure(
      `it was made by dpemu ${part.version}, and this is ${packageVersion()}`,
      path,
      'parts are merged by the version that made them',
    )
  }
  return part
}

/** What two parts differ in that are not of one run; empty where they are. */
function differencesOf(first: Part, part: Part): string[] {
  if (part.command !== first.command) return [`the command (${part.command}, ${first.command})`]
  const names = [...new Set([...Object.keys(first.inputs), ...Object.keys(part.inputs)])]
  const other = names.filter((name) => first.inputs[name] !== part.inputs[name])
  if (part.shard.count === first.shard.count) return other
  return [...other, `the number of shards (${part.shard.count}, ${first.shard.count})`]
}

function parse(text: string): Part | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return null
  }
  return isPart(value) ? value : null
}

function isPart(value: unknown): value is Part {
  const part = value as Partial<Part> | null
  if (typeof part !== 'object' || part === null || part.kind !== 'part' || part.schemaVersion !== 1) return false
  const { command, inputs, shard, version } = part
  const { index = 0, count = 0 } = shard ?? {}
  const isShard = Number.isInteger(index) && Number.isInteger(count) && index >= 1 && index <= count
  return (
    isShard &&
    count <= MAX_SHARD_COUNT &&
    typeof version === 'string' &&
    typeof part.digest === 'string' &&
    COMMANDS.some((known) => known === command) &&
    typeof inputs === 'object' &&
    inputs !== null &&
    Object.values(inputs).every((digest) => typeof digest === 'string') &&
    typeof part.body === 'object' &&
    part.body !== null
  )
}

function listed(items: readonly (string | number)[]): string {
  return items.length === 1 ? `${items[0]}` : `${items.slice(0, -1).join(', ')} and ${items.at(-1)}`
}

function failure(message: string, where = '', hint = ''): UserError {
  return new UserError('E_PART', message, { where, hint })
}
