/**
 * `dpemu merge`: the parts of a run → what the command itself would have printed, written and ended with.
 *
 * Views, thresholds and exit codes are those of the command that made the parts. Nothing is written before all parts have been
 * found to belong together.
 */
import { existsSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { UserError } from '../errors.ts'
import { type Gathered, gather, type PartCommand } from '../parts/part.ts'
import type { ReplayReport } from '../report/types.ts'
import { countOf } from '../report/units.ts'
import { usageError } from './arguments.ts'
import { type Io, interruptionOf } from './io.ts'
import { warningPrinter } from './warnings.ts'

/** As typed: one field a flag, absent where the flag was. */
export interface MergeOptions {
  readonly parts: readonly string[]
  readonly columns?: readonly string[] | undefined
  readonly constants?: boolean | undefined
  readonly threshold: readonly string[]
  readonly output: readonly string[]
  readonly quiet: boolean
}

/** @returns the exit code: 0, 99 when a threshold failed, 130, 143 or 129 when interrupted @throws UserError */
export async function runMerge(options: MergeOptions, io: Io): Promise<number> {
  const paths = options.parts.flatMap(expanded)
  const gathered = gather(paths)
  const { command, bodies } = gathered
  refuseOthers(command, options)
  const said = (): void => {
    if (!options.quiet) io.stderr(`dpemu: ${countOf(bodies.length, 'part')} of dpemu ${command} merged\n`)
  }
  const interruption = interruptionOf(io)
  if (command === 'rollout') {
    const [{ rolloutViews, writeRollout }, { mergeRollout }] = await Promise.all([
      import('./rollout.ts'),
      import('../rollout/part.ts'),
    ])
    const views = rolloutViews(options, paths)
    const { report, picture } = mergeRollout(gathered)
    said()
    return writeRollout(report, picture, views, io, interruption)
  }
  if (command === 'replay') {
    const { replayViews, writeReplay } = await import('./replay.ts')
    const views = replayViews(options, paths)
    const report = await mergedReplay(gathered)
    const warnings = warningPrinter(io, { update: () => {}, clear: () => {} }, options.quiet)
    for (const warning of report.warnings) warnings.print(warning)
    warnings.finish()
    said()
    return writeReplay(report, views, io, { interruption })
  }
  const [{ capacityViews, withoutUnwanted, writeCapacity }, { mergeCapacity }] = await Promise.all([
    import('./capacity.ts'),
    import('../capacity/part.ts'),
  ])
  const views = capacityViews(options, paths)
  const report = withoutUnwanted(mergeCapacity(gathered), io)
  const warnings = warningPrinter(io, { update: () => {}, clear: () => {} }, options.quiet)
  for (const warning of report.warnings) warnings.print(warning)
  warnings.finish()
  return writeCapacity(report, views, io, { interruption, beforeStdout: said })
}

async function mergedReplay(gathered: Gathered): Promise<ReplayReport> {
  if ('draws' in gathered.inputs) {
    const [{ drawsOfParts }, { mergeDraws }] = await Promise.all([
      import('../replay/draws-part.ts'),
      import('../report/draws.ts'),
    ])
    return mergeDraws(drawsOfParts(gathered))
  }
  return (await import('../replay/part.ts')).mergeReplay(gathered)
}

/**
 * `part-*.json` as a shell has it, for those who have none: in a container, or on Windows. Only in the file's name.
 *
 * @throws UserError `E_PART` where no file is called so
 */
function expanded(path: string): string[] {
  const name = basename(path)
  if (!name.includes('*') || existsSync(path)) return [path]
  const pattern = new RegExp(`^${name.split('*').map(escaped).join('.*')}$`)
  const folder = dirname(path)
  const found = existsSync(folder) ? readdirSync(folder).filter((one) => pattern.test(one)) : []
  if (found.length === 0) throw new UserError('E_PART', 'no file is called so', { where: path })
  return found.sort().map((one) => (folder === '.' && !path.startsWith('.') ? one : join(folder, one)))
}

function escaped(text: string): string {
  return text.replace(/[\\^$.|?+()[\]{}]/g, '\\$&')
}

/** Flags that the parts' own command does not have. */
function refuseOthers(command: PartCommand, { columns, constants }: MergeOptions): void {
  if (command !== 'capacity' && (columns ?? []).length > 0)
    throw usageError(`--columns: dpemu ${command} has no tables of cells`)
  if (command === 'rollout' && constants === true) throw usageError('--constants: dpemu rollout lists no constants')
}
