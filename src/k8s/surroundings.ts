/**
 * What a folder of manifests is besides: a Helm chart, a kustomization, a place where other files lie as well.
 *
 * None of it is built here. Templates, patches and kustomizations are not taken for objects, and the user is told how to get what a
 * cluster would get.
 * Source: Helm's chart layout (Chart.yaml, values.yaml, templates/, charts/); kustomize's fields that name files of patches.
 */
import { basename, dirname, join, normalize } from 'node:path'
import type { Warning } from '../errors.ts'
import type { ManifestFile } from './files.ts'
import { isMap } from './schema.ts'
import { parseDocuments } from './yaml.ts'

const KUSTOMIZATION = /^kustomization(\.ya?ml)?$/i
/** What a kustomization may hold and still be no more than a list of files. */
const LISTING: ReadonlySet<string> = new Set(['apiVersion', 'kind', 'metadata', 'resources', 'bases'])
/** Files that a message names; the rest are counted. */
const MAX_NAMED = 3

/** What keeps a file from being read for objects. */
export type Foreign = 'chart' | 'kustomization' | 'patch'

export class Surroundings {
  readonly #foreign = new Map<string, Foreign>()
  readonly #charts: readonly string[]
  /** Folders whose kustomization does more than list files, those that no other one builds on first. */
  readonly #kustomizations: readonly string[]
  readonly #strangers: string[] = []
  readonly #templates: string[] = []

  constructor(files: readonly ManifestFile[]) {
    const found = files.filter(({ isFound }) => isFound === true)
    const charts = found.filter(({ name }) => basename(name) === 'Chart.yaml').map(({ name }) => dirname(name))
    this.#charts = charts.filter((folder) => !charts.some((other) => other !== folder && isBelow(folder, other)))
    for (const { name, text } of found) {
      const chart = this.#chartOf(name)
      if (chart === undefined) continue
      const isTemplate = text.includes('{{') && /(^|[/\\])templates[/\\]/.test(name.slice(chart.length))
      if (isTemplate || basename(name) === 'Chart.yaml') this.#foreign.set(name, 'chart')
    }
    this.#kustomizations = this.#readKustomizations(found)
  }

  /** Why `file` is not read for objects, or null. */
  foreign(file: ManifestFile): Foreign | null {
    return this.#foreign.get(file.name) ?? null
  }

  /** A file of a folder in which nothing is an object. */
  addStranger(file: ManifestFile): void {
    if (this.#chartOf(file.name) === undefined) this.#strangers.push(file.name)
    else this.#foreign.set(file.name, 'chart')
  }

  /** A file of a folder whose text is a template, outside any chart. */
  addTemplate(file: ManifestFile): void {
    if (this.#chartOf(file.name) === undefined) this.#templates.push(file.name)
    else this.#foreign.set(file.name, 'chart')
  }

  /** True where objects may be patches that only kustomize can apply. */
  get hasKustomizations(): boolean {
    return this.#kustomizations.length > 0
  }

  warnings(): Warning[] {
    const warnings: Warning[] = []
    const say = (code: string, where: string, message: string): void => void warnings.push({ code, where, message })
    if (this.#strangers.length > 0) {
      const { is, hold } = verbs(this.#strangers)
      say('W_PASSED_OVER', '', `${listOf(this.#strangers, 'file')} ${hold} no Kubernetes object and ${is} passed over`)
    }
    if (this.#templates.length > 0) {
      const { is } = verbs(this.#templates)
      const templates = this.#templates.length === 1 ? 'a template' : 'templates'
      say(
        'W_PASSED_OVER',
        '',
        `${listOf(this.#templates, 'file')} ${is} ${templates} ({{ }}) and passed over: render first`,
      )
    }
    const charts = [...this.#foreign.values()].filter((why) => why === 'chart').length
    if (this.#charts.length > 0) {
      const title = this.#charts.length === 1 ? 'is a Helm chart' : 'are Helm charts'
      const files = charts === 1 ? '1 file' : `${charts} files`
      const how = this.#howToRender()
      say(
        'W_NOT_MODELLED',
        '',
        `${listOf(this.#charts, 'folder')} ${title}, which only Helm can render: ${files} passed over; ${how}`,
      )
    }
    if (this.#kustomizations.length > 0) {
      const title = this.#kustomizations.length === 1 ? 'is a kustomization' : 'are kustomizations'
      const message = `${listOf(this.#kustomizations, 'folder')} ${title}: what ${title.startsWith('is') ? 'it changes' : 'they change'} (names, namespaces, replicas, patches) is not applied; ${this.#howToBuild()}`
      say('W_NOT_MODELLED', '', message)
    }
    return warnings
  }

  /** What to do where a folder holds nothing that can be read as it stands. */
  hint(): string {
    const parts = [
      ...(this.#charts.length > 0 ? [this.#howToRender()] : []),
      ...(this.#kustomizations.length > 0 ? [this.#howToBuild()] : []),
    ]
    if (parts.length > 0) return parts.join('; ')
    return this.#templates.length > 0 ? 'Its files are templates: render them first.' : ''
  }

  #howToRender(): string {
    return `render ${this.#charts.length === 1 ? 'it' : 'one'} and give the output: helm template ${this.#charts[0]} | dpemu ... -f -`
  }

  #howToBuild(): string {
    return `build ${this.#kustomizations.length === 1 ? 'it' : 'one'} and give the output: kubectl kustomize ${this.#kustomizations[0]} | dpemu ... -f -`
  }

  #chartOf(name: string): string | undefined {
    return this.#charts.find((folder) => isBelow(name, folder))
  }

  #readKustomizations(found: readonly ManifestFile[]): string[] {
    const known = new Set(found.map(({ name }) => normalize(name)))
    const changing: string[] = []
    const builtOn = new Set<string>()
    for (const file of found) {
      if (!KUSTOMIZATION.test(basename(file.name))) continue
      this.#foreign.set(file.name, 'kustomization')
      const folder = dirname(file.name)
      const [content] = parseDocuments(file).flatMap(({ value }) => (isMap(value) ? [value] : []))
      // A broken one is a kustomization all the same.
      const fields = content ?? {}
      const listed = textsOf(fields['resources'], fields['bases'], fields['components'])
      for (const path of listed) builtOn.add(normalize(join(folder, path)))
      for (const patch of patchesOf(fields)) {
        const path = normalize(join(folder, patch))
        for (const { name } of found) if (normalize(name) === path) this.#foreign.set(name, 'patch')
      }
      const isListing = Object.keys(fields).every((field) => LISTING.has(field))
      const isHere = listed.every((path) => {
        const target = normalize(join(folder, path))
        return known.has(target) || [...known].some((name) => isBelow(name, target))
      })
      if (content === undefined || !isListing || !isHere) changing.push(folder)
    }
    const isRoot = (folder: string): boolean => !builtOn.has(normalize(folder))
    return [...changing.filter(isRoot), ...changing.filter((folder) => !isRoot(folder))]
  }
}

/** What to do with a file that was named and is no manifest. */
export function hintFor(name: string): string {
  if (KUSTOMIZATION.test(basename(name))) {
    return `This is a kustomization; build it: kubectl kustomize ${dirname(name)} | dpemu ... -f -`
  }
  if (basename(name) !== 'Chart.yaml') return ''
  return `This is a Helm chart; render it: helm template ${dirname(name)} | dpemu ... -f -`
}

function patchesOf(fields: Record<string, unknown>): string[] {
  const paths = ['patches', 'patchesJson6902', 'replacements'].flatMap((field) => {
    const entries = fields[field]
    return Array.isArray(entries) ? entries.map((entry: unknown) => (isMap(entry) ? entry['path'] : undefined)) : []
  })
  const others = ['patchesStrategicMerge', 'transformers', 'generators', 'configurations', 'openapi']
  return textsOf(paths, ...others.map((field) => fields[field]))
}

/** The file names among `values`; what has several lines is a patch written in place. */
function textsOf(...values: unknown[]): string[] {
  return values.flat().filter((value): value is string => typeof value === 'string' && !value.includes('\n'))
}

function isBelow(path: string, folder: string): boolean {
  if (folder === '.') return !path.startsWith('..')
  return path.startsWith(folder) && /^[/\\]/.test(path.slice(folder.length))
}

function verbs({ length }: readonly string[]): { is: string; hold: string } {
  return length === 1 ? { is: 'is', hold: 'holds' } : { is: 'are', hold: 'hold' }
}

/** `a.yaml`, `2 files (a.yaml, b.yaml)`, `12 files (a.yaml, b.yaml, c.yaml and 9 more)`. */
function listOf(names: readonly string[], noun: string): string {
  if (names.length === 1) return names[0]!
  const named = names.slice(0, MAX_NAMED).join(', ')
  const rest = names.length > MAX_NAMED ? ` and ${names.length - MAX_NAMED} more` : ''
  return `${names.length} ${noun}s (${named}${rest})`
}
