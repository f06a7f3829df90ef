/** A comparison as text and as JSON (schemas/rules-against.schema.json). */
import type { Comparison } from './against.ts'
import type { Difference, SourceName } from './differences.ts'

const SCHEMA_VERSION = 1
const MAX_SOURCES = 3
/** Of the text; the JSON has all. */
const MAX_DIFFERENCES = 200

export function comparisonJson(comparison: Comparison): string {
  const { node, mode, files, taken, frontends, packets, differences, passedOver, notCompared, warnings } = comparison
  const document = {
    schemaVersion: SCHEMA_VERSION,
    node,
    mode,
    files,
    same: differences.length === 0,
    frontends,
    packets,
    settingsFromDump: taken,
    differences,
    notCompared,
    passedOver,
    warnings,
  }
  return `${JSON.stringify(document, null, 2)}\n`
}

export function comparisonText(comparison: Comparison): string {
  const { node, mode, files, taken, frontends, packets, differences, passedOver, notCompared } = comparison
  const lines = [
    `dpemu rules --against: node ${node}, ${mode}, ${files.join(', ')}`,
    `${count(frontends, 'address and port', 'addresses and ports')} compared, ${count(packets, 'packet')} followed through both`,
  ]
  if (taken !== null)
    lines.push(`settings of kube-proxy that the manifests do not say, taken from the dump: ${settingsText(taken)}`)
  if (passedOver.length > 0) lines.push(`passed over, of other software: ${passedOver.join(', ')}`)
  for (const what of notCompared) lines.push(`not compared: ${what}`)
  lines.push('')
  if (differences.length === 0) {
    lines.push('The node does what the manifests say.')
    return `${lines.join('\n')}\n`
  }
  lines.push(`${count(differences.length, 'difference')}`)
  let service: string | null = null
  let frontend: string | null = null
  for (const one of differences.slice(0, MAX_DIFFERENCES)) {
    if (one.service !== service || (one.service === '' && one.frontend !== frontend)) {
      service = one.service
      frontend = null
      lines.push('', service === '' ? (one.frontend === '' ? 'the node' : 'no Service') : service)
    }
    if (one.frontend !== frontend) {
      frontend = one.frontend
      if (frontend !== '') lines.push(`  ${frontend}${one.what === '' ? '' : ` (${one.what})`}`)
    }
    lines.push(...differenceLines(one))
  }
  const more = differences.length - MAX_DIFFERENCES
  if (more > 0) lines.push('', `... and ${count(more, 'difference')} more; -o json has all of them`)
  return `${lines.join('\n')}\n`
}

function differenceLines({ kind, text, sources, where }: Difference): string[] {
  const lines = [`    ${kind}: ${text}`]
  if (sources.length > 0) lines.push(`      from ${sourcesText(sources)}`)
  if (where !== '') lines.push(`      at ${where}`)
  return lines
}

function sourcesText(sources: readonly SourceName[]): string {
  const shown = sources.slice(0, MAX_SOURCES).map(({ kind, text }) => (kind === 'address' ? text : `${text} (${kind})`))
  const more = sources.length - shown.length
  return `${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

function settingsText(settings: NonNullable<Comparison['taken']>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ')
}

function count(number: number, one: string, many = `${one}s`): string {
  return `${number.toLocaleString('en-US')} ${number === 1 ? one : many}`
}
