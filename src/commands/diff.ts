/** `dpemu diff`: two sets of manifests → what changes for whom, as text, Markdown or JSON. */

import { diffClusters } from '../diff/diff.ts'
import { loadPair } from '../diff/load.ts'
import type { Diff } from '../diff/types.ts'
import { type DiffInputs, diffDocument, diffJson } from '../diff/view.ts'
import type { Warning } from '../errors.ts'
import { writeOutputNow } from '../files/output.ts'
import { parseKubernetesVersion, withVersion } from '../kubernetes-version.ts'
import { renderDocumentMarkdown } from '../report/markdown.ts'
import { renderDocumentText } from '../report/text.ts'
import { usageError } from './arguments.ts'
import type { Io } from './io.ts'
import { type NamingOptions, readNaming } from './naming.ts'
import { parseOutputs, stdoutFormat } from './outputs.ts'
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
  readonly naming?: NamingOptions | undefined
  readonly proxyMode?: string | undefined
  readonly kubeVersion?: string | undefined
  readonly output: readonly string[]
  readonly quiet: boolean
}

/** @returns the exit code: 0, and with `--exit-code` 1 where something differs @throws UserError for what cannot be used */
export function runDiff(
  options: DiffCommandOptions,
  io: Pick<Io, 'stdout' | 'stderr' | 'stdin' | 'disabledWarnings' | 'width' | 'color'>,
): number {
  const inputs = inputsOf(options)
  const outputs = parseOutputs(options.output, FORMATS, [...inputs.old, ...inputs.new])
  const mode = proxyModeOf(options.proxyMode)
  const minor = options.kubeVersion === undefined ? null : parseKubernetesVersion(options.kubeVersion)
  const naming = readNaming(options.naming ?? {})
  const pair = loadPair(inputs.old, inputs.new, () => io.stdin())
  const sideOf = ({ cluster, warnings }: (typeof pair)['old']) => ({ cluster: withVersion(cluster, minor), warnings })
  const printer = warningPrinter(io, { update: () => {}, clear: () => {} }, options.quiet)
  for (const warning of bothWarnings(pair.old.warnings, pair.new.warnings)) printer.print(warning)
  printer.finish()
  const diff = diffClusters(sideOf(pair.old), sideOf(pair.new), { naming, mode })
  for (const { format, file } of outputs)
    if (file !== null) writeOutputNow(file, render(format, diff, inputs, { color: false }))
  const format = stdoutFormat(outputs, options.quiet)
  if (format !== null) io.stdout(render(format, diff, inputs, { color: io.color, width: io.width }))
  return options.exitCode && diff.changes.length > 0 ? EXIT_DIFFERENT : 0
}

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
  options: { readonly color: boolean; readonly width?: number | null },
): string {
  switch (format) {
    case 'json':
      return diffJson(diff, inputs)
    case 'markdown':
      return renderDocumentMarkdown(diffDocument(diff, inputs))
    case 'text':
      return renderDocumentText(diffDocument(diff, inputs), options)
  }
}
