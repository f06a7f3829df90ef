/** `dpemu conntrack --against`: a node's conntrack table beside the manifests, as text or JSON. */
import { readFileSync } from 'node:fs'
import { judgeTable } from '../conntrack/against.ts'
import { parseTable } from '../conntrack/lines.ts'
import { tableJson, tableText } from '../conntrack/text.ts'
import { UserError } from '../errors.ts'
import { loadManifests } from '../explain/context.ts'
import { writeOutputNow } from '../files/output.ts'
import { usageError, wholeNumber } from './arguments.ts'
import type { Io } from './io.ts'
import { parseOutputs, stdoutFormat } from './outputs.ts'
import { warningPrinter } from './warnings.ts'

/** As typed: one field a flag, absent where the flag was. */
export interface ConntrackOptions {
  readonly manifests: readonly string[]
  readonly against: readonly string[]
  readonly node?: string | undefined
  readonly max?: string | undefined
  readonly rate?: string | undefined
  readonly output: readonly string[]
  readonly quiet: boolean
}

const FORMATS = ['text', 'json'] as const
/** As many as the kernel can count. */
const MAX_ENTRIES = 2 ** 31 - 1

/**
 * @returns  0
 * @throws UserError  wrong usage, a node that is not there, manifests and tables that cannot be used
 */
export function runConntrack(options: ConntrackOptions, io: Pick<Io, 'stdout' | 'stderr' | 'stdin'>): number {
  const { against } = options
  const outputs = parseOutputs(
    options.output,
    FORMATS,
    against.filter((path) => path !== '-'),
  )
  if (against.length === 0) throw usageError('conntrack needs --against FILE, what conntrack -L printed')
  if (against.includes('-') && options.manifests.includes('-')) {
    throw usageError('-f - and --against - would both read standard input')
  }
  const max = options.max === undefined ? null : wholeNumber('--max', options.max, { min: 1, max: MAX_ENTRIES })
  const ratePerSecond = options.rate === undefined ? null : rateOf(options.rate)
  const { cluster, warnings } = loadManifests(options.manifests, () => io.stdin())
  const node = options.node ?? (cluster.nodes.length === 1 ? cluster.nodes[0]!.name : null)
  if (ratePerSecond !== null && node === null && max === null) {
    throw usageError('--rate needs --node, whose nf_conntrack_max kube-proxy sets, or --max')
  }
  const entries = against.flatMap((path) => {
    const name = path === '-' ? 'standard input' : path
    return parseTable(path === '-' ? io.stdin() : readTable(path), name)
  })
  const report = judgeTable(cluster, entries, { files: against, node, max, ratePerSecond })
  const printer = warningPrinter(io, { update: () => {}, clear: () => {} }, options.quiet)
  for (const warning of [...warnings, ...report.warnings]) printer.print(warning)
  printer.finish()
  const render = (format: (typeof FORMATS)[number]): string =>
    format === 'json' ? tableJson(report) : tableText(report)
  for (const { format, file } of outputs) if (file !== null) writeOutputNow(file, render(format))
  const shown = stdoutFormat(outputs, options.quiet)
  if (shown !== null) io.stdout(render(shown))
  return 0
}

/** `500/s`, `500`, `30/m` */
function rateOf(text: string): number {
  const found = /^(\d+(?:\.\d+)?)(?:\/(s|m|h))?$/.exec(text.trim())
  const rate = found === null ? 0 : Number(found[1]) / { s: 1, m: 60, h: 3600 }[found[2] ?? 's']!
  if (!(rate > 0 && rate < 1e9))
    throw usageError(`--rate ${text}: it is a number of connections a second, such as 500/s`)
  return rate
}

function readTable(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new UserError('E_CONNTRACK', `--against: cannot read ${path} (${code})`, { exitCode: 2 })
  }
}
