/** A table's report as text and as JSON (schemas/conntrack.schema.json). */
import type { Counts, TableReport } from './against.ts'

const SCHEMA_VERSION = 1
const MAX_SERVICES = 20
const MAX_GONE = 20

export function tableJson(report: TableReport): string {
  return `${JSON.stringify({ schemaVersion: SCHEMA_VERSION, ...report }, null, 2)}\n`
}

export function tableText(report: TableReport): string {
  const { files, node, entries, max, byState, services, gone, others, closedPerSecond, ratePerSecond, room } = report
  const at = node === null ? '' : ` of node ${node}`
  const lines = [`dpemu conntrack --against: ${files.join(', ')}${at}`]
  lines.push(
    max === null
      ? `${count(entries)} entries`
      : `${count(entries)} entries of ${count(max)} (nf_conntrack_max): ${percent(entries, max)}`,
  )
  const ofServices = services.reduce((sum, one) => sum + one.entries, 0)
  lines.push('', 'Who fills the table')
  for (const one of services.slice(0, MAX_SERVICES)) {
    const notes = [
      ...(one.endpointGone > 0 ? [`${count(one.endpointGone)} to endpoints that are gone`] : []),
      ...(one.draining > 0 ? [`${count(one.draining)} to endpoints that take no new connections`] : []),
      ...(one.untranslated > 0 ? [`${count(one.untranslated)} never translated`] : []),
    ]
    lines.push(row(one.service, one.entries, entries, notes.join(', ')), ...states(one.byState))
  }
  if (services.length > MAX_SERVICES) {
    const rest = services.slice(MAX_SERVICES).reduce((sum, one) => sum + one.entries, 0)
    lines.push(row(`${services.length - MAX_SERVICES} more Services`, rest, entries, ''))
  }
  for (const [what, number] of Object.entries(others)) lines.push(row(`no Service: ${what}`, number, entries, ''))
  if (entries === 0) lines.push('  nobody: it is empty')
  lines.push('', 'By state')
  for (const [state, number] of Object.entries(byState)) lines.push(row(state, number, entries, ''))
  if (closedPerSecond > 0) {
    lines.push(
      `  TIME_WAIT says that some ${count(Number(closedPerSecond.toPrecision(2)))} TCP connections a second are closed`,
    )
  }
  lines.push('', 'Entries whose endpoint is gone')
  if (gone.length === 0) lines.push(`  none of the ${count(ofServices)} entries of Services`)
  for (const one of gone.slice(0, MAX_GONE)) {
    const until = one.longestSeconds === null ? '' : `, the last for ${count(one.longestSeconds)} s more`
    lines.push(
      `  ${one.endpoint}/${one.protocol} of ${one.service}: ${count(one.entries)} (${stateText(one.byState)})${until}`,
    )
  }
  if (gone.length > MAX_GONE) lines.push(`  ... and ${gone.length - MAX_GONE} endpoints more`)
  if (ratePerSecond !== null && room.length > 0) {
    lines.push('', `Room at ${ratePerSecond} connections a second more`)
    for (const { kind, seconds, entries: taken, left, fullAfterSeconds } of room) {
      const end =
        fullAfterSeconds === null ? `${count(left)} left` : `full after ${count(Math.floor(fullAfterSeconds))} s`
      lines.push(`  ${kind.padEnd(44)}${count(taken).padStart(12)} entries (${count(seconds)} s each): ${end}`)
    }
    lines.push('  beside what is there now; the time that connections are open comes on top')
  }
  return `${lines.join('\n')}\n`
}

function row(what: string, number: number, of: number, note: string): string {
  return `  ${what.padEnd(44)}${count(number).padStart(12)}${percent(number, of).padStart(8)}${note === '' ? '' : `  ${note}`}`
}

function states(byState: Counts): string[] {
  return [`    ${stateText(byState)}`]
}

function stateText(byState: Counts): string {
  return Object.entries(byState)
    .map(([state, number]) => `${state} ${count(number)}`)
    .join(', ')
}

function count(number: number): string {
  return number.toLocaleString('en-US')
}

function percent(part: number, whole: number): string {
  if (whole === 0) return ''
  const share = (part / whole) * 100
  if (share > 0 && share < 0.1) return '<0.1 %'
  return `${share >= 99.95 || share === 0 ? share.toFixed(0) : share.toPrecision(share < 1 ? 1 : 3)} %`
}
