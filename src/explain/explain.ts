/**
 * Where a packet or a request goes, and why each step was taken: what `dpemu explain` and the library ask.
 *
 * A URL goes to the Ingress that routes it, or is the packet that it leads to where its address is the cluster's own.
 */
import { Registry } from '../compile/registry.ts'
import type { Warning } from '../errors.ts'
import { parseHttpLine } from '../ingress/index.ts'
import { Directory, ExplainContext, type LoadedManifests } from './context.ts'
import { resolveSource } from './dialled-name.ts'
import { explainRequest, explainUrl, Routes, type UrlTarget, urlTarget } from './http.ts'
import { failAt, type Line, type PacketLine, protocolOf } from './lines.ts'
import { explainPacket } from './packet.ts'
import { ask, isAnswer, packetOf, register, withAlternatives } from './resolve-packet.ts'
import { explainStateful, withId } from './stateful.ts'
import type { Answer, Fail } from './types.ts'

type Warn = (warning: Warning) => void

export interface Question {
  /** Address, `namespace/pod`, or node; left out only for a URL that an Ingress decides. */
  readonly from?: string | undefined
  /** `address:port`, `name:port` or a URL. */
  readonly to: string
  /** `tcp` where left out, or the only one that the Service has. */
  readonly protocol?: string | undefined
  /** Where it meets the rules first; left out: as the model has it. */
  readonly node?: string | undefined
}

export function isUrl(text: string): boolean {
  return /^https?:\/\//i.test(text)
}

/**
 * One packet or request, through the rules compiled for it.
 *
 * @throws what `fail` makes of a question that cannot be asked; UserError for manifests that cannot be compiled
 */
export function explainOne(loaded: LoadedManifests, options: Question, fail: Fail, warn: Warn): Answer {
  const { to } = options
  const directory = new Directory(loaded.cluster, loaded.naming, loaded.mode, loaded.views)
  if (isUrl(to)) return explainOneUrl(directory, to, options, fail, warn)
  return explainOnePacket(directory, options.from ?? '', to, options, fail, warn)
}

function explainOnePacket(
  directory: Directory,
  from: string,
  to: string,
  options: Pick<Question, 'protocol' | 'node'>,
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

function explainOneUrl(directory: Directory, url: string, options: Question, fail: Fail, warn: Warn): Answer {
  const source = options.from === undefined ? null : resolveSource(options.from, directory, fail)
  const routes = new Routes(directory)
  const request = parseHttpLine({ id: '', url, from: source?.addresses[0] ?? '' })
  const target = urlTarget(routes, url, source?.pod ?? null)
  if (target !== null && options.from === undefined) {
    throw fail(`${url} is an address of the cluster's own: who asks?`, 'say it with --from')
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

/** Lines one by one, or with `stateful` as a sequence in time. Cost: one compilation of the rules for all of them. */
export function explainLines(
  lines: readonly Line[],
  loaded: LoadedManifests,
  options: { readonly node?: string | undefined; readonly stateful: boolean },
  warn: Warn,
): Answer[] {
  const defaultNode = options.node ?? null
  if (options.stateful) return explainStateful(lines, loaded, defaultNode, warn)
  const directory = new Directory(loaded.cluster, loaded.naming, loaded.mode, loaded.views)
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
