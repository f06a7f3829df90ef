/**
 * Which part of a run this process makes: `3/16` as typed, or as an array scheduler tells in the environment.
 *
 * Shards count from 1, as test runners have it. `auto` takes the place from the scheduler: Kubernetes' Indexed Jobs tell an
 * index from 0 and no count (`auto/16`), Slurm's arrays tell all. Nothing in the environment splits a run by itself but
 * DPEMU_SHARD, which stands for the flag.
 * Sources: kubernetes.io/docs/concepts/workloads/controllers/job (JOB_COMPLETION_INDEX), slurm.schedmd.com/job_array.html.
 */
import { UserError } from '../errors.ts'

export interface Shard {
  /** From 1. */
  readonly index: number
  readonly count: number
}

export type Environment = Readonly<Record<string, string | undefined>>

/** More than an Indexed Job is likely to have; each is a file that merge reads. */
export const MAX_SHARD_COUNT = 10_000
/** What stands for the flag where that was left out. */
const OWN_VARIABLE = 'DPEMU_SHARD'

/**
 * @param flag  the value of --shard; it wins over DPEMU_SHARD
 * @returns     null where neither was given: the run is whole
 * @throws UserError `E_USAGE`, exit code 2
 */
export function shardOf(flag: string | undefined, env: Environment): Shard | null {
  const own = env[OWN_VARIABLE]?.trim() ?? ''
  const [name, text] = flag === undefined ? [OWN_VARIABLE, own] : ['--shard', flag.trim()]
  if (flag === undefined && own === '') return null
  const found = /^(auto|\d{1,9})(?:\/(\d{1,9}))?$/.exec(text)
  if (found === null || (found[1] !== 'auto' && found[2] === undefined)) {
    throw usage(`${name} is I/N, such as 3/16, or auto or auto/N, not '${text}'`)
  }
  const count = found[2] === undefined ? null : Number(found[2])
  if (count !== null && (count < 1 || count > MAX_SHARD_COUNT)) {
    throw usage(`${name} ${text}: a run is split into 1 to ${MAX_SHARD_COUNT} shards`)
  }
  if (found[1] === 'auto') return scheduled(`${name} ${text}`, count, env)
  const index = Number(found[1])
  if (index < 1 || index > count!) throw usage(`${name} ${text}: shards count from 1 to ${count}`)
  return { index, count: count! }
}

/** `3-of-16`, in names of files. */
export function shardName({ index, count }: Shard): string {
  return `${index}-of-${count}`
}

/** @param count  as given, which a Job needs and an array may leave out */
function scheduled(given: string, count: number | null, env: Environment): Shard {
  const job = numberIn(env, 'JOB_COMPLETION_INDEX')
  if (job !== null) {
    if (count === null) {
      throw usage(
        `${given}: JOB_COMPLETION_INDEX is ${job}, and nothing tells of how many`,
        "auto/N, N as the Job's completions",
      )
    }
    if (job >= count) throw usage(`${given}: JOB_COMPLETION_INDEX is ${job}, beyond 0 to ${count - 1}`)
    return { index: job + 1, count }
  }
  const task = numberIn(env, 'SLURM_ARRAY_TASK_ID')
  if (task === null) {
    throw usage(`${given}: neither JOB_COMPLETION_INDEX nor SLURM_ARRAY_TASK_ID is set`, 'name the shard: --shard 3/16')
  }
  const tasks = numberIn(env, 'SLURM_ARRAY_TASK_COUNT') ?? count
  if (tasks === null || tasks < 1) throw usage(`${given}: SLURM_ARRAY_TASK_COUNT is not set`, 'auto/N says how many')
  if (count !== null && count !== tasks) throw usage(`${given}: the array has ${tasks} tasks (SLURM_ARRAY_TASK_COUNT)`)
  const first = numberIn(env, 'SLURM_ARRAY_TASK_MIN') ?? 0
  const index = task - first + 1
  const last = numberIn(env, 'SLURM_ARRAY_TASK_MAX') ?? first + tasks - 1
  if (last - first + 1 !== tasks || index < 1 || index > tasks) {
    throw usage(
      `${given}: task ${task} of an array of ${tasks} from ${first} to ${last}`,
      'the array must be without gaps, such as --array=1-16',
    )
  }
  return { index, count: tasks }
}

function numberIn(env: Environment, name: string): number | null {
  const text = env[name]?.trim() ?? ''
  if (text === '') return null
  if (!/^\d{1,9}$/.test(text)) throw usage(`${name} is '${text}', which is no whole number`)
  return Number(text)
}

function usage(message: string, hint = ''): UserError {
  return new UserError('E_USAGE', message, { hint, exitCode: 2 })
}
