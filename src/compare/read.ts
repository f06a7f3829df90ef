/** The reports that are compared: files or texts → documents of one kind. */
import { UserError } from '../errors.ts'
import { decodeText } from '../text-file.ts'

/** Kinds of reports whose figures can be held against each other. */
export const KINDS = ['replay', 'capacity', 'rollout', 'bench'] as const
export type Kind = (typeof KINDS)[number]

export type Fields = Readonly<Record<string, unknown>>

export interface Compared {
  /** As the user calls it: the file. */
  readonly name: string
  readonly kind: Kind
  readonly document: Fields
}

const SCHEMA_VERSION = 1
/** What a document of each kind has at least. */
const HALLMARKS: Readonly<Record<Kind, readonly string[]>> = {
  replay: ['runs', 'trace', 'model'],
  capacity: ['cells', 'scenario', 'model'],
  rollout: ['lost', 'offered', 'losses'],
  bench: ['rows', 'ratios', 'replay'],
}

/** @throws UserError `E_REPORT`: no JSON, no report of a kind that can be compared, or of another version of its schema */
export function parseReport(name: string, bytes: Buffer): Compared {
  let value: unknown
  try {
    value = JSON.parse(decodeText(bytes))
  } catch (error) {
    throw refusal(name, `this is no JSON: ${(error as Error).message}`, 'reports are written with -o json=FILE')
  }
  return checkReport(name, value)
}

/** @throws UserError `E_REPORT`, as `parseReport` */
export function checkReport(name: string, value: unknown): Compared {
  if (!isFields(value)) throw refusal(name, 'this is no report', 'reports are written with -o json=FILE')
  const kind = KINDS.find((known) => known === value['kind'])
  if (kind === undefined) {
    const found = typeof value['kind'] === 'string' ? `kind is ${JSON.stringify(value['kind'])}` : 'it has no kind'
    throw refusal(name, `${found}; reports of ${KINDS.join(', ')} can be compared`)
  }
  if (value['schemaVersion'] !== SCHEMA_VERSION) {
    const version = JSON.stringify(value['schemaVersion']) ?? 'missing'
    throw refusal(name, `schemaVersion is ${version}; this dpemu reads ${SCHEMA_VERSION}`)
  }
  const missing = HALLMARKS[kind].find((field) => typeof value[field] !== 'object' || value[field] === null)
  if (missing !== undefined) throw refusal(name, `a ${kind} report has ${missing}, and this one has not`)
  return { name, kind, document: value }
}

/**
 * @throws UserError `E_REPORT` where there are not two at least, or they are of several kinds, naming the first that differs
 */
export function ofOneKind(reports: readonly Compared[]): Kind {
  const [first, ...others] = reports
  if (first === undefined || others.length === 0) {
    throw new UserError('E_REPORT', 'two reports at least are compared', { exitCode: 2 })
  }
  const other = others.find(({ kind }) => kind !== first.kind)
  if (other !== undefined) {
    throw refusal(other.name, `this is a ${other.kind} report, and ${first.name} is a ${first.kind} report`)
  }
  return first.kind
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function refusal(where: string, message: string, hint = ''): UserError {
  return new UserError('E_REPORT', message, { where, hint })
}
