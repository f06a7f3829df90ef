/**
 * `dpemu lint`: manifests → what is in them, what dpemu fills in, skips and does not know, and what is wrong.
 *
 * Exit code 3 where an object or a field is wrong or left out; with `--strict` for every warning. What is only not
 * modelled is no fault of the manifests.
 */
import { compileRules } from '../compile/compile.ts'
import { DEFAULT_MODEL } from '../compile/model.ts'
import { Registry } from '../compile/registry.ts'
import { formatWarning, type Warning } from '../errors.ts'
import { writeOutputNow } from '../files/output.ts'
import type { DerivedNote } from '../k8s/cluster.ts'
import { deriveCluster } from '../k8s/derive.ts'
import { parseManifests, readManifestFiles, requireObjects } from '../k8s/load.ts'
import { type Cell, listSection, type ReportDocument, textSection } from '../report/document.ts'
import { renderDocumentMarkdown } from '../report/markdown.ts'
import { renderDocumentText } from '../report/text.ts'
import { countOf } from '../report/units.ts'
import type { Io } from './io.ts'
import { parseOutputs, stdoutFormat } from './outputs.ts'

const FORMATS = ['text', 'json', 'markdown'] as const
const EXIT_INVALID = 3
const GC_INTERVAL_MS = 60_000

/** Warnings of what the API server or a controller would refuse, ignore or not find. */
const FAULTS: ReadonlySet<string> = new Set([
  'W_API_VERSION',
  'W_BACKEND_MISSING',
  'W_DUPLICATE_KEY',
  'W_DUPLICATE_OBJECT',
  'W_FRONTEND_TAKEN',
  'W_INGRESS_ANNOTATION',
  'W_INGRESS_BACKEND',
  'W_INGRESS_CLASS',
  'W_INGRESS_CONFLICT',
  'W_INGRESS_HOST',
  'W_INGRESS_PATH',
  'W_INGRESS_REGEX',
  'W_LEFT_OUT',
  'W_NO_ENDPOINTS',
  'W_NO_SERVICE',
  'W_POD_UNPLACED',
  'W_PORT_NAME',
  'W_TARGET_PORT',
  'W_UNKNOWN_FIELD',
  'W_UNKNOWN_KIND',
  'W_UNKNOWN_NODE',
])

export interface LintOptions {
  readonly manifests: readonly string[]
  readonly strict: boolean
  readonly output: readonly string[]
}

export interface LintReport {
  readonly schemaVersion: 1
  readonly kind: 'lint'
  /** Kind to number of objects that are read. */
  readonly objects: Readonly<Record<string, number>>
  /** Kind to number of objects that are not modelled. */
  readonly skipped: Readonly<Record<string, number>>
  readonly derived: readonly DerivedNote[]
  /** What is wrong, and what to know. */
  readonly faults: readonly Warning[]
  readonly warnings: readonly Warning[]
}

/** @returns the exit code: 0, or 3 where something is wrong @throws UserError for manifests that cannot be used at all */
export function runLint(options: LintOptions, io: Pick<Io, 'stdout' | 'stdin' | 'width' | 'color'>): number {
  const outputs = parseOutputs(options.output, FORMATS, options.manifests)
  const report = lint(options.manifests, () => io.stdin())
  for (const { format, file } of outputs)
    if (file !== null) writeOutputNow(file, render(format, report, { color: false }))
  const format = stdoutFormat(outputs, false)
  if (format !== null) io.stdout(render(format, report, { color: io.color, width: io.width }))
  const isWrong = report.faults.length > 0 || (options.strict && report.warnings.length > 0)
  return isWrong ? EXIT_INVALID : 0
}

export function lint(manifests: readonly string[], stdin: () => string): LintReport {
  const parsed = requireObjects(parseManifests(readManifestFiles(manifests, stdin)), manifests)
  const cluster = deriveCluster(parsed.objects)
  const compiled = compileRules(cluster, new Registry(), {
    policy: null,
    mode: null,
    model: DEFAULT_MODEL,
    destinations: [],
    clientMap: new Int32Array(0),
    gcIntervalMs: GC_INTERVAL_MS,
  })
  const all = unique([...parsed.warnings, ...cluster.warnings, ...compiled.warnings])
  return {
    schemaVersion: 1,
    kind: 'lint',
    objects: counted(parsed.objects.map(({ kind }) => kind)),
    skipped: counted(parsed.passedOver.map(({ kind }) => kind)),
    derived: cluster.derived,
    faults: all.filter(({ code }) => FAULTS.has(code)),
    warnings: all.filter(({ code }) => !FAULTS.has(code)),
  }
}

function unique(warnings: readonly Warning[]): Warning[] {
  return [...new Map(warnings.map((warning) => [formatWarning(warning), warning])).values()]
}

function counted(kinds: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const kind of [...kinds].sort()) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}

function render(
  format: (typeof FORMATS)[number],
  report: LintReport,
  options: { readonly color: boolean; readonly width?: number | null },
): string {
  if (format === 'json') return `${JSON.stringify(report, null, 2)}\n`
  const document = lintDocument(report)
  return format === 'markdown' ? renderDocumentMarkdown(document) : renderDocumentText(document, options)
}

function lintDocument({ objects, skipped, derived, faults, warnings }: LintReport): ReportDocument {
  const total = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((a, b) => a + b, 0)
  const named = (counts: Readonly<Record<string, number>>): string =>
    Object.entries(counts)
      .map(([kind, count]) => `${count} ${kind}`)
      .join(', ')
  const lines = (list: readonly Warning[], tone: 'bad' | 'plain'): Cell[] =>
    list.map((one) => ({ text: `${formatWarning(one)} [${one.code}]`, tone }))
  return {
    title: 'dpemu lint',
    subtitle: [
      `${countOf(total(objects), 'object')}, ${total(skipped)} skipped, ${countOf(faults.length, 'fault')}, ${countOf(warnings.length, 'warning')}`,
    ],
    sections: [
      ...(faults.length === 0 ? [] : [listSection('Wrong', lines(faults, 'bad'))]),
      ...(warnings.length === 0 ? [] : [listSection('Warnings', lines(warnings, 'plain'))]),
      textSection('Objects', [named(objects)]),
      ...(total(skipped) === 0 ? [] : [textSection('Skipped: not modelled', [named(skipped)])]),
      ...(derived.length === 0
        ? []
        : [
            listSection(
              'Filled in, as a cluster would',
              derived.map(({ object, what }) => `${object}: ${what}`),
            ),
          ]),
    ],
  }
}
