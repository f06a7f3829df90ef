/**
 * The text of a manifest file to its documents: YAML as kubectl reads it, or JSON, one object or several in a row.
 *
 * kubectl cuts a file at its `---` lines before anything is parsed, so one bad document says nothing about the others; so does this.
 * Its parser is lenient where YAML 1.2 is not: a key may come twice (the last one counts), continuation lines of quoted scalars and
 * flow collections may stand anywhere, tags that nobody knows mean nothing, numbers that begin with 0 are octal, yes and on are true.
 * Cost:   JSON goes through JSON.parse, some fifty times as fast as YAML (`time dpemu lint -f` on either form of the same objects).
 * Source: kubernetes apimachinery util/yaml (decoder.go), sigs.k8s.io/yaml goyaml.v2 (resolve.go); held against kubectl 1.32.
 */
import {
  binaryTag,
  boolYaml11Tag,
  CORE_SCHEMA,
  defineMappingTag,
  defineScalarTag,
  defineSequenceTag,
  loadAll,
  mapTag,
  mergeTag,
  NOT_RESOLVED,
  type Schema,
  seqTag,
  YAMLException,
} from 'js-yaml'
import { UserError, type Warning } from '../errors.ts'
import type { ManifestFile } from './files.ts'

/** One document of a file: its value (null for an empty one), or why it has none. */
export interface ManifestDocument {
  /** 1-based, empty documents counted. */
  readonly number: number
  readonly value: unknown
  readonly problem: UserError | null
  /** What kubectl takes without a word and the author can hardly have meant. */
  readonly warnings: readonly Warning[]
}

/** A broken JSON text longer than this is not tried as YAML, which is slow and would hardly say more. */
const MAX_YAML_RETRY = 1 << 20
/** Values in one document once its aliases are written out; a cluster's largest objects have some ten thousand. */
const MAX_EXPANDED_VALUES = 5_000_000
const MAX_EXPANDED_DEPTH = 200
/** Lines of a document that are moved to the right before its indentation is called wrong; real files have up to a dozen. */
const MAX_INDENT_REPAIRS = 200
const SEPARATOR = /^---(?=[ \t\r\n]|$)/gm
/** The first character of a line that is neither blank nor a comment nor a directive. */
const CONTENT = /^\uFEFF?[ \t]*[^\s#%\uFEFF]/m
const TEMPLATE_HINT = 'This looks like a Helm template: render it with `helm template` first.'

/** `yes` and `on` are booleans, as kubectl reads them; a lone `y` or `n` is left to be the name that it mostly is. */
const BOOLEAN_TAG = defineScalarTag('tag:yaml.org,2002:bool', {
  implicit: true,
  implicitFirstChars: boolYaml11Tag.implicitFirstChars,
  resolve: (source, isExplicit, tag) =>
    source.length === 1 ? NOT_RESOLVED : boolYaml11Tag.resolve(source, isExplicit, tag),
  identify: boolYaml11Tag.identify,
})
/** Go's ParseInt with base 0: 0x, 0o, 0b, and a plain leading 0 for octal; `08` is no octal number and so a decimal one. */
const INTEGER_TAG = defineScalarTag('tag:yaml.org,2002:int', {
  implicit: true,
  implicitFirstChars: [...'+-0123456789'],
  resolve: (source) => integerOf(source) ?? NOT_RESOLVED,
  identify: Number.isInteger,
})
const UNKNOWN_TAGS = ['!', 'tag:'].flatMap((prefix) => [
  defineScalarTag(prefix, { matchByTagPrefix: true, resolve: (source) => source, identify: () => false }),
  defineSequenceTag(prefix, { ...seqTag, matchByTagPrefix: true, identify: () => false }),
  defineMappingTag(prefix, { ...mapTag, matchByTagPrefix: true, identify: () => false }),
])
const SCHEMA: Schema = CORE_SCHEMA.withTags(BOOLEAN_TAG, INTEGER_TAG, mergeTag, binaryTag, UNKNOWN_TAGS)

/** The documents of a file; one that cannot be read does not keep the others from being read. */
export function parseDocuments({ name, text }: ManifestFile): ManifestDocument[] {
  // The whole file first: nothing in JSON looks like a separator, and there is no need to search half a gigabyte for one.
  const whole = parseJson(text)
  if (whole !== undefined) return [{ number: 1, value: whole, problem: null, warnings: [] }]
  const documents: ManifestDocument[] = []
  for (const chunk of chunksOf(text)) {
    const first = documents.length + 1
    for (const document of parseChunk(chunk, name, first)) documents.push(document)
  }
  return documents
}

interface Chunk {
  readonly text: string
  /** Lines of the file before it. */
  readonly line: number
}

/** What stands before the first separator is a document only if it holds more than comments and directives. */
function chunksOf(text: string): Chunk[] {
  const starts = Array.from(text.matchAll(SEPARATOR), ({ index }) => index)
  if (starts.length === 0 || !isEmpty(text.slice(0, starts[0]))) starts.unshift(0)
  let line = countLines(text.slice(0, starts[0]))
  return starts.map((start, i) => {
    const chunk = { text: text.slice(start, starts[i + 1]), line }
    line += countLines(chunk.text)
    return chunk
  })
}

function isEmpty(text: string): boolean {
  return !CONTENT.test(text)
}

function countLines(text: string): number {
  let lines = 0
  for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) lines++
  return lines
}

function parseChunk(chunk: Chunk, name: string, number: number): ManifestDocument[] {
  const body = chunk.text.replace(/^---/, '')
  if (isEmpty(body)) return [{ number, value: null, problem: null, warnings: [] }]
  const fail = (problem: UserError): ManifestDocument => ({ number, value: null, problem, warnings: [] })
  if (JSON_START.test(body)) {
    const values = parseJsonInRow(body)
    if (typeof values !== 'string') {
      return values.map((value, i) => ({ number: number + i, value, problem: null, warnings: [] }))
    }
    if (name.endsWith('.json') || body.length > MAX_YAML_RETRY) return [fail(jsonError(name, chunk, number, values))]
  }
  try {
    const { value, repeated } = parseYaml(chunk.text)
    if (chunk.text.includes('&')) refuseAliasBomb(value, name, number)
    const warnings = repeated === null ? [] : [repeatedKey(repeated, chunk, name, number)]
    return [{ number, value, problem: null, warnings }]
  } catch (error) {
    return [fail(error instanceof UserError ? error : yamlError(name, chunk, number, error))]
  }
}

/** `{"` begins JSON; a YAML flow map with a quoted first key is read as YAML when it is not. */
const JSON_START = /^\uFEFF?\s*\{\s*["}]/

function parseJson(text: string): unknown {
  if (!JSON_START.test(text)) return undefined
  try {
    return JSON.parse(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text)
  } catch {
    return undefined
  }
}

/** Objects one after the other, as `kubectl get -o json >> dump.json` leaves them; what is wrong where it is not that. */
function parseJsonInRow(text: string): unknown[] | string {
  const values: unknown[] = []
  let start = text.charCodeAt(0) === 0xfeff ? 1 : 0
  while (start < text.length) {
    const end = endOfObject(text, start)
    try {
      values.push(JSON.parse(text.slice(start, end)))
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      const position = /at position (\d+)/.exec(message)
      if (position === null) return message
      const line = countLines(text.slice(0, start + Number(position[1]))) + 1
      return message.replace(/ \(line \d+ column \d+\)$/, '').replace(/at position \d+/, `at line ${line}`)
    }
    start = end + (/^\s*/.exec(text.slice(end, end + 1000))?.[0].length ?? 0)
  }
  return values
}

/** Where the object that begins at `start` ends; the end of the text where it does not. */
function endOfObject(text: string, start: number): number {
  let depth = 0
  const marks = /["{}[\]]/g
  marks.lastIndex = start
  for (let match = marks.exec(text); match !== null; match = marks.exec(text)) {
    const [mark] = match
    if (mark === '"') {
      const string = /(?:[^"\\]|\\.)*"/y
      string.lastIndex = marks.lastIndex
      if (!string.test(text)) return text.length
      marks.lastIndex = string.lastIndex
    } else if (mark === '{' || mark === '[') depth++
    else if (--depth <= 0) return match.index + 1
  }
  return text.length
}

interface Repeated {
  readonly key: string
  /** 0-based, in the chunk. */
  readonly line: number
}

/** What a text was read with, and what is known of it by now. */
interface Reading {
  text: string
  repeated: Repeated | null
  /** 0-based line → how far it was moved to the right. */
  readonly moved: Map<number, number>
}

/**
 * The value of one document. Where a line stands further left than YAML 1.2 allows, it is moved to the right, since blanks before a
 * continuation line mean nothing, and the text is read again; where a key comes again, it is read with the last one counting.
 */
function parseYaml(text: string): { value: unknown; repeated: Repeated | null } {
  const reading: Reading = {
    text: text.replace(/^\.\.\.(?=[ \t\r\n]|$)[\s\S]*/m, ''),
    repeated: null,
    moved: new Map(),
  }
  for (let repairs = 0; ; repairs++) {
    try {
      const value = loadAll(reading.text, { schema: SCHEMA, json: reading.repeated !== null })[0] ?? null
      return { value, repeated: reading.repeated }
    } catch (error) {
      if (
        !(error instanceof YAMLException) ||
        error.mark === undefined ||
        !repair(reading, error.reason, error.mark, repairs)
      ) {
        throw withColumn(error, reading)
      }
    }
  }
}

function withColumn(error: unknown, { moved }: Reading): unknown {
  if (!(error instanceof YAMLException) || error.mark === undefined) return error
  const column = error.mark.column - (moved.get(error.mark.line) ?? 0)
  return Object.assign(error, { mark: { ...error.mark, column } })
}

/** @returns whether there is something to be read that may be better */
function repair(
  reading: Reading,
  reason: string,
  { position, line }: { readonly position: number; readonly line: number },
  repairs: number,
): boolean {
  const { text } = reading
  if (reason === 'duplicated mapping key' && reading.repeated === null) {
    const key = /^[^:\n]*/.exec(text.slice(position))?.[0] ?? ''
    reading.repeated = { key: key.trim().replace(/^(["'])(.*)\1$/, '$2'), line }
    return true
  }
  if (reason !== 'deficient indentation' || repairs >= MAX_INDENT_REPAIRS) return false
  // Documents of CustomResourceDefinitions have hundreds of such lines, nearly all in quotes: those are moved at once.
  if (reading.moved.size === 0) {
    const lines = text.split('\n')
    const quoted = quotedContinuations(lines)
    if (quoted.includes(line)) {
      // An empty line is a line break in the text.
      for (const at of quoted) if (lines[at]!.trim() !== '') lines[at] = moveLine(lines[at]!, at, reading)
      reading.text = lines.join('\n')
      return true
    }
  }
  if (reading.moved.has(line)) return false
  const start = text.lastIndexOf('\n', position - 1) + 1
  const end = text.indexOf('\n', start)
  const own = text.slice(start, end < 0 ? text.length : end)
  reading.text = text.slice(0, start) + moveLine(own, line, reading) + (end < 0 ? '' : text.slice(end))
  return true
}

function moveLine(own: string, line: number, { moved }: Reading): string {
  const rest = own.replace(/^[ \t]+/, '')
  moved.set(line, MAX_EXPANDED_DEPTH - (own.length - rest.length))
  return ' '.repeat(MAX_EXPANDED_DEPTH) + rest
}

/** A value in quotes that begins behind `key:` or `-`, and a block of text. */
const QUOTED_VALUE = /^ *(?:- +)*(?:(?:[^\s'"#[{][^#'"]*?|'[^']*'|"[^"]*") *: +|- +)(['"])/
const TEXT_BLOCK = /(?:: +|- +)[|>][+-]?\d?[+-]?\s*(?:#.*)?$/

/** The 0-based lines on which a quoted value goes on that began on an earlier one. */
function quotedContinuations(lines: readonly string[]): number[] {
  const found: number[] = []
  /** The quotation mark of the value that is open, or ''. */
  let open = ''
  /** What is indented further than this is a block of text. */
  let block = Number.POSITIVE_INFINITY
  for (const [i, line] of lines.entries()) {
    if (open !== '') {
      found.push(i)
      if (closes(line, 0, open)) open = ''
      continue
    }
    const indent = /^ */.exec(line)![0].length
    if (line.trim() === '' || indent > block) continue
    block = TEXT_BLOCK.test(line) ? indent : Number.POSITIVE_INFINITY
    const value = QUOTED_VALUE.exec(line)
    if (value !== null && !closes(line, value[0].length, value[1]!)) open = value[1]!
  }
  return found
}

/** Whether `quote` ends in `line`, from `start` on. */
function closes(line: string, start: number, quote: string): boolean {
  for (let i = start; i < line.length; i++) {
    if (quote === '"' && line[i] === '\\') i++
    else if (line[i] === quote) {
      if (quote === "'" && line[i + 1] === "'") i++
      else return true
    }
  }
  return false
}

/** As Go's strconv.ParseInt reads it with base 0, underscores taken out; null for what is no integer. */
function integerOf(source: string): number | null {
  const plain = source.replaceAll('_', '')
  const match = /^([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))$/.exec(plain)
  if (match === null || source.startsWith('_')) return null
  const [, sign, hex, binary, octal, decimal] = match
  const value =
    hex !== undefined
      ? Number.parseInt(hex, 16)
      : binary !== undefined
        ? Number.parseInt(binary, 2)
        : octal !== undefined
          ? Number.parseInt(octal, 8)
          : Number(decimal)
  return sign === '-' && value !== 0 ? -value : value
}

function repeatedKey({ key, line }: Repeated, chunk: Chunk, name: string, number: number): Warning {
  const message = `${key === '' ? 'a key' : key} is given twice in one map; the last one counts`
  return { code: 'W_DUPLICATE_KEY', where: `${name}, document ${number}, line ${chunk.line + line + 1}`, message }
}

function jsonError(name: string, chunk: Chunk, number: number, message: string): UserError {
  const line = /at line (\d+)/.exec(message)
  const where = line === null ? '' : `, line ${chunk.line + Number(line[1])}`
  return new UserError('E_MANIFEST_JSON', `not valid JSON: ${message.replace(/ at line \d+/, '')}`, {
    where: `${name}, document ${number}${where}`,
    hint: chunk.text.includes('{{') ? TEMPLATE_HINT : '',
  })
}

function yamlError(name: string, chunk: Chunk, number: number, error: unknown): UserError {
  const hint = chunk.text.includes('{{') ? TEMPLATE_HINT : ''
  if (!(error instanceof YAMLException) || error.mark === undefined) {
    const reason = error instanceof Error ? error.message : String(error)
    return new UserError('E_MANIFEST_YAML', `not valid YAML: ${reason}`, { where: `${name}, document ${number}`, hint })
  }
  const { line, column } = error.mark
  const reason =
    error.reason === 'object-based map does not support complex keys' ? 'a map is the key of a map' : error.reason
  return new UserError('E_MANIFEST_YAML', `not valid YAML: ${reason}`, {
    where: `${name}, document ${number}, line ${chunk.line + line + 1}, column ${column + 1}`,
    hint,
  })
}

/**
 * Refuses a document whose aliases, written out, would be huge or without end.
 *
 * Each value is measured once: an anchor is always measured before the aliases that follow it, so the recursion is no
 * deeper than the text nests, which the parser has limited.
 */
function refuseAliasBomb(document: unknown, name: string, number: number): void {
  const sizes = new Map<object, { values: number; depth: number }>()
  const open = new Set<object>()
  const refuse = (message: string): never => {
    throw new UserError('E_MANIFEST_ALIASES', message, { where: `${name}, document ${number}` })
  }
  const measure = (value: unknown): { values: number; depth: number } => {
    if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return { values: 1, depth: 0 }
    const known = sizes.get(value)
    if (known !== undefined) return known
    if (open.has(value)) refuse('a YAML anchor holds an alias of itself')
    open.add(value)
    const size = { values: 1, depth: 0 }
    for (const child of Object.values(value)) {
      const { values, depth } = measure(child)
      size.values += values
      size.depth = Math.max(size.depth, depth + 1)
    }
    open.delete(value)
    if (size.values > MAX_EXPANDED_VALUES || size.depth > MAX_EXPANDED_DEPTH)
      refuse('its YAML aliases expand without bound')
    sizes.set(value, size)
    return size
  }
  measure(document)
}
