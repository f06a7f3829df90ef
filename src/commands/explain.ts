/**
 * `dpemu explain`: manifests → rules → where a packet or a request goes, and why each step was taken.
 *
 * One packet (`--from`, `--to`) or a file of them (`--packets`); with `--stateful` the lines are a sequence in time. Nothing is
 * written before every line has been read and explained.
 */
import { readFileSync } from 'node:fs'
import { assumedNetwork } from '../compile/address-columns.ts'
import { DEFAULT_MODEL } from '../compile/model.ts'
import { UserError, type Warning } from '../errors.ts'
import { type LoadedManifests, loadManifests } from '../explain/context.ts'
import { filledIn } from '../explain/derived.ts'
import { explainLines, explainOne, isUrl } from '../explain/explain.ts'
import { type Line, parseLines } from '../explain/lines.ts'
import { type Expected, meets, outcomeText, parseExpected } from '../explain/outcome.ts'
import { renderAnswer, renderFilledIn } from '../explain/text.ts'
import { manifestsAt, type TimedManifests } from '../explain/timeline.ts'
import type { Answer } from '../explain/types.ts'
import { writeOutputNow } from '../files/output.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { parseKubernetesVersion, withVersion } from '../kubernetes-version.ts'
import { durationMs } from '../rollout/durations.ts'
import { findTimeline } from '../rollout/timeline.ts'
import { readTextFile } from '../text-file.ts'
import { usageError, wholeNumber } from './arguments.ts'
import { EXIT_THRESHOLD } from './exit.ts'
import type { Io } from './io.ts'
import { type NamingOptions, readNaming } from './naming.ts'
import { parseOutputs } from './outputs.ts'
import { proxyModeOf } from './proxy-mode.ts'
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
  /** A file with a Timeline; absent: that among the manifests, where `at` is given. */
  readonly timeline?: string | undefined
  /** A time of the Timeline. */
  readonly at?: string | undefined
  /** Of the Timeline's course. */
  readonly seed?: string | undefined
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
const MAX_SEED = Number.MAX_SAFE_INTEGER
type Format = (typeof FORMATS)[number]

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
  const mode = proxyModeOf(options.proxyMode)
  const manifests = loadManifests(options.manifests, () => io.stdin())
  const still = { ...manifests, cluster: withVersion(manifests.cluster, minor), naming, mode }
  const timed = options.at === undefined ? null : manifestsOfTime(options, still, minor)
  const loaded = timed === null ? still : timed.loaded
  const printer = warningPrinter(io, { update: () => {}, clear: () => {} }, options.quiet)
  const isPlayed = ({ message }: Warning): boolean => timed !== null && message.startsWith('Timeline ')
  for (const warning of loaded.warnings) if (!isPlayed(warning)) printer.print(warning)
  const warn: Warn = (warning) => printer.print(warning)
  const plain = many
    ? explainLines(lines, loaded, options, warn)
    : [explainOne(loaded, { ...options, to: options.to ?? '' }, usageError, warn)]
  const answers = timed === null ? plain : plain.map((answer) => timed.tell(answer))
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

/** The manifests as they are at a time of the Timeline. */
function manifestsOfTime(options: ExplainOptions, loaded: LoadedManifests, minor: number | null): TimedManifests {
  const atMs = durationMs(options.at)
  if (atMs === null) throw usageError(`--at must be a time of the Timeline such as 12.3s, not '${options.at}'`)
  const seed = options.seed === undefined ? 1 : wholeNumber('--seed', options.seed, { min: 0, max: MAX_SEED })
  const path = options.timeline
  const timeline =
    path === undefined
      ? findTimeline(loaded.files ?? [])
      : findTimeline([{ name: path, text: readTextFile(path, 'timeline', 'E_TIMELINE') }])
  if (timeline == null || timeline.events.length === 0) {
    throw new UserError('E_TIMELINE', 'there is no Timeline with events', {
      where: path ?? options.manifests.join(', '),
      hint: 'give one with --timeline FILE, or among the manifests',
    })
  }
  return manifestsAt(loaded, timeline, { atMs, minor, seed })
}

function checkUsage(options: ExplainOptions): void {
  const { at, packets, from, to, seed, stateful, protocol, timeline } = options
  if (at === undefined && timeline !== undefined) throw usageError('--timeline needs --at, a time of it such as 12.3s')
  if (at === undefined && seed !== undefined) throw usageError('--seed is that of a Timeline: it needs --at')
  if (at !== undefined && stateful) throw usageError('--at and --stateful exclude each other')
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
