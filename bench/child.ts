/**
 * A process that holds one subject: two dataplane instances in one isolate would slow each other down by a third to a half.
 *
 * `child.js SPEC` builds, says so, then answers each message with one round's sample until its parent leaves.
 */
import { buildSubject } from './build-subject.ts'
import type { Spec } from './rows.ts'
import { type RoundSample, sunkValue } from './subject.ts'

export interface ChildMessage {
  /** Absent in the first message, which says that the subject stands. */
  readonly sample?: RoundSample
  readonly digest: string
  readonly sunk: number
}

const spec = JSON.parse(process.argv[2] ?? '') as Spec
const subject = await buildSubject(spec)
const send = (message: ChildMessage): void => {
  process.send?.(message)
}
process.on('message', () => {
  const sample = subject.round()
  send({ sample, digest: subject.digest(), sunk: sunkValue() })
})
process.on('disconnect', () => process.exit(0))
send({ digest: subject.digest(), sunk: 0 })
