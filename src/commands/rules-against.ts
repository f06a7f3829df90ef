/** `dpemu rules --against`: a real node's rules beside what the manifests say; exit code 99 where they differ. */
import { readFileSync } from 'node:fs'
import type { ProxyMode } from '../compile/kube-proxy.ts'
import { UserError } from '../errors.ts'
import { loadManifests } from '../explain/context.ts'
import { writeOutputNow } from '../files/output.ts'
import { wrapLines } from '../report/wrap.ts'
import { compareDump } from '../rules/against.ts'
import { comparisonJson, comparisonText } from '../rules/against-text.ts'
import { type DumpFile, readDump } from '../rules/read/dump.ts'
import { usageError } from './arguments.ts'
import { EXIT_THRESHOLD } from './exit.ts'
import type { Io } from './io.ts'
import { parseOutputs, stdoutFormat } from './outputs.ts'
import { warningPrinter } from './warnings.ts'

/** As typed. */
export interface AgainstOptions {
  readonly manifests: readonly string[]
  readonly node?: string | undefined
  readonly mode?: string | undefined
  readonly family?: string | undefined
  /** At least one. */
  readonly against: readonly string[]
  readonly output: readonly string[]
  readonly quiet: boolean
}

const FORMATS = ['text', 'json'] as const
const MODES: readonly string[] = ['nftables', 'iptables', 'ipvs']

/**
 * @returns  0 where the node does what the manifests say, 99 where it does not
 * @throws UserError  wrong usage, a node that is not there, manifests and dumps that cannot be used
 */
export function runAgainst(
  options: AgainstOptions,
  io: Pick<Io, 'stdout' | 'stderr' | 'stdin' | 'disabledWarnings' | 'width'>,
): number {
  const { against, mode } = options
  const outputs = parseOutputs(
    options.output,
    FORMATS,
    against.filter((path) => path !== '-'),
  )
  if (mode !== undefined && !MODES.includes(mode)) {
    throw usageError(`--mode ${mode}: it is nftables, iptables or ipvs`)
  }
  if (options.family !== undefined) throw usageError('--family says what is printed; with --against the dump says it')
  if (against.includes('-') && options.manifests.includes('-')) {
    throw usageError('-f - and --against - would both read standard input')
  }
  const { cluster, warnings } = loadManifests(options.manifests, () => io.stdin())
  const node = options.node ?? (cluster.nodes.length === 1 ? cluster.nodes[0]!.name : undefined)
  if (node === undefined) {
    throw usageError('rules needs --node', `the manifests have ${cluster.nodes.map(({ name }) => name).join(', ')}`)
  }
  const dump = readDump(
    against.map((path) => readDumpFile(path, io)),
    (mode ?? null) as ProxyMode | null,
  )
  const comparison = compareDump(cluster, dump, node)
  const printer = warningPrinter(io, { update: () => {}, clear: () => {} }, options.quiet)
  for (const warning of [...warnings, ...comparison.warnings]) printer.print(warning)
  printer.finish()
  const render = (format: (typeof FORMATS)[number]): string =>
    format === 'json' ? comparisonJson(comparison) : comparisonText(comparison)
  for (const { format, file } of outputs) if (file !== null) writeOutputNow(file, render(format))
  const shown = stdoutFormat(outputs, options.quiet)
  if (shown !== null) io.stdout(shown === 'text' ? wrapLines(render(shown), io.width) : render(shown))
  return comparison.differences.length === 0 ? 0 : EXIT_THRESHOLD
}

function readDumpFile(path: string, io: Pick<Io, 'stdin'>): DumpFile {
  if (path === '-') return { path: 'standard input', text: io.stdin() }
  try {
    return { path, text: readFileSync(path, 'utf8') }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new UserError('E_DUMP', `--against: cannot read ${path} (${code})`, { exitCode: 2 })
  }
}
