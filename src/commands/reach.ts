/** `dpemu reach`: manifests → who reaches what, as a table, JSON or a graph; with `--expect` a test suite for CI. */
import type { Warning } from '../errors.ts'
import { loadManifests } from '../explain/context.ts'
import { checkExpectations, type ExpectationResult, readExpectations } from '../explain/expectations.ts'
import { type Reach, type ReachCell, reachOf } from '../explain/reach.ts'
import { writeOutputNow } from '../files/output.ts'
import { parseKubernetesVersion, withVersion } from '../kubernetes-version.ts'
import {
  type Cell,
  cellText as documentText,
  listSection,
  type ReportDocument,
  type Section,
  shorten,
} from '../report/document.ts'
import { renderJunitCases } from '../report/junit.ts'
import { renderDocumentMarkdown } from '../report/markdown.ts'
import { matrixSvg } from '../report/matrix-svg.ts'
import { renderDocumentText } from '../report/text.ts'
import { countOf } from '../report/units.ts'
import { EXIT_THRESHOLD } from './exit.ts'
import type { Io } from './io.ts'
import { type NamingOptions, readNaming } from './naming.ts'
import { parseOutputs, stdoutFormat } from './outputs.ts'
import { proxyModeOf } from './proxy-mode.ts'
import { warningPrinter } from './warnings.ts'

const FORMATS = ['text', 'json', 'markdown', 'dot', 'svg', 'junit'] as const
type Format = (typeof FORMATS)[number]
const MAX_REASONS = 20

export interface ReachCommandOptions {
  readonly manifests: readonly string[]
  /** A file of expectations. */
  readonly expect?: string | undefined
  readonly naming?: NamingOptions | undefined
  /** `--proxy-mode`: in place of the mode that the manifests say. */
  readonly proxyMode?: string | undefined
  readonly kubeVersion?: string | undefined
  readonly output: readonly string[]
  readonly quiet: boolean
}

/** @returns the exit code: 0, 99 when an expectation was not met */
export function runReach(
  options: ReachCommandOptions,
  io: Pick<Io, 'stdout' | 'stderr' | 'stdin' | 'disabledWarnings' | 'width' | 'color'>,
): number {
  const { manifests, expect } = options
  const outputs = parseOutputs(options.output, FORMATS, [...manifests, ...(expect === undefined ? [] : [expect])])
  const expectations = expect === undefined ? [] : readExpectations(expect)
  const mode = proxyModeOf(options.proxyMode)
  const minor = options.kubeVersion === undefined ? null : parseKubernetesVersion(options.kubeVersion)
  const read = loadManifests(manifests, () => io.stdin())
  const loaded = { ...read, cluster: withVersion(read.cluster, minor), naming: readNaming(options.naming ?? {}), mode }
  const printer = warningPrinter(io, { update: () => {}, clear: () => {} }, options.quiet)
  for (const warning of loaded.warnings) printer.print(warning)
  printer.finish()
  const report: ReachReport = {
    reach: reachOf(loaded),
    expectations: checkExpectations(loaded, expectations),
    warnings: loaded.warnings,
  }
  for (const { format, file } of outputs)
    if (file !== null) writeOutputNow(file, render(format, report, { color: false }))
  const format = stdoutFormat(outputs, options.quiet)
  if (format !== null) io.stdout(render(format, report, { color: io.color, width: io.width }))
  return report.expectations.every(({ pass }) => pass) ? 0 : EXIT_THRESHOLD
}

interface ReachReport {
  readonly reach: Reach
  readonly expectations: readonly ExpectationResult[]
  readonly warnings: readonly Warning[]
}

function render(
  format: Format,
  report: ReachReport,
  options: { readonly color: boolean; readonly width?: number | null },
): string {
  switch (format) {
    case 'json':
      return reachJson(report)
    case 'dot':
      return reachDot(report.reach)
    case 'svg':
      return reachSvg(report.reach)
    case 'junit':
      return renderJunitCases('dpemu reach', report.expectations.map(junitCase))
    case 'markdown':
      return renderDocumentMarkdown(reachDocument(report))
    case 'text':
      return renderDocumentText(reachDocument(report), options)
  }
}

function junitCase({
  name,
  pass,
  expected,
  failures,
}: ExpectationResult): Parameters<typeof renderJunitCases>[1][number] {
  if (pass) return { name, failure: null }
  return { name, failure: { type: 'reach', message: `expected ${expected.join(' or ')}`, text: failures.join('\n') } }
}

function reachJson({ reach, expectations, warnings }: ReachReport): string {
  const document = { schemaVersion: 1, kind: 'reach', ...reach, expectations, warnings }
  return `${JSON.stringify(document, null, 2)}\n`
}

/** Edges for what arrives; dashed where it does not from every node. */
function reachDot({ sources, targets, cells }: Reach): string {
  const quoted = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`
  const edges = cells
    .filter(({ delivered }) => delivered > 0)
    .map(
      ({ from, to, outcome }) =>
        `  ${quoted(from)} -> ${quoted(`Service ${to}`)}${outcome === 'some' ? ' [style=dashed]' : ''};`,
    )
  return `${[
    'digraph reach {',
    '  rankdir=LR;',
    ...sources.map(({ name }) => `  ${quoted(name)} [shape=ellipse];`),
    ...targets.map(({ name }) => `  ${quoted(`Service ${name}`)} [shape=box, label=${quoted(name)}];`),
    ...edges,
    '}',
  ].join('\n')}\n`
}

/** The matrix of the text, and behind each cell what explain concludes. */
function reachSvg({ sources, targets, cells }: Reach): string {
  return matrixSvg({
    title: 'Who reaches what',
    rows: targets.map(targetText),
    columns: sources.map(({ name }) => name),
    cells: targets.map((_, row) =>
      sources.map((_, column) => {
        const cell = cells[column * targets.length + row]!
        const tone = cell.outcome === 'deliver' ? 'good' : cell.outcome === 'some' ? 'mixed' : 'bad'
        return { text: documentText(cellText(cell)), tone, title: `${cell.from} → ${cell.to}: ${cell.conclusion}` }
      }),
    ),
  })
}

function targetText({ name, protocol }: Reach['targets'][number]): string {
  return protocol === 'TCP' ? name : `${name} ${protocol}`
}

function reachDocument({ reach, expectations }: ReachReport): ReportDocument {
  const { sources, targets, cells } = reach
  const failed = expectations.filter(({ pass }) => !pass).length
  return {
    title: 'dpemu reach',
    subtitle: [
      `${countOf(sources.length, 'client')}, ${countOf(targets.length, 'Service port')}`,
      ...(expectations.length === 0 ? [] : [`${countOf(expectations.length, 'expectation')}, ${failed} not met`]),
    ],
    sections: [
      ...(expectations.length === 0 ? [] : [listSection('Expectations', expectations.flatMap(expectationLines))]),
      matrix(reach),
      ...reasons(cells),
    ],
  }
}

function expectationLines({ name, pass, failures }: ExpectationResult): Cell[] {
  if (pass) return [{ text: `✓ ${name}`, tone: 'good' }]
  return [{ text: `✗ ${name}`, tone: 'bad' }, ...failures.map((failure) => `    ${failure}`)]
}

/** A row a Service port, a column a client. */
function matrix({ sources, targets, cells }: Reach): Section {
  const rows = targets.map((target, row): Cell[] => [
    targetText(target),
    ...sources.map((_, column) => cellText(cells[column * targets.length + row]!)),
  ])
  return {
    title: 'Who reaches what',
    table: {
      head: ['Service port', ...sources.map(({ name }) => name)],
      align: ['left', ...sources.map(() => 'right' as const)],
      rows,
      runTable: false,
    },
    lines: cells.some(({ outcome, delivered }) => outcome === 'some' && delivered > 0)
      ? [{ text: '1 of 2: from one of the two nodes that have such a pod', tone: 'quiet' }]
      : [],
    list: false,
  }
}

function cellText({ outcome, clients, delivered }: ReachCell): Cell {
  if (outcome === 'deliver') return { text: 'yes', tone: 'good' }
  if (outcome === 'some') return { text: delivered === 0 ? 'partly' : `${delivered} of ${clients}`, tone: 'bad' }
  return { text: outcome === 'none' ? 'no' : outcome, tone: 'bad' }
}

/** Why not, once for each conclusion. */
function reasons(cells: readonly ReachCell[]): Section[] {
  const byReason = new Map<string, string[]>()
  for (const { from, to, outcome, conclusion } of cells) {
    if (outcome === 'deliver') continue
    const known = byReason.get(`${to}: ${conclusion}`)
    if (known === undefined) byReason.set(`${to}: ${conclusion}`, [from])
    else known.push(from)
  }
  if (byReason.size === 0) return []
  const lines = [...byReason].map(
    ([text, from]) =>
      `${from.length > 3 ? `${from.slice(0, 3).join(', ')} and ${from.length - 3} more` : from.join(', ')} → ${text}`,
  )
  return [listSection('Why not', shorten(lines, MAX_REASONS))]
}
