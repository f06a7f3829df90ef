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
  const [{ inspectTrace }, { formatInspection }] = await Promise.all([
    import('../trace/inspect.ts'),
    import('./inspect-text.ts'),
  ])
  const inspection = await inspectTrace(options.trace)
  for (const { format, file } of outputs.length > 0 ? outputs : [{ format: 'text', file: null }]) {
    const width = file === null ? io.width : null
    const text = format === 'json' ? `${JSON.stringify(inspection, null, 2)}\n` : formatInspection(inspection, width)
    if (file === null) io.stdout(text)
    else writeOutputNow(file, text)
  }
  return 0
}
