/** The numbers of a document by path, out of its shape: for help, and for whoever types one. */
import { type Dimension, dimensionOf, isCounterMap } from './fields.ts'
import type { Subject } from './threshold.ts'

export interface Metric {
  /** `runs[*].nodes[*].conntrackPeak` */
  readonly path: string
  /** '' for plain counts. */
  readonly unit: string
}

const UNITS: Readonly<Record<Dimension, string>> = {
  micros: 'µs',
  nanos: 'ns',
  seconds: 's',
  bytes: 'B',
  fraction: '0 to 1',
  count: '',
}

/** In the order of the document. */
export function metricsOf({ shape }: Pick<Subject, 'shape'>): Metric[] {
  const found: Metric[] = []
  const walk = (value: unknown, path: string, fields: readonly string[]): void => {
    if (Array.isArray(value)) {
      walk(value[0], `${path}[*]`, fields)
      return
    }
    if (typeof value === 'number') found.push({ path, unit: UNITS[dimensionOf(fields)] })
    if (typeof value !== 'object' || value === null) return
    if (isCounterMap(fields.at(-1) ?? '')) found.push({ path: `${path}.NAME`, unit: '' })
    for (const [name, inner] of Object.entries(value))
      walk(inner, path === '' ? name : `${path}.${name}`, [...fields, name])
  }
  walk(shape, '', [])
  return found.filter(
    ({ path }) => path !== 'schemaVersion' && !/\.\w+\[\*\]$|(^|\.)draws\.(least|most)[^.]*[.[]/.test(path),
  )
}
