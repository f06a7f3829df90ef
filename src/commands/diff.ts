/**
 * `dpemu diff`: two sets of manifests → what changes for whom, as text, Markdown or JSON; with a trace also what its connections make
 * of either.
 */

import type { Comparison } from '../compare/compare.ts'
import type { renderComparison as RenderComparison } from '../compare/text.ts'
import { diffClusters } from '../diff/diff.ts'
import { loadPair } from '../diff/load.ts'
import type { Diff } from '../diff/types.ts'
import { type DiffInputs, diffDocument, diffJson, diffMarkdown } from '../diff/view.ts'
import type { Warning } from '../errors.ts'
import { writeOutputNow } from '../files/output.ts'
import { parseKubernetesVersion, withVersion } from '../kubernetes-version.ts'
import { renderDocumentText } from '../report/text.ts'
import { usageError } from './arguments.ts'
import { type Io, interruptionOf } from './io.ts'
import { type NamingOptions, readNaming } from './naming.ts'
import { parseOutputs, stdoutFormat } from './outputs.ts'
import { startProgress } from './progress.ts'
import { proxyModeOf } from './proxy-mode.ts'
import { warningPrinter } from './warnings.ts'

const FORMATS = ['text', 'json', 'markdown'] as const
type Format = (typeof FORMATS)[number]

/** With --exit-code, as git has it. */
const EXIT_DIFFERENT = 1

export interface DiffCommandOptions {
  /** The positionals, '' where left out. */
  readonly old: string
  readonly new: string
  /** `--old` and `--new`, repeated: more manifests of one side. */
  readonly moreOld: readonly string[]
  readonly moreNew: readonly string[]
  /** `-f`, repeated: manifests of both sides. */
  readonly manifests: readonly string[]
  readonly exitCode: boolean
  /** A trace that both sides are replayed with. */
  readonly trace?: string | undefined
  readonly naming?: NamingOptions | undefined
  readonly proxyMode?: string | undefined
  readonly kubeVersion?: string | undefined
  readonly output: readonly string[]
  readonly quiet: boolean
}

/**
 * @returns the exit code: 0, and with `--exit-code` 1 where something differs; 130, 143 or 129 when interrupted
 * @throws UserError for what cannot be used
 */
export async function runDiff(options: DiffCommandOptions, io: Io): Promise<number> {
  const inputs = inputsOf(options)
  const { trace } = options
  const outputs = parseOutputs(options.output, FORMATS, [
    ...inputs.old,
    ...inputs.new,
    ...(trace === undefined ? [] : [trace]),
  ])
  const mode = proxyModeOf(options.proxyMode)
  const minor = options.kubeVersion === undefined ? null : parseKubernetesVersion(options.kubeVersion)
  const naming = readNaming(options.naming ?? {})
  let read: string | null = null
  const stdin = (): string => {
    read ??= io.stdin()
    return read
  }
  const pair = loadPair(inputs.old, inputs.new, stdin)
  const sideOf = ({ cluster, warnings }: (typeof pair)['old']) => ({ cluster: withVersion(cluster, minor), warnings })
  const diff = diffClusters(sideOf(pair.old), sideOf(pair.new), { naming, mode })
  const interruption = interruptionOf(io)
  const progress = startProgress(io, 'replay', options.quiet)
  const printer = warningPrinter(io, progress, options.quiet)
  for (const warning of bothWarnings(pair.old.warnings, pair.new.warnings)) printer.print(warning)
  let comparison: Comparison | null = null
  try {
    if (trace !== undefined) {
      const { compareReplays } = await import('../diff/replays.ts')
      comparison = await compareReplays(
        trace,
        inputs,
        { mode, kubernetesMinor: minor },
        {
          onProgress: (done, total) => progress.update(done, total),
          onWarning: (warning) => printer.print(warning),
          signal: interruption.signal,
          stdin,
        },
      )
    }
  } catch (error) {
    if (interruption.signal.aborted) return interruption.exitCode
    throw error
  } finally {
    progress.clear()
    printer.finish()
  }
  if (interruption.signal.aborted) return interruption.exitCode
  const views = comparison === null ? null : await import('../compare/text.ts')
  const view: View = (format, settings) =>
    render(format, diff, inputs, comparison, views?.renderComparison ?? null, settings)
  for (const { format, file } of outputs) if (file !== null) writeOutputNow(file, view(format, { color: false }))
  const format = stdoutFormat(outputs, options.quiet)
  if (format !== null) io.stdout(view(format, { color: io.color, width: io.width }))
  const differs = diff.changes.length > 0 || (comparison !== null && comparison.differences.length > 0)
  return options.exitCode && differs ? EXIT_DIFFERENT : 0
}

type View = (format: Format, options: { readonly color: boolean; readonly width?: number | null }) => string

function inputsOf({ old, new: changed, moreOld, moreNew, manifests }: DiffCommandOptions): DiffInputs {
  const given = (positional: string, more: readonly string[]): string[] => [
    ...manifests,
    ...(positional === '' ? [] : [positional]),
    ...more,
  ]
  const inputs = { old: given(old, moreOld), new: given(changed, moreNew) }
  const missing = moreOld.length === 0 && old === '' ? 'OLD' : moreNew.length === 0 && changed === '' ? 'NEW' : ''
  if (missing !== '') {
    throw usageError(`diff compares two sets of manifests, and ${missing} is missing`, 'dpemu diff OLD NEW')
  }
  if (inputs.old.includes('-') && inputs.new.includes('-')) {
    throw usageError('both sides would be read from standard input', 'one of them must be a file or a folder')
  }
  return inputs
}

/** Those of both sides once: an unchanged object has the same on either. */
function bothWarnings(old: readonly Warning[], changed: readonly Warning[]): Warning[] {
  const key = ({ code, message }: Warning): string => `${code} ${message}`
  const known = new Set(changed.map(key))
  return [...changed, ...old.filter((warning) => !known.has(key(warning)))]
}

function render(
  format: Format,
  diff: Diff,
  inputs: DiffInputs,
  comparison: Comparison | null,
  renderComparison: typeof RenderComparison | null,
  options: { readonly color: boolean; readonly width?: number | null },
): string {
  if (format === 'json') return diffJson(diff, inputs, comparison)
  const own =
    format === 'markdown' ? diffMarkdown(diff, inputs) : renderDocumentText(diffDocument(diff, inputs), options)
  if (comparison === null || renderComparison === null) return own
  return `${own}\n${renderComparison(format, comparison, options)}`
}
