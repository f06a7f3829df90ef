/** `dpemu inspect`: what is in a trace. */
import { writeOutputNow } from '../files/output.ts'
import type { Io } from './io.ts'
import { parseOutputs } from './outputs.ts'

const FORMATS = ['text', 'json'] as const

export interface InspectCommandOptions {
  readonly trace: string
  readonly output: readonly string[]
}

/** @returns the exit code: 0 */
export async function runInspect(options: InspectCommandOptions, io: Io): Promise<number> {
  const outputs = parseOutputs(options.output, FORMATS, [options.trace])
  const { formatInspection, inspectTrace } = await import('../trace/inspect.ts')
  const inspection = await inspectTrace(options.trace)
  for (const { format, file } of outputs.length > 0 ? outputs : [{ format: 'text', file: null }]) {
    const text = format === 'json' ? `${JSON.stringify(inspection, null, 2)}\n` : formatInspection(inspection)
    if (file === null) io.stdout(text)
    else writeOutputNow(file, text)
  }
  return 0
}
