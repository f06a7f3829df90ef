/**
 * Runs the children of one row, size and popularity: each in a process of its own, round by round in turn, so that a
 * change of the machine's mood meets all of them. The first rounds warm up and are not counted.
 *
 * Subjects that make decisions must have the same digest after every round; one that differs is an error, not a figure.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { ChildMessage } from './child.ts'
import { SIZES, type Spec } from './rows.ts'

const HEAP_MEGABYTES = 12_288

/**
 * Rounds that are run and thrown away: page faults, and compilation, which is over after some 2.5 million packets. A round has two
 * packets an entry, and half a million at least.
 */
function warmRounds({ row, size }: Spec): number {
  return /^(packet-step|new-connections)/.test(row) && SIZES[size] < 1_000_000 ? 6 : 2
}

export interface Measurement {
  readonly spec: Spec
  /** ns an operation, round by round. */
  readonly rounds: readonly number[]
  readonly min: number
  readonly median: number
}

/** @throws Error when a child fails or two of them disagree */
export async function measure(specs: readonly Spec[], rounds: number): Promise<Measurement[]> {
  const children: Child[] = []
  try {
    // One after the other: building is heavy, and memory traffic of one would disturb the other.
    for (const spec of specs) children.push(await Child.start(spec))
    const samples = specs.map((): number[] => [])
    for (let round = -warmRounds(specs[0]); round < rounds; round++) {
      for (const [i, child] of children.entries()) {
        const nanos = await child.round()
        if (round >= 0) samples[i].push(nanos)
      }
      agree(children)
    }
    return specs.map((spec, i) => ({
      spec,
      rounds: samples[i],
      min: Math.min(...samples[i]),
      median: median(samples[i]),
    }))
  } finally {
    for (const child of children) child.stop()
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

function agree(children: readonly Child[]): void {
  const [first, ...others] = children.filter((child) => child.digest !== '')
  for (const other of others) {
    if (other.digest === first.digest) continue
    throw new Error(`${first.name} and ${other.name} disagree:\n  ${first.digest}\n  ${other.digest}`)
  }
}

class Child {
  readonly name: string
  digest = ''
  private readonly process: ChildProcess

  private constructor(spec: Spec, process: ChildProcess) {
    this.name = `${spec.row} ${spec.size} ${spec.skew} ${spec.variant}`
    this.process = process
  }

  static async start(spec: Spec): Promise<Child> {
    const path = fileURLToPath(new URL('./child.js', import.meta.url))
    const child = new Child(
      spec,
      fork(path, [JSON.stringify(spec)], { execArgv: [`--max-old-space-size=${HEAP_MEGABYTES}`] }),
    )
    await child.answer()
    return child
  }

  /** @returns ns an operation */
  async round(): Promise<number> {
    const answer = this.answer()
    this.process.send('round')
    const { sample } = await answer
    if (sample === undefined) throw new Error(`${this.name} sent no sample`)
    return sample.nanos / sample.operations
  }

  stop(): void {
    this.process.kill()
  }

  private answer(): Promise<ChildMessage> {
    return new Promise((resolve, reject) => {
      const failed = (code: number | null): void => reject(new Error(`${this.name} ended with ${code}`))
      this.process.once('exit', failed)
      this.process.once('message', (message) => {
        this.process.off('exit', failed)
        const answer = message as ChildMessage
        this.digest = answer.digest
        resolve(answer)
      })
    })
  }
}
