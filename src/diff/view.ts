/** A diff for people: one section a cause, below it what comes of it, for whom, and a command that shows it on both sides. */
import type { Comparison } from '../compare/compare.ts'
import { type Cell, listSection, type ReportDocument, type Section, textSection } from '../report/document.ts'
import { renderDocumentMarkdown } from '../report/markdown.ts'
import { countOf } from '../report/units.ts'
import { changeTitle } from './gather.ts'
import type { Change, Diff, Effect, EffectKind } from './types.ts'

/** The manifests of a side as `-f` takes them. */
export interface DiffInputs {
  readonly old: readonly string[]
  readonly new: readonly string[]
}

const MAX_CHANGES = 40
const MAX_EFFECTS = 8
const MAX_NAMES = 3
/** GitHub takes comments of 65,536 characters; a trace's figures come behind. */
const MAX_COMMENT = 50_000

const KIND_TEXT: Readonly<Record<EffectKind, string>> = {
  reachability: 'reachable',
  endpoints: 'endpoints',
  'client-address': 'the pod sees',
  hop: 'way',
  reply: 'answer',
  affinity: 'affinity',
  'health-check': 'health check',
  'entry-nodes': 'load balancer sends to',
  dns: 'DNS answer',
  'resolv-conf': 'resolv.conf',
  route: 'request goes to',
}

/** @param most  causes that are told, the worst first; the rest is counted */
export function diffDocument(diff: Diff, inputs: DiffInputs, most: number = MAX_CHANGES): ReportDocument {
  const { changes, differences, notCompared } = diff
  const shown = changes.slice(0, most)
  const rest = changes.length - shown.length
  const summary =
    changes.length === 0
      ? 'No client could tell the one from the other.'
      : `${countOf(changes.length, 'cause')}, ${countOf(differences, 'answer that differs', 'answers that differ')}.`
  return {
    title: 'dpemu diff',
    subtitle: [`${inputs.old.join(' ')} → ${inputs.new.join(' ')}`, summary],
    sections: [
      ...shown.map((change) => changeSection(change, inputs)),
      ...(rest > 0 ? [textSection(`... and ${countOf(rest, 'more cause', 'more causes')} (-o json has all)`, [])] : []),
      ...(notCompared.length > 0 ? [listSection('Not compared', notCompared)] : []),
    ],
  }
}

/** As many causes as fit a comment. */
export function diffMarkdown(diff: Diff, inputs: DiffInputs): string {
  for (let most = Math.min(MAX_CHANGES, diff.changes.length); ; most = most >> 1) {
    const text = renderDocumentMarkdown(diffDocument(diff, inputs, most))
    if (text.length <= MAX_COMMENT || most === 0) return text
  }
}

function changeSection(change: Change, inputs: DiffInputs): Section {
  const { effects, subjects, causes } = change
  const touched = causes.length > 0 && subjects.some((subject) => !causes.some(({ object }) => object === subject))
  const lines: Cell[] = [
    ...(touched ? [{ text: `touches ${some(subjects)}`, tone: 'quiet' as const }] : []),
    ...effects.slice(0, MAX_EFFECTS).flatMap((effect) => effectLines(effect, inputs)),
  ]
  if (effects.length > MAX_EFFECTS) {
    lines.push({ text: `... and ${effects.length - MAX_EFFECTS} more (-o json has all)`, tone: 'quiet' })
  }
  return listSection(changeTitle(change), lines)
}

function effectLines({ kind, from, to, clientClasses, targets, example }: Effect, inputs: DiffInputs): Cell[] {
  const isWorse = kind === 'reachability' && /^(drop|reject|no rule)/.test(to) && !/^(drop|reject|no rule)/.test(from)
  const command =
    example.command === ''
      ? 'only where the load balancer takes another node'
      : `dpemu ${withManifests(example.command, inputs.old)}   (-f ${inputs.new.map(quoted).join(' -f ')} for the new side)`
  const answers = kind === 'resolv-conf' ? [] : [`    old: ${example.old}`, `    new: ${example.new}`]
  return [
    { text: `${KIND_TEXT[kind]}: ${from} → ${to}`, tone: isWorse ? 'bad' : 'plain' },
    `  ${some(clientClasses, '; ')} → ${some(targets)}`,
    ...[`  ${command}`, ...answers].map((text) => ({ text, tone: 'quiet' as const })),
  ]
}

/** `explain -f OLD --from …` */
function withManifests(command: string, manifests: readonly string[]): string {
  const [name, ...options] = command.split(' ')
  return [name, ...manifests.map((path) => `-f ${quoted(path)}`), ...options].join(' ')
}

function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`
}

function some(names: readonly string[], separator = ', '): string {
  const rest = names.length - MAX_NAMES
  return rest <= 1 ? names.join(separator) : `${names.slice(0, MAX_NAMES).join(separator)} and ${rest} more`
}

/** `dpemu diff -o json` @param replays  with a trace: what its replays differ in */
export function diffJson(diff: Diff, inputs: DiffInputs, replays: Comparison | null): string {
  const same = diff.changes.length === 0 && (replays === null || replays.differences.length === 0)
  const traced = replays === null ? {} : { replays }
  return `${JSON.stringify({ schemaVersion: 1, kind: 'diff', inputs, same, ...diff, ...traced }, null, 2)}\n`
}
