/**
 * The processes that make the runs: as many as there are cells at work, each with its share of the threads.
 *
 * Processes, not threads: half of a run is generating its trace, which is one thread's work and would otherwise be done
 * in the thread of all the others; and a process that is ended takes its memory with it.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { UserError } from '../errors.ts'
import type { ChildMessage } from './child.ts'
import type { Job, Measurement } from './measure.ts'

export interface Measurer {
  /** At most `lanes` at once. */
  readonly lanes: number
  /** @param lane  0 to lanes - 1; one run at a time in each */
  measure(lane: number, job: Job, onProgress: (fraction: number) => void): Promise<Measurement>
  /** Ends what is under way, and removes every trace. */
  close(): Promise<void>
}

/**
 * @param cells    that there are to work on
 * @param workers  threads to use in all
 */
export function processMeasurer(cells: number, workers: number): Measurer {
  const lanes = Math.max(1, Math.min(cells, workers))
  const filename = fileURLToPath(new URL('./child.js', import.meta.url))
  if (!existsSync(filename)) throw new Error(`${filename} is missing: the project has not been built`)
  const folder = mkdtempSync(join(tmpdir(), 'dpemu-capacity-'))
  const removeFolder = (): void => rmSync(folder, { recursive: true, force: true })
  // A second Ctrl-C ends this process where it stands.
  process.once('exit', removeFolder)
  const children: (ChildProcess | undefined)[] = []
  const childOf = (lane: number): ChildProcess => {
    children[lane] ??= fork(filename, [folder, String(Math.max(1, Math.floor(workers / lanes)))], {
      env: { ...process.env, MSGPACKR_NATIVE_ACCELERATION_DISABLED: 'true' },
      serialization: 'advanced',
    })
    return children[lane]
  }
  return {
    lanes,
    measure: (lane, job, onProgress) => ask(childOf(lane), job, onProgress),
    close: async () => {
      await Promise.all(children.map((child) => (child === undefined ? undefined : ended(child))))
      removeFolder()
      process.removeListener('exit', removeFolder)
    },
  }
}

function ask(child: ChildProcess, job: Job, onProgress: (fraction: number) => void): Promise<Measurement> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      child.removeListener('message', listen)
      child.removeListener('exit', gone)
      act()
    }
    const gone = (code: number | null, signal: string | null): void =>
      settle(() => reject(new Error(`a process of the search ended with ${signal ?? `exit code ${code}`}`)))
    const listen = (message: unknown): void => {
      const answer = message as ChildMessage
      switch (answer.kind) {
        case 'progress':
          onProgress(answer.fraction)
          break
        case 'done':
          settle(() => resolve(answer.measurement))
          break
        case 'refused':
          settle(() => reject(new UserError(answer.error.code, answer.error.message, answer.error)))
          break
        case 'failed':
          settle(() => reject(new Error(answer.stack)))
      }
    }
    child.on('message', listen)
    child.once('exit', gone)
    child.send(job, (error) => {
      if (error !== null) settle(() => reject(error))
    })
  })
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    child.once('exit', () => resolve())
    child.kill('SIGKILL')
  })
}
