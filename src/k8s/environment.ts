/**
 * What containers are told by their environment, out of the manifests as they are written: objects are loaded without it, since
 * no rule of the dataplane reads it. Only values that stand there are taken, not what refers to Secrets and ConfigMaps.
 */
import type { ManifestFile } from './files.ts'
import { parseDocuments } from './yaml.ts'

export interface Environment {
  readonly kind: string
  readonly namespace: string
  /** Of the object. */
  readonly name: string
  readonly variable: string
  readonly value: string
}

type Fields = Readonly<Record<string, unknown>>

/** Documents that cannot be read are passed over: loading says so. */
export function environmentsIn(files: readonly ManifestFile[]): Environment[] {
  return files.flatMap((file) => parseDocuments(file).flatMap(({ value }) => itemsOf(value).flatMap(environmentOf)))
}

function itemsOf(value: unknown): Fields[] {
  const object = fieldsOf(value)
  const items = object['items']
  return Array.isArray(items) ? items.map(fieldsOf) : [object]
}

function environmentOf(object: Fields): Environment[] {
  const { kind } = object
  const metadata = fieldsOf(object['metadata'])
  const { name } = metadata
  if (typeof kind !== 'string' || typeof name !== 'string') return []
  const namespace = typeof metadata['namespace'] === 'string' ? metadata['namespace'] : 'default'
  const spec = fieldsOf(object['spec'])
  const podSpec = kind === 'Pod' ? spec : fieldsOf(fieldsOf(spec['template'])['spec'])
  return listOf(podSpec['containers']).flatMap((container) =>
    listOf(container['env']).flatMap((entry): Environment[] => {
      const { name: variable, value } = entry
      return typeof value === 'string' ? [{ kind, namespace, name, variable: String(variable), value }] : []
    }),
  )
}

function listOf(value: unknown): Fields[] {
  return Array.isArray(value) ? value.map(fieldsOf) : []
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}
