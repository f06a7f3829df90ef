/**
 * Questions that people asked in public, as data: a file a case, run in this process. README.md beside this file has the format.
 *
 * A case says what the right answer is and why, worked out from the thread's resolution and the sources before dpemu was asked;
 * `firstSight` is what dpemu said then.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { load, loadAll } from 'js-yaml'
import { expect } from 'vitest'
import { WorkerPool } from '../../dist/src/replay/pool.js'
import { replay } from '../../dist/src/replay/replay.js'
import { type DigOptions, runDig } from '../../src/commands/dig.ts'
import { runExplain } from '../../src/commands/explain.ts'
import type { NamingOptions } from '../../src/commands/naming.ts'
import type { ProxyMode } from '../../src/compile/kube-proxy.ts'
import { UserError } from '../../src/errors.ts'
import { evaluateThresholds, parseThreshold } from '../../src/report/threshold.ts'
import { generateTrace } from '../../src/trace/generate.ts'
import { fakeIo } from '../cli/fake-io.ts'

type Fields = Readonly<Record<string, unknown>>

/** Every field that is given must be so; `endpoints` and `seen` are sets. */
export interface Expected extends Fields {
  readonly endpoints?: readonly string[]
  readonly seen?: readonly string[]
  /** Must stand in the steps, the conclusion or a warning. */
  readonly says?: readonly string[]
  readonly saysNot?: readonly string[]
  /** Of `lines`: the endpoint that the line of this number was given, counted from 1. */
  readonly sameAs?: number
}

/** One question of a case; which kind it is the field says that only that kind has. */
export interface Ask {
  /** kube-proxy's, one or several with the same answer; left out: as the manifests have it. */
  readonly mode?: string | readonly string[]
  /** `explain --from … --to …`, `to` also a URL. */
  readonly from?: string
  readonly to?: string
  readonly protocol?: string
  readonly node?: string
  /** `explain --packets`; in order of time where the lines have one. An answer each. */
  readonly lines?: readonly Fields[]
  readonly naming?: NamingOptions
  /** The nodes' /etc/resolv.conf. */
  readonly resolvConf?: string
  /** `dig NAME TYPE --from POD`. */
  readonly dig?: string
  readonly type?: string
  /** A scenario, generated and replayed; `holds` are thresholds. */
  readonly replay?: Fields
  readonly policies?: readonly ('cluster' | 'local' | 'as-is')[]
  readonly model?: string
  readonly holds?: readonly string[]
  readonly expect?: Expected | readonly Expected[]
  /** In place of an answer: the command refuses its input, and code, place, message or hint have these words. */
  readonly refuses?: readonly string[]
}

export interface Case {
  readonly name: string
  /** `owner/repository#number`, one or several. */
  readonly source: string
  readonly year: number
  readonly area: string
  readonly question: string
  readonly answer: string
  readonly firstSight: 'right' | 'wrong'
  /** dpemu still says something else; the test fails once it is right, so that this line goes. */
  readonly now?: 'wrong'
  /** Files of clusters/ that the objects come on top of. */
  readonly on?: string
  readonly objects?: readonly Fields[]
  readonly asks: readonly Ask[]
}

const HERE = import.meta.dirname

export function casesIn(folder: string): Case[] {
  const files = readdirSync(join(HERE, folder)).filter((file) => file.endsWith('.yaml'))
  return files.sort().map((file) => {
    const text = readFileSync(join(HERE, folder, file), 'utf8')
    return { ...(load(text) as Omit<Case, 'name'>), name: basename(file, '.yaml') }
  })
}

/** Runs cases in a folder of its own, and replays on one thread. */
export class Runner {
  private readonly folder = mkdtempSync(join(tmpdir(), 'dpemu-reports-'))
  private pool: WorkerPool | null = null
  private files = 0

  async close(): Promise<void> {
    await this.pool?.close()
    rmSync(this.folder, { recursive: true, force: true })
  }

  async check(one: Case): Promise<void> {
    expect(one.asks.length).toBeGreaterThan(0)
    for (const ask of one.asks) {
      const modes = [ask.mode ?? null].flat()
      if (ask.replay !== undefined) await this.replay(ask, this.manifests(one, null), modes)
      else for (const mode of modes) this.ask(one, ask, mode)
    }
  }

  private ask(one: Case, ask: Ask, mode: string | null): void {
    const manifests = [this.manifests(one, mode)]
    const where = `${mode ?? 'as the manifests are'}: ${ask.dig ?? ask.to ?? 'lines'}`
    if (ask.refuses !== undefined) {
      this.refusal(ask, manifests, where)
      return
    }
    const [answers, text] = ask.dig === undefined ? this.explain(ask, manifests) : this.dig(ask, manifests)
    const expected = [ask.expect ?? []].flat() as readonly Expected[]
    expect(expected.length, `${where}: an expectation for each answer`).toBe(answers.length)
    for (const [i, want] of expected.entries()) {
      const { says = [], saysNot = [], sameAs, ...fields } = want
      if (sameAs !== undefined) {
        expect(answers[i]!['chosen'], `${where}, answer ${i + 1}\n${text}`).toBe(answers[sameAs - 1]!['chosen'])
      }
      expect(asSets(withShortForms(answers[i]!), fields), `${where}, answer ${i + 1}\n${text}`).toEqual(
        asSets(fields, fields),
      )
      for (const words of says) expect(text, where).toContain(words)
      for (const words of saysNot) expect(text, where).not.toContain(words)
    }
  }

  private refusal(ask: Ask, manifests: readonly string[], where: string): void {
    let text = ''
    try {
      if (ask.dig === undefined) this.explain(ask, manifests)
      else this.dig(ask, manifests)
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      text = [error.code, error.where, error.message, error.hint].join(' ')
    }
    for (const words of ask.refuses ?? []) expect(text, where).toContain(words)
  }

  private manifests(one: Case, mode: string | null): string {
    const base = one.on === undefined ? [] : loadAll(readFileSync(join(HERE, 'clusters', `${one.on}.yaml`), 'utf8'))
    const own = one.objects ?? []
    // The caller's objects replace those of the cluster that have the same name.
    const names = new Set(own.map(nameOf))
    const all = [...base.filter((object) => !names.has(nameOf(object as Fields))), ...own] as Fields[]
    const written = all.find(({ kind }) => kind === 'KubeProxyConfiguration')
    const proxy = { apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration' }
    const configured =
      mode === null
        ? all
        : [
            ...all.filter((object) => object !== written),
            { ...proxy, ...(written ?? { clusterCIDR: podRanges(all) }), mode },
          ]
    const path = this.path('json')
    writeFileSync(path, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: configured }))
    return path
  }

  private path(extension: string): string {
    return join(this.folder, `f${this.files++}.${extension}`)
  }

  private naming({ naming, resolvConf }: Ask): NamingOptions | undefined {
    if (resolvConf === undefined) return naming
    const nodeResolvConf = this.path('conf')
    writeFileSync(nodeResolvConf, resolvConf)
    return { ...naming, nodeResolvConf }
  }

  private explain(ask: Ask, manifests: readonly string[]): [Fields[], string] {
    const { lines } = ask
    const one = lines === undefined
    const input = (lines ?? []).map((line) => JSON.stringify(line)).join('\n')
    const stateful = lines?.some(({ time }) => time !== undefined) ?? false
    const run = (output: string): { stdout: string; stderr: string } => {
      const io = fakeIo({}, input)
      const asked = one
        ? { from: ask.from, to: ask.to, protocol: ask.protocol, node: ask.node }
        : { packets: '-', node: ask.node }
      runExplain({ manifests, stateful, output: [output], quiet: false, naming: this.naming(ask), ...asked }, io)
      return io.written
    }
    const { stdout, stderr } = run(one ? 'json' : 'ndjson')
    return [one ? [JSON.parse(stdout)] : jsonLines(stdout), unwrapped(run('text').stdout + stderr)]
  }

  private dig(ask: Ask, manifests: readonly string[]): [Fields[], string] {
    const run = (output: string): { stdout: string; stderr: string } => {
      const io = fakeIo()
      const asked: DigOptions = { manifests, name: ask.dig, type: ask.type, from: ask.from, output: [output] }
      runDig({ ...asked, naming: this.naming(ask) }, io)
      return io.written
    }
    const { stdout, stderr } = run('json')
    return [[JSON.parse(stdout)], unwrapped(run('text').stdout + stderr)]
  }

  private async replay(ask: Ask, manifests: string, modes: readonly (string | null)[]): Promise<void> {
    const folder = this.path('d')
    mkdirSync(folder)
    const scenarioPath = join(folder, 'scenario.yaml')
    const trace = join(folder, 'trace.msgpack')
    writeFileSync(scenarioPath, JSON.stringify({ name: 'case', ...ask.replay }))
    await generateTrace({ scenarioPath, output: trace, manifests: [manifests] })
    let model: string | null = null
    if (ask.model !== undefined) {
      model = join(folder, 'model.yaml')
      writeFileSync(model, ask.model)
    }
    this.pool ??= new WorkerPool(1)
    const report = await replay(
      {
        trace,
        manifests: [],
        policies: [...(ask.policies ?? ['as-is'])],
        proxyModes: modes.filter((mode) => mode !== null) as ProxyMode[],
        workers: 1,
        shards: 1,
        seed: null,
        model,
      },
      { pool: this.pool },
    )
    expect(ask.holds?.length, 'thresholds that hold').toBeGreaterThan(0)
    const missed = evaluateThresholds((ask.holds ?? []).map(parseThreshold), report).filter(({ pass }) => !pass)
    expect(missed.map(({ threshold, matches }) => [threshold.text, ...matches.map(({ value }) => value)])).toEqual([])
    const warnings = report.warnings.map(({ message }) => message).join('\n')
    for (const { says = [] } of [ask.expect ?? []].flat() as readonly Expected[]) {
      for (const words of says) expect(warnings).toContain(words)
    }
  }
}

function nameOf(object: Fields): string {
  const { name = '', namespace = 'default' } = (object['metadata'] ?? {}) as { name?: string; namespace?: string }
  return `${String(object['kind'])} ${namespace}/${name}`
}

/** What kube-proxy is told as clusterCIDR: the /16 (IPv6: /56) of the nodes' blocks, as kubeadm's podSubnet. */
function podRanges(objects: readonly Fields[]): string {
  const blocks = objects.flatMap(({ kind, spec }) => {
    const { podCIDR, podCIDRs } = (spec ?? {}) as { podCIDR?: string; podCIDRs?: string[] }
    return kind === 'Node' ? (podCIDRs ?? podCIDR ?? []) : []
  })
  const wide = blocks.map((block) =>
    block.includes(':') ? block.replace(/\/\d+$/, '/56') : block.replace(/\.\d+\.\d+\/\d+$/, '.0.0/16'),
  )
  return [...new Set(wide.map((block) => block.replace(/:[0-9a-f]+::\/56$/, '::/56')))].join(',')
}

function jsonLines(text: string): Fields[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Fields)
}

/** An answer with what long fields come to: `asked`, `count`, `addresses`, `records` of dig, `status`, `backend` of a URL. */
function withShortForms(answer: Fields): Fields {
  const {
    queries,
    answer: records,
    ingress,
  } = answer as {
    queries?: readonly unknown[]
    answer?: readonly { readonly name: string; readonly type: string; readonly data: string }[]
    ingress?: { readonly status: number; readonly service: string | null }
  }
  return {
    ...answer,
    ...(queries === undefined ? {} : { asked: queries.length }),
    ...(records === undefined
      ? {}
      : {
          count: records.length,
          addresses: records.flatMap(({ type, data }) => (type === 'A' || type === 'AAAA' ? [data] : [])),
          records: records.map(({ name, type, data }) => `${name} ${type} ${data}`),
        }),
    ...(ingress === undefined ? {} : { status: ingress.status, backend: ingress.service }),
  }
}

/** Of an answer what is expected, lists in order of text. */
function asSets(answer: Fields, wanted: Fields): Fields {
  return Object.fromEntries(
    Object.keys(wanted).map((key) => {
      const value = answer[key]
      const isSet = Array.isArray(value) && value.every((one) => typeof one === 'string')
      return [key, isSet ? [...value].sort() : value]
    }),
  )
}

/** Text as it was before it was laid out in lines. */
function unwrapped(text: string): string {
  return text.replace(/\s+/g, ' ')
}
