/** `dpemu generate`: a scenario file → a trace file, the same bytes for the same scenario, manifests and seed. */
import { ReaderGoneError } from '../files/output.ts'
import { countOf, formatBytes, formatSeconds } from '../report/units.ts'
import { TICKS_PER_SECOND } from '../trace/format.ts'
import type { GenerateResult } from '../trace/generate.ts'
import { wholeNumber } from './arguments.ts'
import { type Io, interruptionOf } from './io.ts'
import { checkOutput, isStandardOutput } from './outputs.ts'
import { startProgress } from './progress.ts'
import { warningPrinter } from './warnings.ts'

const MAX_SEED = 0xffff_ffff

export interface GenerateCommandOptions {
  readonly scenario: string
  readonly manifests: readonly string[]
  readonly output: string
  readonly seed?: string | undefined
  readonly quiet: boolean
}

/** @returns the exit code: 0, or 130, 143 or 129 when interrupted, and then there is no trace */
export async function runGenerate(options: GenerateCommandOptions, io: Io): Promise<number> {
  const seed =
    options.seed === undefined ? {} : { seed: wholeNumber('--seed', options.seed, { min: 0, max: MAX_SEED }) }
  const output = isStandardOutput(options.output) ? '-' : options.output
  checkOutput(output, [options.scenario, ...options.manifests])
  const { generateTrace } = await import('../trace/generate.ts')

  const interruption = interruptionOf(io)
  const progress = startProgress(io, 'generate', options.quiet)
  let result: GenerateResult
  try {
    result = await generateTrace({
      scenarioPath: options.scenario,
      output,
      manifests: options.manifests,
      ...seed,
      onProgress: (done, total) => progress.update(done, total),
      signal: interruption.signal,
    })
  } catch (error) {
    if (interruption.signal.aborted) return interruption.exitCode
    // `dpemu generate … -o - | head`: whoever wanted the trace has had enough of it.
    if (error instanceof ReaderGoneError) return 0
    throw error
  } finally {
    progress.clear()
  }
  const warnings = warningPrinter(io, progress, options.quiet)
  for (const warning of result.warnings) warnings.print(warning)
  warnings.finish()
  if (!options.quiet) io.stderr(`${summary(result)}\n`)
  return 0
}

function summary({ output, totals, seed }: GenerateResult): string {
  const amount = `${countOf(totals.connections, 'connection')}, ${countOf(totals.packets, 'packet')} (${formatBytes(totals.bytes)})`
  return `dpemu: wrote ${output === '-' ? 'the trace to standard output' : output}: ${amount} over ${formatSeconds(totals.durationTicks / TICKS_PER_SECOND)}, seed ${seed}`
}
