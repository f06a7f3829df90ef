/** What a replay was made from, told by digests: so that two reports say themselves whether they are about the same. */
import { createHash } from 'node:crypto'
import type { InputsReport } from '../report/types.ts'
import type { TraceFile } from '../trace/read.ts'

/** Characters of a digest: enough to tell any two inputs apart, short enough to be read out. */
const LENGTH = 16

/**
 * @param manifests  texts of the objects that were used, in any order
 * @param seed       of every random choice
 */
export function inputsReport(trace: TraceFile, manifests: readonly string[], seed: number): InputsReport {
  return { trace: traceDigest(trace), manifests: digest([...manifests].sort()), seed }
}

/** Of who sends what to whom and when, as far as header, index and totals tell; manifests that are in the trace do not count. */
function traceDigest({ header, index, totals }: TraceFile): string {
  const { manifests: _, warnings: __, addresses, ...rest } = header
  return digest([
    JSON.stringify({ ...rest, totals }),
    addresses.v4,
    addresses.v6,
    ...[index.kind, index.lane, index.rows, index.baseTick].map(
      ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
    ),
  ])
}

function digest(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${part.length}\n`).update(part)
  return hash.digest('hex').slice(0, LENGTH)
}
