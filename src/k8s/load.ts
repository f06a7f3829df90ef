/**
 * Manifest files to checked objects: YAML with many documents, JSON, and lists as `kubectl get` prints them.
 *
 * Invariants: nothing but a UserError leaves this module, whatever is in the files; an object that comes out holds only
 *             fields of types.ts, with addresses in canonical text, and knows where it was written.
 * Cost:       JSON goes through JSON.parse, about fifty times faster than the YAML parser; 20,000 objects take a second.
 * Source:     multi-document files, lists and "the last one wins" as kubectl apply does them.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import {
  binaryTag,
  boolYaml11Tag,
  CORE_SCHEMA,
  defineScalarTag,
  loadAll,
  mergeTag,
  NOT_RESOLVED,
  YAMLException,
} from 'js-yaml'
import { UserError, type Warning } from '../errors.ts'
import { isControllerConfig } from './controller-config.ts'
import { unknownFields } from './fields.ts'
import { kindDefinition, READ_KINDS, readObject } from './kinds.ts'
import { type PassedOver, shapesTraffic, warningsOf } from './passed-over.ts'
import { FieldProblem, formatPath, isMap } from './schema.ts'
import type { KubeObject, Origin } from './types.ts'

export interface ManifestFile {
  readonly name: string
  readonly text: string
}

export interface ParsedManifests {
  readonly objects: KubeObject[]
  /** Objects of kinds that shape traffic and are not modelled: each kind has its warning. */
  readonly passedOver: readonly PassedOver[]
  readonly warnings: Warning[]
}

/** Where a value stands: an Origin, and the path down to the object in its document (`items[3]`). */
interface Place {
  readonly origin: Origin
  readonly path: string
}

const MANIFEST_NAME = /\.(ya?ml|json)$/i
/** `yes` and `on` are booleans, as kubectl reads them; a lone `y` or `n` is left to be the name that it mostly is. */
const BOOLEAN_TAG = defineScalarTag('tag:yaml.org,2002:bool', {
  implicit: true,
  implicitFirstChars: boolYaml11Tag.implicitFirstChars,
  resolve: (source, isExplicit, tag) =>
    source.length === 1 ? NOT_RESOLVED : boolYaml11Tag.resolve(source, isExplicit, tag),
  identify: boolYaml11Tag.identify,
})
const SCHEMA = CORE_SCHEMA.withTags(BOOLEAN_TAG, mergeTag, binaryTag)
/** A broken JSON text longer than this is not tried as YAML, which is slow and would hardly say more. */
const MAX_YAML_RETRY = 1 << 20
/** Values in one document once its aliases are written out; a cluster's largest objects have some ten thousand. */
const MAX_EXPANDED_VALUES = 5_000_000
const MAX_EXPANDED_DEPTH = 200
const MAX_LIST_DEPTH = 8
/** Lines of a file that are moved to the right before its indentation is called wrong; real files have up to a dozen. */
const MAX_INDENT_REPAIRS = 200
/** Warnings of one pattern that are listed one by one; the rest are counted. */
const MAX_ALIKE = 5

/**
 * The texts of the manifest files that `paths` name.
 *
 * @param paths  files, folders (all .yaml, .yml and .json files in them and below, in the order of their paths; names
 *               that begin with a dot are passed over) and `-` for standard input
 * @param stdin  gives the text of standard input
 * @throws UserError  E_MANIFEST_MISSING, E_MANIFEST_EMPTY (a folder without manifests), E_MANIFEST_UNREADABLE
 */
export function readManifestFiles(
  paths: readonly string[],
  stdin: () => string = () => readFileSync(0, 'utf8'),
): ManifestFile[] {
  return paths.flatMap((path) => {
    if (path === '-') return [{ name: 'standard input', text: readable('standard input', stdin) }]
    if (!readable(path, () => statSync(path)).isDirectory()) return [readFile(path)]
    const found = manifestsBelow(path)
    if (found.length === 0) {
      throw new UserError('E_MANIFEST_EMPTY', 'the folder holds no manifest', {
        where: path,
        hint: 'Manifests are files that end in .yaml, .yml or .json.',
      })
    }
    return found.sort().map(readFile)
  })
}

function manifestsBelow(folder: string): string[] {
  return readable(folder, () => readdirSync(folder, { withFileTypes: true })).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.name.startsWith('.')) return []
    if (entry.isDirectory()) return manifestsBelow(path)
    // A link to a folder is not followed, as kubectl does not: it could lead back up.
    return MANIFEST_NAME.test(entry.name) && readable(path, () => statSync(path)).isFile() ? [path] : []
  })
}

function readFile(path: string): ManifestFile {
  return { name: path, text: readable(path, () => textOf(readFileSync(path))) }
}

/** UTF-16 is what PowerShell's `>` writes; its byte order mark tells it from UTF-8. */
function textOf(bytes: Buffer): string {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder('utf-16le').decode(bytes)
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder('utf-16be').decode(bytes)
  return bytes.toString('utf8')
}

function readable<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new UserError('E_MANIFEST_MISSING', 'no such file or folder', { where: path })
    }
    const reason = error instanceof Error ? error.message : String(error)
    throw new UserError('E_MANIFEST_UNREADABLE', `cannot be read: ${reason}`, { where: path })
  }
}

/**
 * The objects in `files` that have a part in the dataplane; other kinds are passed over.
 *
 * An object given twice replaces the earlier one, as `kubectl apply` would, with a warning.
 *
 * @throws UserError  E_MANIFEST_YAML, E_MANIFEST_JSON, E_MANIFEST_ALIASES, E_MANIFEST_NESTING, E_MANIFEST_KIND,
 *                    E_MANIFEST_FIELD; `where` names file, document and field path
 */
export function parseManifests(files: readonly ManifestFile[]): ParsedManifests {
  const loader = new Loader()
  for (const file of files) {
    for (const [index, value] of parseText(file).entries()) loader.add(value, file.name, index + 1)
  }
  return loader.result()
}

/**
 * The same for one value that is parsed already, such as the object of an `apply` line.
 *
 * @param file      what to call the source in messages
 * @param document  1-based number of the value in it
 */
export function parseObject(value: unknown, file: string, document = 1): ParsedManifests {
  const loader = new Loader()
  loader.add(value, file, document)
  return loader.result()
}

/** `web.yaml, document 2, items[3]`, as every message names a place. */
export function formatOrigin(origin: Origin, path = ''): string {
  const item = origin.item >= 0 ? `items[${origin.item}]` : ''
  const inside = item !== '' && path !== '' ? `${item}.${path}` : item + path
  return `${origin.file}, document ${origin.document}${inside === '' ? '' : `, ${inside}`}`
}

class Loader {
  readonly #objects = new Map<string, KubeObject>()
  readonly #warnings: Warning[] = []
  readonly #passed: PassedOver[] = []
  readonly #alike = new Map<string, { first: Warning; count: number }>()

  add(value: unknown, file: string, document: number): void {
    this.#addValue(value, { origin: { file, document, item: -1 }, path: '' }, 0)
  }

  result(): ParsedManifests {
    for (const { first, count } of this.#alike.values()) {
      if (count <= MAX_ALIKE) continue
      const message = `and ${count - MAX_ALIKE} more like it: ${first.message}`
      this.#warnings.push({ code: first.code, where: first.where, message })
    }
    const versions = new Set(READ_KINDS.flatMap((kind) => kindDefinition(kind)!.apiVersions))
    return {
      objects: [...this.#objects.values()],
      passedOver: this.#passed.filter(({ kind, apiVersion }) => shapesTraffic(kind, apiVersion)),
      warnings: [...this.#warnings, ...warningsOf(this.#passed, READ_KINDS, versions)],
    }
  }

  #addValue(value: unknown, place: Place, depth: number): void {
    if (value === null || value === undefined) return
    if (!isMap(value)) {
      throw new UserError('E_MANIFEST_KIND', 'not a Kubernetes object; expected a map with apiVersion and kind', {
        where: formatPlace(place),
      })
    }
    const kind = value['kind']
    if (typeof kind !== 'string' || kind === '') {
      throw new UserError('E_MANIFEST_KIND', 'kind is missing; expected a Kubernetes object with apiVersion and kind', {
        where: formatPlace(place),
      })
    }
    if (kind.endsWith('List') && 'items' in value) this.#addList(value, kind, place, depth)
    else this.#addObject(value, kind, place)
  }

  #addList(value: Record<string, unknown>, kind: string, place: Place, depth: number): void {
    const items = value['items'] ?? []
    if (!Array.isArray(items)) throw fieldError(place, kind, new FieldProblem('not a list', 'a list'), 'items')
    if (depth >= MAX_LIST_DEPTH) {
      throw new UserError('E_MANIFEST_NESTING', 'lists in lists in lists', { where: formatPlace(place) })
    }
    for (const [item, entry] of items.entries()) {
      const origin = { ...place.origin, item }
      const path = place.path === '' ? `items[${item}]` : `${place.path}.items[${item}]`
      // The items of a ServiceList as the API server sends it do not repeat their kind.
      const typed: unknown =
        isMap(entry) && entry['kind'] === undefined && kind !== 'List'
          ? { apiVersion: value['apiVersion'], kind: kind.slice(0, -'List'.length), ...entry }
          : entry
      this.#addValue(typed, { origin, path }, depth + 1)
    }
  }

  #addObject(value: Record<string, unknown>, kind: string, place: Place): void {
    const definition = kindDefinition(kind)
    if (definition === undefined) {
      const metadata = isMap(value['metadata']) ? value['metadata'] : {}
      const text = (field: unknown): string => (typeof field === 'string' ? field : '')
      this.#passed.push({
        apiVersion: text(value['apiVersion']),
        kind,
        namespace: text(metadata['namespace']),
        name: text(metadata['name']),
        where: formatPlace(place),
      })
      return
    }
    const apiVersion = value['apiVersion']
    if (typeof apiVersion !== 'string' || apiVersion === '') {
      throw fieldError(place, kind, new FieldProblem('nothing', definition.apiVersions[0]!), 'apiVersion')
    }
    if (!definition.apiVersions.includes(apiVersion)) {
      const message = `${kind} of ${apiVersion} is left out; dpemu reads ${kind} of ${definition.apiVersions[0]}`
      this.#warn(`${kind} ${apiVersion}`, { code: 'W_API_VERSION', where: formatPlace(place), message })
      return
    }
    if (kind === 'ConfigMap' && !this.#isSystemConfigMap(value, place)) return
    for (const { path, pattern, message } of unknownFields(kind, value)) {
      const where = formatPlace(place, path)
      this.#warn(`${kind} ${pattern}`, { code: 'W_UNKNOWN_FIELD', where, message })
    }
    try {
      this.#keep(readObject(definition, value, place.origin), place)
    } catch (error) {
      throw error instanceof FieldProblem ? fieldError(place, nameOf(kind, value), error) : error
    }
  }

  /** Of all ConfigMaps CoreDNS' and those of ingress controllers are kept; kube-proxy's, as kubeadm makes it, holds its configuration file. */
  #isSystemConfigMap(value: Record<string, unknown>, place: Place): boolean {
    const metadata = value['metadata']
    if (!isMap(metadata)) return false
    if (isControllerConfig(metadata)) return true
    if (metadata['namespace'] !== 'kube-system') return false
    if (metadata['name'] === 'kube-proxy') {
      const data = value['data']
      const text = isMap(data) ? data['config.conf'] : undefined
      if (typeof text === 'string') this.#addKubeProxyConfig(text, place)
    }
    return metadata['name'] === 'coredns'
  }

  #addKubeProxyConfig(text: string, place: Place): void {
    const path = formatPath([...(place.path === '' ? [] : [place.path]), 'data', 'config.conf'])
    for (const config of parseText({ name: formatPlace(place, path), text })) {
      if (isMap(config)) this.#addObject(config, String(config['kind']), { origin: place.origin, path })
    }
  }

  #keep(object: KubeObject, place: Place): void {
    const { namespace = '', name } = object.metadata
    const key = `${object.kind} ${namespace}/${name}`
    const earlier = this.#objects.get(key)
    if (earlier !== undefined) {
      const title = nameOf(object.kind, object)
      const message = `${title} was given before, at ${formatOrigin(earlier.origin)}; this one replaces it`
      this.#warn('duplicate', { code: 'W_DUPLICATE_OBJECT', where: formatPlace(place), message })
    }
    this.#objects.set(key, object)
  }

  #warn(pattern: string, warning: Warning): void {
    const alike = this.#alike.get(pattern)
    if (alike === undefined) this.#alike.set(pattern, { first: warning, count: 1 })
    else alike.count++
    if ((alike?.count ?? 1) <= MAX_ALIKE) this.#warnings.push(warning)
  }
}

function formatPlace({ origin, path }: Place, field = ''): string {
  const inside = path !== '' && field !== '' ? `${path}.${field}` : path + field
  return `${origin.file}, document ${origin.document}${inside === '' ? '' : `, ${inside}`}`
}

/** `Service default/web`, from values that need not be right. */
function nameOf(kind: string, value: { readonly metadata?: unknown } | Record<string, unknown>): string {
  const metadata = value['metadata' as keyof typeof value] as unknown
  if (!isMap(metadata) || typeof metadata['name'] !== 'string') return kind
  const namespace = metadata['namespace']
  return `${kind} ${typeof namespace === 'string' ? `${namespace}/` : ''}${metadata['name']}`
}

function fieldError(place: Place, title: string, problem: FieldProblem, field?: string): UserError {
  const path = field ?? formatPath([...problem.path].reverse())
  const state = problem.found === 'nothing' ? 'is missing' : `is ${problem.found}`
  return new UserError('E_MANIFEST_FIELD', `${path} of ${title} ${state}; expected ${problem.expected}`, {
    where: formatPlace(place, path),
  })
}

/** The documents of a file; an empty one is null. */
function parseText({ name, text }: ManifestFile): unknown[] {
  // `{"` begins JSON; a YAML flow map with a quoted first key is read as YAML when it is not.
  if (/^\uFEFF?\s*\{\s*["}]/.test(text)) {
    try {
      return [JSON.parse(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text)]
    } catch (error) {
      if (name.endsWith('.json') || text.length > MAX_YAML_RETRY) throw jsonError(name, text, error)
    }
  }
  let documents: unknown[]
  try {
    documents = loadLenient(text, name)
  } catch (error) {
    throw yamlError(name, text, error)
  }
  if (text.includes('&')) {
    for (const [index, document] of documents.entries()) refuseAliasBomb(document, name, index + 1)
  }
  return documents
}

/**
 * Continuation lines of quoted scalars and flow collections may stand further left than YAML 1.2 allows, as kubectl's
 * parser has it. Blanks before them mean nothing, so the line is moved to the right and the text is read again.
 */
function loadLenient(text: string, name: string): unknown[] {
  for (let repairs = 0; ; repairs++) {
    try {
      return loadAll(text, { schema: SCHEMA, filename: name })
    } catch (error) {
      const isIndent = error instanceof YAMLException && error.reason === 'deficient indentation'
      if (!isIndent || error.mark === undefined || repairs >= MAX_INDENT_REPAIRS) throw error
      const start = text.lastIndexOf('\n', error.mark.position - 1) + 1
      const rest = text.slice(start).replace(/^[ \t]*/, ' '.repeat(MAX_EXPANDED_DEPTH))
      text = text.slice(0, start) + rest
    }
  }
}

function jsonError(name: string, text: string, error: unknown): UserError {
  const message = error instanceof Error ? error.message : String(error)
  const position = /at position (\d+)/.exec(message)
  const line = position === null ? '' : `, line ${lineOf(text, Number(position[1]))}`
  return new UserError('E_MANIFEST_JSON', `not valid JSON: ${message}`, { where: `${name}, document 1${line}` })
}

function yamlError(name: string, text: string, error: unknown): UserError {
  if (!(error instanceof YAMLException) || error.mark === undefined) {
    const reason = error instanceof Error ? error.message : String(error)
    return new UserError('E_MANIFEST_YAML', `not valid YAML: ${reason}`, { where: name })
  }
  const { position, line, column } = error.mark
  return new UserError('E_MANIFEST_YAML', `not valid YAML: ${error.reason}`, {
    where: `${name}, document ${documentAt(text, position)}, line ${line + 1}, column ${column + 1}`,
    hint: text.includes('{{') ? 'This looks like a Helm template: render it with `helm template` first.' : '',
  })
}

/** 1-based number of the document that holds `position`. */
function documentAt(text: string, position: number): number {
  const before = text.slice(0, position)
  const separators = before.match(/^---(?=\s|$)/gm)?.length ?? 0
  // What stands before the first separator is a document only if it holds more than comments and directives.
  const preamble = before.split(/^---(?=\s|$)/m, 1)[0] ?? ''
  return Math.max(1, separators + (/^\s*[^\s#%]/m.test(preamble) ? 1 : 0))
}

function lineOf(text: string, position: number): number {
  let line = 1
  for (let i = text.indexOf('\n'); i >= 0 && i < position; i = text.indexOf('\n', i + 1)) line++
  return line
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
