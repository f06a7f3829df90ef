/** What commands with `--shard` have in common: where the part goes, which flags wait for merge, and what is said of it. */
import { writeOutput } from '../files/output.ts'
import { isMade, type PartCommand, type PartHead, partText } from '../parts/part.ts'
import { type Shard, shardName, shardOf } from '../parts/shard.ts'
import { usageError } from './arguments.ts'
import type { Interruption, Io } from './io.ts'
import { parseOutputs } from './outputs.ts'

/** One shard of a run, and where its part goes. */
export interface PartRun {
  readonly shard: Shard
  /** null: standard output. */
  readonly file: string | null
}

export interface ShardedOptions {
  readonly shard?: string | undefined
  readonly output: readonly string[]
  readonly threshold: readonly string[]
}

/**
 * @param command  in the part's own name
 * @param inputs  files that the command reads
 * @param refused by flag: whether it was given, though it is about the whole report
 * @returns       null where the run is whole
 * @throws UserError `E_USAGE`, exit code 2
 */
export function partRun(
  command: PartCommand,
  options: ShardedOptions,
  inputs: readonly string[],
  refused: Readonly<Record<string, boolean>> = {},
): PartRun | null {
  const shard = shardOf(options.shard, process.env)
  if (shard === null) return null
  const late = Object.entries({ '--threshold': options.threshold.length > 0, ...refused }).find(([, given]) => given)
  if (late !== undefined) {
    throw usageError(`${late[0]} is about the whole report, and --shard makes a part of it`, 'give it to dpemu merge')
  }
  const whole = options.output.find((value) => !/^part(=|$)/.test(value))
  if (whole !== undefined) {
    throw usageError(
      `-o ${whole}: with --shard a part is written, and no report`,
      `-o part=FILE names it; give -o ${whole} to dpemu merge`,
    )
  }
  const given = options.output.length > 0 ? options.output : [`part=part-${command}-${shardName(shard)}.json`]
  const outputs = parseOutputs(given, ['part'], inputs)
  if (outputs.length > 1) throw usageError('a part goes to one place: -o part=FILE')
  return { shard, file: outputs[0]!.file }
}

/** Whether the very part that is about to be made is there. */
export function isPartMade({ file }: PartRun, head: PartHead): boolean {
  return file !== null && isMade(file, head)
}

/** @returns the exit code */
export async function writePart(
  { file }: PartRun,
  head: PartHead,
  body: unknown,
  interruption: Interruption,
  io: Io,
): Promise<number> {
  const text = partText(head, body)
  if (file === null) {
    io.stdout(text)
    return 0
  }
  try {
    await writeOutput(file, text, interruption.signal)
  } catch (error) {
    if (!interruption.signal.aborted) throw error
  }
  return interruption.signal.aborted ? interruption.exitCode : 0
}

/** `dpemu: shard 3 of 16 is in part-capacity-3-of-16.json: …` */
export function partSummary({ shard, file }: PartRun, what: string, wasThere: boolean): string {
  const place = file === null ? '' : ` ${wasThere ? 'was' : 'is'} in ${file}`
  return `dpemu: shard ${shard.index} of ${shard.count}${place}: ${what}\n`
}
