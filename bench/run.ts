/**
 * `npm run bench -- [options]`: the benchmarks, their checks, and the comparison of two results. bench/README.md explains.
 *
 * Exit codes: 0 fine · 1 a check failed or a bug · 2 wrong usage · 99 a regression (compare).
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { UserError } from '../src/errors.ts'
import { runChecks } from './check.ts'
import { runCompare } from './compare.ts'
import { measure } from './measure.ts'
import { measureReplay, REPLAY_TRACES, workerCounts } from './replay.ts'
import { addMeasurements, type BenchDocument, createDocument, renderTables } from './report.ts'
import { ROWS, SIZE_NAMES, type SizeName, specsOf } from './rows.ts'

const USAGE = `usage: npm run bench -- [--rows PATTERN] [--sizes 1k,64k,1M,4M] [--quick] [--rounds N]
                        [--replay-packets N] [--json FILE]
       npm run bench:check -- [--rows PATTERN]
       npm run bench -- compare BASE.json NEW.json [--tolerance 0.15]`
const ROUNDS = 7
const QUICK_ROUNDS = 2
/** One size, so that a gate takes a minute or two. */
const QUICK_SIZES: readonly SizeName[] = ['64k']
const REPLAY_PACKETS = 10_000_000
const QUICK_REPLAY_PACKETS = 1_000_000
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

interface Options {
  readonly check: boolean
  readonly rows: RegExp
  readonly sizes: readonly SizeName[]
  readonly rounds: number
  readonly replayPackets: number
  readonly json: string | undefined
}

function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      check: { type: 'boolean', default: false },
      rows: { type: 'string', default: '' },
      sizes: { type: 'string' },
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      'replay-packets': { type: 'string' },
      json: { type: 'string' },
      // Run by `dpemu bench`, whose flags these are.
      'in-dpemu': { type: 'boolean', default: false },
    },
  })
  return {
    check: values.check,
    rows: pattern(values.rows),
    sizes: values.sizes === undefined ? (values.quick ? QUICK_SIZES : SIZE_NAMES) : sizes(values.sizes),
    rounds: wholeNumber('--rounds', values.rounds, values.quick ? QUICK_ROUNDS : ROUNDS),
    replayPackets: wholeNumber(
      '--replay-packets',
      values['replay-packets'],
      values.quick ? QUICK_REPLAY_PACKETS : REPLAY_PACKETS,
    ),
    json: values.json,
  }
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text)
  } catch (error) {
    throw usageError(`--rows: ${(error as Error).message}`)
  }
}

function sizes(text: string): SizeName[] {
  return text.split(',').map((name) => {
    const known = SIZE_NAMES.find((size) => size === name)
    if (known === undefined) throw usageError(`--sizes: "${name}" is none of ${SIZE_NAMES.join(', ')}`)
    return known
  })
}

function wholeNumber(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1)
    throw usageError(`${name} must be a whole number from 1, not "${text}"`)
  return value
}

function usageError(message: string): UserError {
  return new UserError('E_USAGE', message, { hint: USAGE, exitCode: 2 })
}

async function runBenchmarks(options: Options): Promise<void> {
  const document = createDocument(ROOT, process.argv.slice(2))
  for (const row of ROWS) {
    if (!options.rows.test(row.name)) continue
    for (const size of row.sizes.filter((one) => options.sizes.includes(one))) {
      for (const skew of row.skews) {
        process.stderr.write(`${row.name} ${size} ${skew}\n`)
        addMeasurements(document, row, await measure(specsOf(row, size, skew), options.rounds))
      }
    }
  }
  const traces = REPLAY_TRACES.filter(({ name }) => options.rows.test(`replay ${name}`))
  if (traces.length > 0) {
    process.stderr.write(`replay, workers ${workerCounts().join(', ')}\n`)
    const { replayPackets: packets, rounds } = options
    document.replay.push(
      ...(await measureReplay({
        packets,
        rounds: Math.min(rounds, 5),
        traces,
        policies: ['cluster', 'cluster,local'],
        workers: [],
      })),
    )
  }
  if (document.rows.length + document.replay.length === 0) {
    throw usageError(`--rows: no row is called that; there are ${rowNames().join(', ')}`)
  }
  finish(document, options.json)
}

function rowNames(): string[] {
  return [...ROWS.map(({ name }) => name), ...REPLAY_TRACES.map(({ name }) => `replay ${name}`)]
}

function finish(document: BenchDocument, json: string | undefined): void {
  process.stdout.write(renderTables(document))
  if (json === undefined) return
  try {
    writeFileSync(json, `${JSON.stringify(document, null, 2)}\n`)
  } catch (error) {
    throw new UserError('E_BENCH_FILE', (error as Error).message, { where: json, exitCode: 2 })
  }
}

async function main(args: readonly string[]): Promise<number> {
  const print = (text: string): void => {
    process.stdout.write(text)
  }
  if (args[0] === 'compare') return runCompare(args.slice(1), print)
  const options = readOptions(args)
  if (!options.check) {
    await runBenchmarks(options)
    return 0
  }
  const { passed, failed } = await runChecks(options.rows, (flow) => print(`${flow}\n`))
  print(`${passed} passed, ${failed} failed\n`)
  return failed === 0 && passed > 0 ? 0 : 1
}

function fail(error: unknown): number {
  const known = error instanceof UserError ? error : null
  // What parseArgs throws is about the command line too.
  const usage = String((error as { code?: unknown }).code).startsWith('ERR_PARSE_ARGS')
  if (process.argv.includes('--in-dpemu') && known !== null) {
    process.stderr.write(`dpemu: error: ${known.message} [${known.code}]\n  hint: see dpemu bench --help\n`)
    return known.exitCode
  }
  const flows =
    known !== null
      ? [known.where, known.message, known.hint]
      : [usage ? `${(error as Error).message}\n${USAGE}` : String((error as Error).stack)]
  process.stderr.write(`bench: ${flows.filter((flow) => flow !== '').join('\n')}\n`)
  return known?.exitCode ?? (usage ? 2 : 1)
}

process.exitCode = await main(process.argv.slice(2)).catch(fail)
