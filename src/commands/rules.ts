/** `dpemu rules`: manifests → what kube-proxy programs on a node, loadable as it stands, or as JSON; `--against` is beside this. */
import { compileRules } from '../compile/compile.ts'
import type { ProxyMode } from '../compile/kube-proxy.ts'
import { DEFAULT_MODEL } from '../compile/model.ts'
import { Registry } from '../compile/registry.ts'
import { loadManifests } from '../explain/context.ts'
import { writeOutputNow } from '../files/output.ts'
import { type Emitted, emitRules, type Family } from '../rules/index.ts'
import { usageError } from './arguments.ts'
import type { Io } from './io.ts'
import { parseOutputs } from './outputs.ts'
import { runAgainst } from './rules-against.ts'
import { warningPrinter } from './warnings.ts'

/** As typed: one field a flag, absent where the flag was. */
export interface RulesOptions {
  readonly manifests: readonly string[]
  readonly node?: string | undefined
  readonly mode?: string | undefined
  readonly family?: string | undefined
  /** Dumps of a real node; empty: the rules are printed. */
  readonly against?: readonly string[] | undefined
  readonly output: readonly string[]
  readonly quiet: boolean
}

const FORMATS = ['native', 'json'] as const
const MODES: readonly string[] = ['nftables', 'iptables', 'ipvs']
const FAMILIES: readonly string[] = ['IPv4', 'IPv6']
/** Nothing is swept: no packet is sent. */
const GC_INTERVAL_MS = 60_000

/**
 * @returns  0; 99 where a dump differs
 * @throws UserError  wrong usage, a node that is not there, manifests that cannot be used
 */
export function runRules(
  options: RulesOptions,
  io: Pick<Io, 'stdout' | 'stderr' | 'stdin' | 'disabledWarnings' | 'width'>,
): number {
  const against = options.against ?? []
  if (against.length > 0) return runAgainst({ ...options, against }, io)
  const outputs = parseOutputs(options.output, FORMATS)
  if (options.mode !== undefined && !MODES.includes(options.mode)) {
    throw usageError(`--mode ${options.mode}: it is nftables, iptables or ipvs`)
  }
  if (options.family !== undefined && !FAMILIES.includes(options.family)) {
    throw usageError(`--family ${options.family}: it is IPv4 or IPv6`)
  }
  const { cluster, warnings } = loadManifests(options.manifests, () => io.stdin())
  const printer = warningPrinter(io, { update: () => {}, clear: () => {} }, options.quiet)
  for (const warning of warnings) printer.print(warning)
  const registry = new Registry()
  const compiled = compileRules(cluster, registry, {
    policy: null,
    mode: (options.mode ?? null) as ProxyMode | null,
    model: DEFAULT_MODEL,
    destinations: [],
    clientMap: new Int32Array(0),
    gcIntervalMs: GC_INTERVAL_MS,
  })
  for (const warning of compiled.warnings) printer.print(warning)
  const node = options.node ?? (cluster.nodes.length === 1 ? cluster.nodes[0]!.name : undefined)
  if (node === undefined) {
    throw usageError('rules needs --node', `the manifests have ${cluster.nodes.map(({ name }) => name).join(', ')}`)
  }
  const present = FAMILIES.filter((family) => compiled.services.some((one) => one.family === family))
  const families = (
    options.family !== undefined ? [options.family] : present.length > 0 ? present : ['IPv4']
  ) as Family[]
  const emitted = families.map((family) => emitRules(cluster, compiled, registry, node, family))
  if (compiled.settings.mode !== 'nftables' && emitted.length > 1) {
    printer.print({
      code: 'W_TWO_FAMILIES',
      where: `node ${node}`,
      message: 'each family has a tool of its own: native output is IPv4; --family IPv6 prints the other, -o json both',
    })
  }
  printer.finish()
  for (const { format, file } of outputs) if (file !== null) writeOutputNow(file, render(emitted, format))
  const toStdout = outputs.find((output) => output.file === null)
  if (toStdout !== undefined || outputs.length === 0) io.stdout(render(emitted, toStdout?.format ?? 'native'))
  return 0
}

function render(emitted: readonly Emitted[], format: (typeof FORMATS)[number]): string {
  if (format === 'json') {
    const { node, settings } = emitted[0]!.rules
    const families = emitted.map(({ rules: { node: _node, settings: _settings, ...rest }, native }) => ({
      ...rest,
      native,
    }))
    return `${JSON.stringify({ node, mode: settings.mode, settings, families }, null, 2)}\n`
  }
  // All nftables tables go into one file; of the others, the first family's.
  const shown = emitted[0]!.native.nft === undefined ? emitted.slice(0, 1) : emitted
  const parts = shown.flatMap(({ native }) => Object.entries(native))
  if (parts.length === 1 || parts.every(([tool]) => tool === 'nft')) return parts.map(([, text]) => text).join('')
  return parts.map(([tool, text]) => `# ${tool}\n${text}`).join('')
}
