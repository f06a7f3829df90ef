/**
 * A process that makes runs, one after the other, as its parent asks: `child.js FOLDER WORKERS`.
 *
 * It leaves Ctrl-C to its parent, and ends, with its folder, when the parent is gone.
 */
import { rmSync } from 'node:fs'
import { type ExitCode, UserError } from '../errors.ts'
import { type Job, type Measurement, measure } from './measure.ts'

export type ChildMessage =
  | { readonly kind: 'progress'; readonly fraction: number }
  | { readonly kind: 'done'; readonly measurement: Measurement }
  | {
      readonly kind: 'refused'
      readonly error: {
        readonly code: string
        readonly message: string
        readonly where: string
        readonly hint: string
        readonly exitCode: ExitCode
      }
    }
  | { readonly kind: 'failed'; readonly stack: string }

const [folder = '', workers = '1'] = process.argv.slice(2)
const send = (message: ChildMessage): void => {
  if (process.connected) process.send?.(message)
}

process.on('SIGINT', () => {})
process.on('disconnect', () => {
  rmSync(folder, { recursive: true, force: true })
  process.exit(0)
})
process.on('message', (job: Job) => {
  measure(job, { folder, workers: Number(workers), onProgress: (fraction) => send({ kind: 'progress', fraction }) })
    .then((measurement) => send({ kind: 'done', measurement }))
    .catch((error: unknown) => {
      if (error instanceof UserError) {
        const { code, message, where, hint, exitCode } = error
        send({ kind: 'refused', error: { code, message, where, hint, exitCode } })
      } else {
        send({ kind: 'failed', stack: error instanceof Error ? (error.stack ?? error.message) : String(error) })
      }
    })
})
