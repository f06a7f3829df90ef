/**
 * `dpemu dig`: manifests → cluster → DNS server → the answer to one name, or to a file of them.
 *
 * Without `--from` a name is absolute, as dig takes it; with it, the pod's resolv.conf decides what is asked. By default a
 * question goes over UDP without EDNS0, as a C library sends it, and again over TCP when the reply is truncated; `--bufsize`
 * shows the truncated reply itself. Nothing is written before every query has been read and checked.
 */
import { readFileSync } from 'node:fs'
import { askingPod, type DigOutcome, type DigQuery, type DigSettings, digDocument, lookUp } from '../dns/dig.ts'
import { renderReply, renderShort, renderWalk } from '../dns/dig-text.ts'
import { parseAddress, reverseName } from '../dns/domain-names.ts'
import { parseUpstream, recordType, type Upstream } from '../dns/records.ts'
import { createDnsServer } from '../dns/zone.ts'
import { UserError } from '../errors.ts'
import { filledIn } from '../explain/derived.ts'
import { policedPod } from '../explain/dns-policy.ts'
import { writeOutputNow } from '../files/output.ts'
import { deriveCluster } from '../k8s/derive.ts'
import { parseManifests, readManifestFiles, requireObjects } from '../k8s/load.ts'
import { wrapLines } from '../report/wrap.ts'
import { usageError, wholeNumber } from './arguments.ts'
import type { Io } from './io.ts'
import { type NamingOptions, readNaming } from './naming.ts'
import { parseOutputs } from './outputs.ts'
import { warningPrinter } from './warnings.ts'

/** As typed: one field a flag, absent where the flag was. */
export interface DigOptions {
  /** `-f`, repeated. */
  readonly manifests: readonly string[]
  /** The first positional argument; absent with `queries`. */
  readonly name?: string | undefined
  /** The second; A where left out, PTR for an address. */
  readonly type?: string | undefined
  readonly from?: string | undefined
  readonly short?: boolean | undefined
  readonly output: readonly string[]
  readonly bufsize?: string | undefined
  readonly tcp?: boolean | undefined
  /** A file of queries, one JSON object a line, or `-`. */
  readonly queries?: string | undefined
  /** Everything that was filled in, not only what the answer hangs on. */
  readonly derived?: boolean | undefined
  readonly quiet?: boolean | undefined
  /** `--upstream`, `--resolver`, `--node-resolv-conf`. */
  readonly naming?: NamingOptions | undefined
}

const FORMATS = ['text', 'json', 'ndjson'] as const
type Format = (typeof FORMATS)[number]

/**
 * @returns  0: an answer, whatever its rcode
 * @throws UserError  wrong usage, manifests, Corefile or queries that cannot be used
 */
export function runDig(
  options: DigOptions,
  io: Pick<Io, 'stdout' | 'stderr' | 'stdin' | 'disabledWarnings' | 'width'>,
): number {
  const outputs = parseOutputs(options.output, FORMATS, [
    ...options.manifests,
    ...(options.queries === undefined ? [] : [options.queries]),
  ])
  const ednsSize =
    options.bufsize === undefined ? null : wholeNumber('--bufsize', options.bufsize, { min: 0, max: 65535 })
  const naming = readNaming(options.naming ?? {})
  const queries = readQueries(options, naming.upstream, io)
  const parsed = parseManifests(readManifestFiles(options.manifests, () => io.stdin()))
  const { objects, warnings } = requireObjects(parsed, options.manifests)
  const cluster = deriveCluster(objects)
  const server = createDnsServer(cluster)
  const printer = warningPrinter(io, { update: () => {}, clear: () => {} }, options.quiet ?? false)
  for (const warning of [...warnings, ...cluster.warnings, ...server.warnings]) printer.print(warning)
  printer.finish()

  const from = options.from === undefined ? null : policedPod(cluster, askingPod(cluster, options.from, naming))
  const settings: DigSettings = { cluster, server, pod: from, naming, tcp: options.tcp ?? false, ednsSize }
  const outcomes = queries.map((query) => lookUp(settings, query))
  const many = options.queries !== undefined
  for (const { format, file } of outputs)
    if (file !== null) writeOutputNow(file, render(outcomes, format, many, settings, options))
  const toStdout = outputs.find((output) => output.file === null)
  if (toStdout !== undefined || outputs.length === 0) {
    const format = toStdout?.format ?? (many ? 'ndjson' : 'text')
    const text = render(outcomes, format, many, settings, options)
    // Records are data, and stay on one line as dig has them; what is said about them does not.
    const isComment = (line: string): boolean => line.startsWith(';; ')
    io.stdout(format === 'text' ? wrapLines(text, io.width, { wrapped: isComment, hanging: ';;   ' }) : text)
  }
  if (!options.quiet) {
    if (!many) io.stderr(wrapLines(hint(outcomes[0]!, settings), io.width))
    const story = render(outcomes, 'text', many, settings, { ...options, short: false })
    const lines = filledIn(cluster, cluster.derived, story, options.derived === true)
    const filled = ['dpemu: filled in, as a cluster would:', ...lines].join('\n  ').concat('\n')
    if (lines.length > 0) io.stderr(wrapLines(filled, io.width))
  }
  return 0
}

function render(
  outcomes: readonly DigOutcome[],
  format: Format,
  many: boolean,
  settings: DigSettings,
  options: DigOptions,
): string {
  if (format === 'text') {
    const short = ({ view }: DigOutcome): string =>
      settings.pod?.blocked === undefined ? renderShort(view.sent.reply) : NO_SERVER
    const one = options.short === true ? short : renderOutcome
    return outcomes.map((outcome) => one(outcome, settings)).join(options.short === true ? '' : '\n')
  }
  const documents = outcomes.map((outcome) => digDocument(outcome, settings))
  if (format === 'ndjson' || many) return documents.map((row) => `${JSON.stringify(row)}\n`).join('')
  return `${JSON.stringify(documents[0], null, 2)}\n`
}

/** As dig says it when every try has timed out. */
const NO_SERVER = ';; no servers could be reached\n'

function renderOutcome({ query, view, resolution }: DigOutcome, { pod }: DigSettings): string {
  if (pod?.blocked !== undefined) {
    const server = pod.conf.nameservers[0] ?? ''
    const why = pod.blocked.map(({ at, detail }) => `;; ${at}: ${detail}\n`).join('')
    const timeout = `;; communications error to ${server}#53: timed out`
    return `;; Pod ${pod.name} looks up ${query.name}: nameserver ${server}\n${timeout}\n${NO_SERVER}${why}`
  }
  const walk = pod === null || resolution === null ? '' : renderWalk(pod.name, query.name, pod.conf, resolution)
  return walk + renderReply(view)
}

/** People try the short name first; say why it does not answer. */
function hint({ query, view }: DigOutcome, { pod, cluster }: DigSettings): string {
  if (pod !== null || view.sent.reply.rcode !== 'NXDOMAIN' || query.name.endsWith('.')) return ''
  const labels = query.name.split('.')
  const [name, namespace] = labels
  const meant =
    labels.length <= 3 &&
    cluster.services.some((service) => service.name === name && (namespace ?? service.namespace) === service.namespace)
  if (!meant) return ''
  return `dpemu: ${query.name} was asked as it stands; --from POD walks a pod's search list, or ask for the whole name (… .svc.${cluster.clusterDomain})\n`
}

function readQueries(options: DigOptions, upstream: Upstream, io: Pick<Io, 'stdin'>): DigQuery[] {
  if (options.queries !== undefined) {
    if (options.name !== undefined) throw usageError('a name and --queries exclude each other')
    if (options.queries === '-' && options.manifests.includes('-'))
      throw usageError('-f - and --queries - both read standard input')
    return parseQueries(options.queries === '-' ? io.stdin() : readText(options.queries), options.queries, upstream)
  }
  if (options.name === undefined || options.name === '')
    throw usageError('no name to look up', 'dpemu dig -f MANIFESTS NAME [TYPE]')
  const qtype = recordType(options.type ?? 'A')
  if (qtype === null)
    throw usageError(`${options.type} is not a record type`, 'A, AAAA, SRV, PTR, CNAME, TXT, NS, SOA, …')
  const address = options.type === undefined ? parseAddress(options.name) : null
  if (address !== null) return [{ id: null, name: reverseName(address), qtype: 'PTR', upstream }]
  return [{ id: null, name: options.name, qtype, upstream }]
}

function parseQueries(text: string, file: string, upstream: Upstream): DigQuery[] {
  return text
    .split('\n')
    .flatMap((line, i) =>
      line.trim() === ''
        ? []
        : [parseQuery(line, i + 1, `${file === '-' ? 'standard input' : file}, line ${i + 1}`, upstream)],
    )
}

/** @param known  what the outside knows where the line does not say it */
function parseQuery(line: string, number: number, where: string, known: Upstream): DigQuery {
  const fail = (message: string): UserError =>
    new UserError('E_QUERY', message, {
      where,
      hint: 'one a line: {"id":"q1","qname":"web.default.svc.cluster.local.","qtype":"A"}',
    })
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    throw fail('the line is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw fail('the line is not a JSON object')
  const { id, qname, qtype = 'A', upstream } = value as Record<string, unknown>
  if (typeof qname !== 'string') throw fail('qname is missing or not text')
  if (id !== undefined && typeof id !== 'string' && typeof id !== 'number')
    throw fail('id is neither text nor a number')
  const type = typeof qtype === 'string' || typeof qtype === 'number' ? recordType(qtype) : null
  if (type === null) throw fail(`qtype ${JSON.stringify(qtype)} is not a record type`)
  return {
    id: id ?? number,
    name: qname,
    qtype: type,
    upstream: upstream === undefined ? known : parseUpstream(upstream, where),
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new UserError('E_QUERIES', `cannot read ${path} (${code})`, { exitCode: 2 })
  }
}
