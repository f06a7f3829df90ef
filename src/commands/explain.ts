/**
 * `dpemu explain`: manifests → rules → where a packet or a request goes, and why each step was taken.
 *
 * One packet (`--from`, `--to`) or a file of them (`--packets`); with `--stateful` the lines are a sequence in time. Nothing is
 * written before every line has been read and explained.
 */
import { readFileSync } from 'node:fs'
import { assumedNetwork } from '../compile/address-columns.ts'
import type { ProxyMode } from '../compile/kube-proxy.ts'
import { DEFAULT_MODEL } from '../compile/model.ts'
import { Registry } from '../compile/registry.ts'
import { UserError, type Warning } from '../errors.ts'
import { Directory, ExplainContext, type LoadedManifests, loadManifests } from '../explain/context.ts'
import { filledIn } from '../explain/derived.ts'
import { resolveSource } from '../explain/dialled-name.ts'
import { explainRequest, explainUrl, Routes, type UrlTarget, urlTarget } from '../explain/http.ts'
import { failAt, type Line, type PacketLine, parseLines, protocolOf } from '../explain/lines.ts'
import { type Expected, meets, outcomeText, parseExpected } from '../explain/outcome.ts'
import { explainPacket } from '../explain/packet.ts'
import { ask, isAnswer, packetOf, register, withAlternatives } from '../explain/resolve-packet.ts'
import { explainStateful, withId } from '../explain/stateful.ts'
import { renderAnswer, renderFilledIn } from '../explain/text.ts'
import type { Answer, Fail } from '../explain/types.ts'
import { writeOutputNow } from '../files/output.ts'
import { parseHttpLine } from '../ingress/index.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { parseKubernetesVersion, withVersion } from '../kubernetes-version.ts'
import { suggestion } from '../nearest.ts'
import { usageError } from './arguments.ts'
import { EXIT_THRESHOLD } from './exit.ts'
import type { Io } from './io.ts'
import { type NamingOptions, readNaming } from './naming.ts'
import { parseOutputs } from './outputs.ts'
import { warningPrinter } from './warnings.ts'

/** As typed: one field a flag, absent where the flag was. */
export interface ExplainOptions {
  /** `-f`, repeated. */
  readonly manifests: readonly string[]
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly protocol?: string | undefined
  readonly node?: string | undefined
  readonly kubeVersion?: string | undefined
  /** A file of packets, one JSON object a line, or `-`. */
  readonly packets?: string | undefined
  readonly stateful: boolean
  /** `--proxy-mode`: in place of the mode that the manifests say. */
  readonly proxyMode?: string | undefined
  /** Everything that was filled in, not only what the answers hang on. */
  readonly derived?: boolean | undefined
  /** What the answers must be: `deliver`, `drop,reject`, a reason, an HTTP status. */
  readonly expect?: string | undefined
  readonly output: readonly string[]
  readonly quiet: boolean
  /** `--upstream`, `--resolver`, `--node-resolv-conf`. */
  readonly naming?: NamingOptions | undefined
}

const FORMATS = ['text', 'json', 'ndjson'] as const
type Format = (typeof FORMATS)[number]

const PROXY_MODES = ['nftables', 'iptables', 'ipvs'] as const

type Warn = (warning: Warning) => void

/**
 * @returns  0: an explanation, whatever its verdict; 99 where it is not what was expected
 * @throws UserError  wrong usage, manifests or lines that cannot be used
 */
export function runExplain(
  options: ExplainOptions,
  io: Pick<Io, 'stdout' | 'stderr' | 'stdin' | 'disabledWarnings' | 'width'>,
): number {
  const outputs = parseOutputs(options.output, FORMATS, [
    ...options.manifests,
    ...(options.packets === undefined ? [] : [options.packets]),
  ])
  checkUsage(options)
  const expected =
    options.expect === undefined
      ? null
      : parseExpected(options.expect, (message, hint) => usageError(`--expect: ${message}`, hint))
  const many = options.packets !== undefined
  const lines = options.packets === undefined ? [] : readLines(options.packets, options.stateful, io)
  const naming = readNaming(options.naming ?? {})
  const minor = options.kubeVersion === undefined ? null : parseKubernetesVersion(options.kubeVersion)
  const mode = modeOf(options.proxyMode)
  const manifests = loadManifests(options.manifests, () => io.stdin())
  const loaded = { ...manifests, cluster: withVersion(manifests.cluster, minor), naming, mode }
  const printer = warningPrinter(io, { update: () => {}, clear: () => {} }, options.quiet)
  for (const warning of loaded.warnings) printer.print(warning)
  const warn: Warn = (warning) => printer.print(warning)
  const answers = many ? explainLines(lines, loaded, options, warn) : [explainOne(loaded, options, warn)]
  printer.finish()

  const told = { many, cluster: loaded.cluster, all: options.derived === true }
  for (const { format, file } of outputs) if (file !== null) writeOutputNow(file, render(answers, format, told))
  const toStdout = outputs.find((output) => output.file === null)
  if (toStdout !== undefined || outputs.length === 0) {
    io.stdout(render(answers, toStdout?.format ?? (many ? 'ndjson' : 'text'), told, io.width))
  }
  return expected === null || report(answers, expected, io) ? 0 : EXIT_THRESHOLD
}

/** Says of each answer that is not what was expected what it is. @returns whether all are */
function report(answers: readonly Answer[], expected: Expected, io: Pick<Io, 'stderr'>): boolean {
  const others = answers.filter(({ explanation }) => !meets(expected, explanation))
  for (const { title, explanation } of others) {
    io.stderr(`dpemu: expected ${expected.join(' or ')}, got ${outcomeText(explanation)}: ${title}\n`)
  }
  return others.length === 0
}

function modeOf(text: string | undefined): ProxyMode | null {
  if (text === undefined) return null
  const known = PROXY_MODES.find((mode) => mode === text)
  if (known === undefined) throw usageError(`--proxy-mode ${text}: no such mode`, suggestion(text, PROXY_MODES))
  return known
}

function checkUsage(options: ExplainOptions): void {
  const { packets, from, to, stateful, protocol } = options
  if (packets !== undefined) {
    if (from !== undefined || to !== undefined || protocol !== undefined) {
      throw usageError('--packets and --from, --to or --protocol exclude each other', 'each line has its own')
    }
    if (packets === '-' && options.manifests.includes('-')) {
      throw usageError('-f - and --packets - both read standard input')
    }
    return
  }
  if (stateful) throw usageError('--stateful needs --packets', 'lines with a time and a source port')
  if (to === undefined || (from === undefined && !isUrl(to))) {
    throw usageError(
      'explain needs --from and --to, or --packets',
      'dpemu explain -f MANIFESTS --from ADDR|POD --to ADDR:PORT|NAME:PORT|URL',
    )
  }
}

function isUrl(text: string): boolean {
  return /^https?:\/\//i.test(text)
}

function explainOne(loaded: LoadedManifests, options: ExplainOptions, warn: Warn): Answer {
  const fail: Fail = (message, hint) => usageError(message, hint)
  const to = options.to ?? ''
  const directory = new Directory(loaded.cluster, loaded.naming, loaded.mode)
  if (isUrl(to)) return explainOneUrl(directory, to, options, warn)
  return explainOnePacket(directory, options.from ?? '', to, options, fail, warn)
}

function explainOnePacket(
  directory: Directory,
  from: string,
  to: string,
  options: Pick<ExplainOptions, 'protocol' | 'node'>,
  fail: Fail,
  warn: Warn,
): Answer {
  const protocol = options.protocol === undefined ? null : protocolOf(options.protocol, fail)
  const asked = ask({ from, to, protocol, node: options.node ?? null }, directory, fail)
  if (isAnswer(asked)) return asked
  const registry = new Registry()
  register(asked, registry)
  const context = new ExplainContext(directory, registry)
  for (const warning of context.compiled.warnings) warn(warning)
  return withAlternatives(explainPacket(context, packetOf(asked, registry)), asked)
}

function explainOneUrl(directory: Directory, url: string, options: ExplainOptions, warn: Warn): Answer {
  const fail: Fail = (message, hint) => usageError(message, hint)
  const source = options.from === undefined ? null : resolveSource(options.from, directory, fail)
  const routes = new Routes(directory)
  const request = parseHttpLine({ id: '', url, from: source?.addresses[0] ?? '' })
  const target = urlTarget(routes, url, source?.pod ?? null)
  if (target !== null && options.from === undefined) {
    throw usageError(`${url} is an address of the cluster's own: who asks?`, 'say it with --from')
  }
  const packet = (to: string): Answer =>
    explainOnePacket(directory, options.from ?? '', to, { node: options.node }, fail, warn)
  if (target !== null && target.proxy === null) return packet(target.to)
  for (const warning of routes.table.warnings) warn(warning)
  return explainUrl(routes, request, (to) => (options.from === undefined ? null : packet(to)), target)
}

/** A line with a URL of the cluster's own, as the packet that it is; null for a request that an Ingress decides. */
function urlAsPacket(line: Line, routes: Routes, directory: Directory): PacketLine | null {
  if (line.kind !== 'http' || line.request.from === '') return null
  const { pod } = resolveSource(line.request.from, directory, failAt(line.where))
  const target: UrlTarget | null = urlTarget(routes, line.url, pod)
  if (target === null || target.proxy !== null) return null
  const { where, id, timeSeconds, request } = line
  const shape = { protocol: null, node: null, flags: null, isReply: false }
  return { kind: 'packet', where, id, timeSeconds, from: request.from, to: target.to, ...shape }
}

function explainLines(lines: readonly Line[], loaded: LoadedManifests, options: ExplainOptions, warn: Warn): Answer[] {
  const defaultNode = options.node ?? null
  if (options.stateful) return explainStateful(lines, loaded, defaultNode, warn)
  const directory = new Directory(loaded.cluster, loaded.naming, loaded.mode)
  const registry = new Registry()
  const routes = new Routes(directory)
  const rows = lines.map((line) => urlAsPacket(line, routes, directory) ?? line)
  const asked = rows.map((line) => {
    if (line.kind !== 'packet') return null
    const one = ask({ ...line, node: line.node ?? defaultNode }, directory, failAt(line.where))
    if (!isAnswer(one)) register(one, registry)
    return one
  })
  const context = new ExplainContext(directory, registry)
  for (const warning of context.compiled.warnings) warn(warning)
  if (rows.some(({ kind }) => kind === 'http')) for (const warning of routes.table.warnings) warn(warning)
  return rows.flatMap((line, i): Answer[] => {
    if (line.kind === 'change') return []
    if (line.kind === 'http') return [withId(explainRequest(routes, line.request), line)]
    const one = asked[i]!
    return [withId(isAnswer(one) ? one : withAlternatives(explainPacket(context, packetOf(one, registry)), one), line)]
  })
}

function readLines(packets: string, stateful: boolean, io: Pick<Io, 'stdin'>): Line[] {
  if (packets === '-') return parseLines(io.stdin(), 'standard input', stateful)
  let text: string
  try {
    text = readFileSync(packets, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new UserError('E_PACKETS', `cannot read ${packets} (${code})`, { exitCode: 2 })
  }
  return parseLines(text, packets, stateful)
}

interface Told {
  readonly many: boolean
  readonly cluster: Cluster
  /** With everything that was filled in. */
  readonly all: boolean
}

function render(
  answers: readonly Answer[],
  format: Format,
  { many, cluster, all }: Told,
  width: number | null = null,
): string {
  const notes = [...cluster.derived, assumedNetwork(cluster, DEFAULT_MODEL.egressMasquerade)]
  if (format === 'text') {
    const stories = answers.map((answer) => {
      const story = renderAnswer(answer, width)
      return story + renderFilledIn(all ? [] : filledIn(cluster, notes, story, false), width)
    })
    return stories.join('\n') + renderFilledIn(all ? filledIn(cluster, notes, '', true) : [], width)
  }
  const documents = answers.map(({ explanation }) => (all ? { ...explanation, derived: notes } : explanation))
  if (format === 'ndjson' || many) return documents.map((row) => `${JSON.stringify(row)}\n`).join('')
  return `${JSON.stringify(documents[0], null, 2)}\n`
}
