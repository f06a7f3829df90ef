/** Drop and reject reasons as the report names them: the core's list, looked up by name. */
import { REASONS } from '../../native-free-core/index.ts'

const SENTENCES: ReadonlyMap<string, string> = new Map(
  REASONS.filter((reason) => reason.code !== 0).map((reason) => [reason.name, reason.sentence]),
)

/** Every name that `drops` of a run can hold. */
export const REASON_NAMES: readonly string[] = [...SENTENCES.keys()]

/** The sentence of a reason, or '' for a name of another version. */
export function reasonSentence(name: string): string {
  return SENTENCES.get(name) ?? ''
}
