/**
 * Runs the workers: the only file that knows piscina.
 *
 * One task a worker, all at once: they meet at barriers, so each needs a thread of its own. Progress and the call to stop
 * travel through shared memory. piscina's optional native add-on (thread priorities) is never asked for.
 */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import { UserError } from '../errors.ts'
import { LANES } from '../trace/format.ts'
import {
  AbortedError,
  CONTROL_ABORT,
  CONTROL_GENERATION,
  CONTROL_PROGRESS,
  CONTROL_WORDS,
  type Rendezvous,
  type WorkerOutcome,
  type WorkerResult,
  type WorkerTask,
} from './messages.ts'

const PROGRESS_MS = 100
const PROGRESS_UNIT = 1024

export interface PoolHooks {
  /** Packets done over all runs. */
  onProgress?(packets: number): void
  readonly signal?: AbortSignal | undefined
}

/**
 * Threads that load their code as soon as the pool is made: made first, they are ready when the plan is (60 ms of a short replay).
 */
export class WorkerPool {
  private readonly pool: Piscina
  private readonly threads: number

  /** @param workers  as many as were asked for; no more threads than lanes are made */
  constructor(workers: number) {
    const threads = Math.max(1, Math.min(workers, LANES))
    this.threads = threads
    const filename = fileURLToPath(new URL('./worker.js', import.meta.url))
    if (!existsSync(filename)) throw new Error(`${filename} is missing: the project has not been built`)
    this.pool = new Piscina({
      filename,
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker: 1,
      env: { ...process.env, MSGPACKR_NATIVE_ACCELERATION_DISABLED: 'true' },
    })
  }

  /** @throws AbortedError when the signal came; UserError when a worker could not read the trace; what a worker threw otherwise */
  async run(tasks: readonly WorkerTask[], hooks: PoolHooks): Promise<WorkerResult[]> {
    if (tasks.length > this.threads)
      throw new RangeError(`${tasks.length} tasks that meet, and ${this.threads} threads`)
    const control = new Int32Array(tasks[0]!.control, 0, CONTROL_WORDS)
    const stop = (): void => {
      Atomics.store(control, CONTROL_ABORT, 1)
      Atomics.notify(control, CONTROL_GENERATION)
    }
    hooks.signal?.addEventListener('abort', stop)
    if (hooks.signal?.aborted) stop()
    const timer = setInterval(
      () => hooks.onProgress?.(Atomics.load(control, CONTROL_PROGRESS) * PROGRESS_UNIT),
      PROGRESS_MS,
    )
    try {
      const running = tasks.map(async (task): Promise<WorkerOutcome> => {
        let outcome: WorkerOutcome | undefined
        try {
          outcome = (await this.pool.run(task)) as WorkerOutcome
          return outcome
        } finally {
          // The others may be waiting at a barrier for this one.
          if (outcome?.kind !== 'done') stop()
        }
      })
      const settled = await Promise.allSettled(running)
      if (hooks.signal?.aborted) throw new AbortedError('interrupted')
      const outcomes = settled.map((one) => {
        if (one.status === 'rejected') throw one.reason
        return one.value
      })
      const refused = outcomes.find((outcome) => outcome.kind === 'refused')
      if (refused !== undefined) throw new UserError(refused.error.code, refused.error.message, refused.error)
      return outcomes.map((outcome) => {
        if (outcome.kind !== 'done') throw new AbortedError('a worker was called off')
        return outcome.result
      })
    } finally {
      clearInterval(timer)
      hooks.signal?.removeEventListener('abort', stop)
    }
  }

  /** Node 20 aborts when a thread is ended while it loads its code, so all of them are heard first. */
  async close(): Promise<void> {
    const rendezvous: Rendezvous = { meet: new SharedArrayBuffer(4), threads: this.threads }
    await Promise.allSettled(Array.from({ length: this.threads }, () => this.pool.run(rendezvous)))
    await this.pool.destroy()
  }
}
