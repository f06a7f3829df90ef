/**
 * Runs the workers: the only file that knows piscina.
 *
 * One task a worker, all at once: they meet at barriers, so each needs a thread of its own. Progress and the call to stop
 * travel through shared memory. piscina's optional native add-on (thread priorities) is never asked for.
 */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import { AbortedError, CONTROL_ABORT, CONTROL_GENERATION, CONTROL_PROGRESS, CONTROL_WORDS, type WorkerResult, type WorkerTask } from './messages.ts'

const PROGRESS_MS = 100
const PROGRESS_UNIT = 1024

export interface PoolHooks {
  /** Packets done over all runs. */
  onProgress?(packets: number): void
  readonly signal?: AbortSignal | undefined
}

/** @throws AbortedError when the signal came; the first worker's error otherwise */
export async function runWorkers(tasks: readonly WorkerTask[], hooks: PoolHooks): Promise<WorkerResult[]> {
  const filename = fileURLToPath(new URL('./worker.js', import.meta.url))
  if (!existsSync(filename)) throw new Error(`${filename} is missing: the project has not been built`)
  const control = new Int32Array(tasks[0]!.control, 0, CONTROL_WORDS)
  const stop = (): void => {
    Atomics.store(control, CONTROL_ABORT, 1)
    Atomics.notify(control, CONTROL_GENERATION)
  }
  const pool = new Piscina({
    filename,
    minThreads: tasks.length,
    maxThreads: tasks.length,
    concurrentTasksPerWorker: 1,
    env: { ...process.env, MSGPACKR_NATIVE_ACCELERATION_DISABLED: 'true' },
  })
  hooks.signal?.addEventListener('abort', stop)
  if (hooks.signal?.aborted) stop()
  const timer = setInterval(() => hooks.onProgress?.(Atomics.load(control, CONTROL_PROGRESS) * PROGRESS_UNIT), PROGRESS_MS)
  try {
    const running = tasks.map((task) =>
      (pool.run(task) as Promise<WorkerResult>).catch((error: unknown) => {
        // The others may be waiting at a barrier for this one.
        stop()
        throw error
      }),
    )
    const settled = await Promise.allSettled(running)
    if (hooks.signal?.aborted) throw new AbortedError('interrupted')
    const failed = settled.flatMap((one) => (one.status === 'rejected' ? [one.reason as Error] : []))
    if (failed.length > 0) throw failed.find((error) => error.name !== 'AbortError') ?? failed[0]!
    return settled.map((one) => (one as PromiseFulfilledResult<WorkerResult>).value)
  } finally {
    clearInterval(timer)
    hooks.signal?.removeEventListener('abort', stop)
    await pool.destroy()
  }
}
