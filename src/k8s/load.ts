/**
 * Manifests to checked objects: documents of YAML or JSON, and lists as `kubectl get` prints them.
 *
 * What the user named must be right. Of a folder, what is no object is passed over and what the API server would refuse is left out,
 * each with a warning, as `kubectl apply -f FOLDER` names the bad ones and takes the rest.
 * Invariants: nothing but a UserError leaves this module, whatever is in the files; an object that comes out holds only
 *             fields of types.ts, with addresses in canonical text, and knows where it was written.
 * Source:     lists and "the last one wins" as kubectl apply does them.
 */
import { UserError, type Warning } from '../errors.ts'
import { isControllerConfig } from './controller-config.ts'
import { COREDNS, COREDNS_CUSTOM, NODE_DNS } from './corefile-parts.ts'
import { unknownFields } from './fields.ts'
import type { ManifestFile } from './files.ts'
import { kindDefinition, READ_KINDS, readObject } from './kinds.ts'
import { KubeProxySources } from './kube-proxy-source.ts'
import { convertOld } from './old-versions.ts'
import { type PassedOver, shapesTraffic, warningsOf } from './passed-over.ts'
import { withoutRedacted } from './redacted.ts'
import { FieldProblem, formatPath, isMap } from './schema.ts'
import { hintFor, Surroundings } from './surroundings.ts'
import type { KubeObject, Origin } from './types.ts'
import { type ManifestDocument, parseDocuments } from './yaml.ts'

export { type ManifestFile, readManifestFiles } from './files.ts'

export interface ParsedManifests {
  readonly objects: KubeObject[]
  /** Objects of kinds that shape traffic and are not modelled: each kind has its warning. */
  readonly passedOver: readonly PassedOver[]
  readonly warnings: Warning[]
  /** Kinds of all objects there were, read or not. */
  readonly kinds: ReadonlySet<string>
  /** Why documents of folders were left out. */
  readonly problems: readonly UserError[]
  /** What to do where nothing could be read; '' where there is nothing to say. */
  readonly hint: string
}

/** Where a value stands: an Origin, and the path down to the object in its document (`items[3]`). */
interface Place {
  readonly origin: Origin
  readonly path: string
}

const MAX_LIST_DEPTH = 8
/** Warnings of one pattern that are listed one by one; the rest are counted. */
const MAX_ALIKE = 5
/** A configuration file of kube-proxy, YAML or JSON. */
const KUBE_PROXY_FILE = /^[ \t{]*"?kind"?:[ \t]*["']?KubeProxyConfiguration\b/m
const KUBE_PROXY_KEY = 'KubeProxyConfiguration /kube-proxy'
/** Kinds that a message names. */
const MAX_NAMED_KINDS = 5

/**
 * The objects in `files` that have a part in the dataplane; other kinds are passed over.
 *
 * An object given twice replaces the earlier one, as `kubectl apply` would, with a warning.
 *
 * @throws UserError  E_MANIFEST_YAML, E_MANIFEST_JSON, E_MANIFEST_ALIASES, E_MANIFEST_NESTING, E_MANIFEST_KIND,
 *                    E_MANIFEST_FIELD; `where` names file, document and field path. None for files that were found in a folder.
 */
export function parseManifests(files: readonly ManifestFile[]): ParsedManifests {
  const surroundings = new Surroundings(files)
  const loader = new Loader(surroundings)
  for (const file of files) if (surroundings.foreign(file) === null) loader.addFile(file)
  return loader.result()
}

/**
 * The same for one value that is parsed already, such as the object of an `apply` line.
 *
 * @param file      what to call the source in messages
 * @param document  1-based number of the value in it
 */
export function parseObject(value: unknown, file: string, document = 1): ParsedManifests {
  const loader = new Loader(new Surroundings([]))
  loader.add(value, file, document)
  return loader.result()
}

/**
 * `parsed`, which came of `paths`, if there is something in it.
 *
 * @throws UserError  the first problem where all objects had one, else E_MANIFEST_EMPTY
 */
export function requireObjects(parsed: ParsedManifests, paths: readonly string[]): ParsedManifests {
  const { objects, kinds, problems, hint } = parsed
  if (objects.length > 0 || paths.length === 0) return parsed
  if (problems[0] !== undefined && hint === '') throw problems[0]
  const where = paths.map((path) => (path === '-' ? 'standard input' : path)).join(', ')
  if (kinds.size === 0) throw new UserError('E_MANIFEST_EMPTY', 'no Kubernetes object in it', { where, hint })
  const named = [...kinds].slice(0, MAX_NAMED_KINDS).join(', ')
  const rest = kinds.size > MAX_NAMED_KINDS ? ` and ${kinds.size - MAX_NAMED_KINDS} more kinds` : ''
  throw new UserError('E_MANIFEST_EMPTY', `no object in it is of a kind that is read, only ${named}${rest}`, {
    where,
    hint,
  })
}

/** `web.yaml, document 2, items[3]`, as every message names a place. */
export function formatOrigin(origin: Origin, path = ''): string {
  const item = origin.item >= 0 ? `items[${origin.item}]` : ''
  const inside = item !== '' && path !== '' ? `${item}.${path}` : item + path
  return `${origin.file}, document ${origin.document}${inside === '' ? '' : `, ${inside}`}`
}

/** Warnings of one pattern: the first, where the first that is not listed was, and how many. */
interface Alike {
  readonly first: Warning
  next: string
  count: number
}

/** Nothing in the file is an object, and nothing says that something was meant to be one. */
function isStranger(documents: readonly ManifestDocument[]): boolean {
  return documents.every(({ value, problem }) => problem === null && !isKubernetesObject(value))
}

function isTemplate({ value, problem }: ManifestDocument): boolean {
  return problem === null ? isUnrendered(value) : problem.hint !== ''
}

function isKubernetesObject(value: unknown): boolean {
  return isMap(value) && typeof value['kind'] === 'string' && value['kind'] !== ''
}

/** `metadata.name: {{ .Release.Name }}-web`, in quotes, is YAML. */
function isUnrendered(value: unknown): boolean {
  if (!isMap(value) || !isMap(value['metadata'])) return false
  const { name, namespace } = value['metadata']
  return [name, namespace].some((text) => typeof text === 'string' && text.includes('{{'))
}

class Loader {
  readonly #objects = new Map<string, KubeObject>()
  readonly #warnings: Warning[] = []
  readonly #passed: PassedOver[] = []
  readonly #alike = new Map<string, Alike>()
  readonly #kinds = new Set<string>()
  readonly #problems: UserError[] = []
  readonly #surroundings: Surroundings
  readonly #kubeProxies = new KubeProxySources()
  /** The KubeProxyConfiguration among the objects is from a ConfigMap. */
  #isConfigMapped = false
  /** The file was found in a folder: what is wrong in it does not stop the rest. */
  #isFound = false

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings
  }

  add(value: unknown, file: string, document: number): void {
    this.#addValue(value, { origin: { file, document, item: -1 }, path: '' }, 0)
  }

  addFile(file: ManifestFile): void {
    const documents = parseDocuments(file)
    this.#isFound = file.isFound === true
    if (this.#isFound && isStranger(documents)) {
      this.#surroundings.addStranger(file)
      return
    }
    if (this.#isFound && file.text.includes('{{') && documents.some(isTemplate)) {
      if (!documents.some(({ value }) => isKubernetesObject(value) && !isUnrendered(value))) {
        this.#surroundings.addTemplate(file)
        return
      }
    }
    // A file that cannot be read is not spoken of as one that holds something else.
    for (const { problem } of documents) if (problem !== null) this.#refuse(problem)
    for (const { number, value, problem, warnings } of documents) {
      for (const warning of warnings) this.#warn(warning.code, warning)
      if (problem === null) this.#attempt(() => this.add(value, file.name, number))
    }
    this.#isFound = false
  }

  #attempt(run: () => void): void {
    try {
      run()
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      this.#refuse(error)
    }
  }

  #refuse(problem: UserError): void {
    if (!this.#isFound) throw problem
    this.#problems.push(problem)
    const isUnread = problem.code === 'E_MANIFEST_YAML' || problem.code === 'E_MANIFEST_TEMPLATE'
    const isPatch = problem.code === 'E_MANIFEST_FIELD' && this.#surroundings.hasKustomizations
    const guess = isPatch
      ? ' (a patch? those are not applied)'
      : isUnread && problem.hint !== ''
        ? ' (a template? render it first)'
        : ''
    const message = `left out: ${problem.message}${guess}`
    this.#warn(problem.code, { code: 'W_LEFT_OUT', where: problem.where, message })
  }

  result(): ParsedManifests {
    this.#settleKubeProxy()
    for (const { first, next, count } of this.#alike.values()) {
      if (count <= MAX_ALIKE) continue
      const more = count - MAX_ALIKE
      const message = `${more === 1 ? 'one more' : `${more} more`} like the one at ${first.where}`
      this.#warnings.push({ code: first.code, where: next, message })
    }
    const versions = new Set(READ_KINDS.flatMap((kind) => kindDefinition(kind)!.apiVersions))
    return {
      objects: [...this.#objects.values()],
      passedOver: this.#passed.filter(({ kind, apiVersion }) => shapesTraffic(kind, apiVersion)),
      warnings: [
        ...this.#surroundings.warnings(),
        ...this.#warnings,
        ...warningsOf(this.#passed, READ_KINDS, versions),
      ],
      kinds: this.#kinds,
      problems: this.#problems,
      hint: this.#surroundings.hint(),
    }
  }

  #settleKubeProxy(): void {
    const known = [...this.#objects.values()].some(({ kind }) => kind === 'KubeProxyConfiguration')
    const source = known ? (this.#isConfigMapped ? 'ConfigMap' : 'object') : null
    const { configuration, namesNodes, warnings } = this.#kubeProxies.settle(source)
    for (const warning of warnings) this.#warn(warning.message, warning)
    if (configuration !== null) this.#objects.set(KUBE_PROXY_KEY, configuration)
    else if (namesNodes) this.#dropHostnameOverride()
  }

  /** `--hostname-override` counts beside a configuration file as well, and over it. */
  #dropHostnameOverride(): void {
    for (const [key, object] of this.#objects) {
      if (object.kind === 'KubeProxyConfiguration')
        this.#objects.set(key, { ...object, hostnameOverride: '' } as KubeObject)
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
        hint: hintFor(place.origin.file),
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
      this.#attempt(() => this.#addValue(typed, { origin, path }, depth + 1))
    }
  }

  #addObject(value: Record<string, unknown>, kind: string, place: Place): void {
    this.#kinds.add(kind)
    const definition = kindDefinition(kind)
    if (isUnrendered(value)) {
      throw new UserError('E_MANIFEST_TEMPLATE', `${nameOf(kind, value)} has a name that is yet to be filled in`, {
        where: formatPlace(place),
        hint: 'This looks like a template: render it first, a Helm chart with `helm template`.',
      })
    }
    if (definition === undefined) {
      this.#pass(kind, value, place)
      return
    }
    this.#kubeProxies.look(kind, value, nameOf(kind, value), place.origin, formatPlace(place))
    const old = convertOld(kind, value)
    if (old !== null) {
      this.#warn(old.message, { code: 'W_API_VERSION', where: formatPlace(place), message: old.message })
      value = old.value
    }
    const apiVersion = value['apiVersion']
    if (typeof apiVersion !== 'string' || apiVersion === '') {
      throw fieldError(place, kind, new FieldProblem('nothing', definition.apiVersions[0]!), 'apiVersion')
    }
    if (!definition.apiVersions.includes(apiVersion)) {
      // Another kind of the same name: Calico's NetworkPolicy.
      if (shapesTraffic(kind, apiVersion)) {
        this.#pass(kind, value, place)
        return
      }
      const message = `${kind} of ${apiVersion} is left out; dpemu reads ${kind} of ${definition.apiVersions[0]}`
      this.#warn(`${kind} ${apiVersion}`, { code: 'W_API_VERSION', where: formatPlace(place), message })
      return
    }
    if (kind === 'ConfigMap' && !this.#isSystemConfigMap(value, place)) return
    for (const { path, pattern, message } of unknownFields(kind, value)) {
      const where = formatPlace(place, path)
      this.#warn(`${kind} ${pattern}`, { code: 'W_UNKNOWN_FIELD', where, message })
    }
    const clean = withoutRedacted(kind, value)
    for (const field of clean.fields) {
      const message = `${field} of ${nameOf(kind, value)} is blacked out; another one is derived`
      this.#warn(`${kind} ${field}`, { code: 'W_REDACTED', where: formatPlace(place, field), message })
    }
    try {
      this.#keep(readObject(definition, clean.value, place.origin), place)
    } catch (error) {
      throw error instanceof FieldProblem ? fieldError(place, nameOf(kind, value), error) : error
    }
  }

  #pass(kind: string, value: Record<string, unknown>, place: Place): void {
    const metadata = isMap(value['metadata']) ? value['metadata'] : {}
    const text = (field: unknown): string => (typeof field === 'string' ? field : '')
    this.#passed.push({
      apiVersion: text(value['apiVersion']),
      kind,
      namespace: text(metadata['namespace']),
      name: text(metadata['name']),
      file: place.origin.file,
      where: formatPlace(place),
    })
  }

  /** Of all ConfigMaps CoreDNS' and those of ingress controllers are kept; of kube-proxy's, the configuration file in it. */
  #isSystemConfigMap(value: Record<string, unknown>, place: Place): boolean {
    const metadata = value['metadata']
    if (!isMap(metadata)) return false
    if (isControllerConfig(metadata)) return true
    if (metadata['namespace'] !== 'kube-system') return false
    // kubeadm calls it kube-proxy and the key config.conf, EKS kube-proxy-config and config; others have names of their own.
    for (const [key, text] of Object.entries(isMap(value['data']) ? value['data'] : {})) {
      if (typeof text === 'string' && KUBE_PROXY_FILE.test(text)) this.#addKubeProxyConfig(key, text, place)
    }
    const name = String(metadata['name'])
    return name === COREDNS || name === COREDNS_CUSTOM || NODE_DNS.has(name)
  }

  #addKubeProxyConfig(key: string, text: string, place: Place): void {
    const path = formatPath([...(place.path === '' ? [] : [place.path]), 'data', key])
    for (const { value, problem } of parseDocuments({ name: formatPlace(place, path), text })) {
      if (problem !== null) this.#refuse(problem)
      else if (isMap(value)) {
        this.#addObject(value, String(value['kind']), { origin: place.origin, path })
        this.#isConfigMapped = true
      }
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
    // Behind those that stand before it, so that the objects are in the order of their files.
    this.#objects.delete(key)
    this.#objects.set(key, object)
    if (object.kind === 'KubeProxyConfiguration') this.#isConfigMapped = false
  }

  #warn(pattern: string, warning: Warning): void {
    const alike = this.#alike.get(pattern)
    if (alike === undefined) this.#alike.set(pattern, { first: warning, next: '', count: 1 })
    else if (++alike.count === MAX_ALIKE + 1) alike.next = warning.where
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
