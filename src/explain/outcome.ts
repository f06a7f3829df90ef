/** What became of a packet in one word, and whether that is what somebody expected. */
import { REASONS } from '../../native-free-core/index.ts'
import { suggestion } from '../nearest.ts'
import type { Explanation, Fail } from './types.ts'

/** `none`: nothing of the cluster gets it, and nothing stops it: it leaves for elsewhere. */
export const OUTCOMES = ['deliver', 'drop', 'reject', 'none'] as const
export type Outcome = (typeof OUTCOMES)[number]

export function outcomeOf({ verdict, steps }: Pick<Explanation, 'verdict' | 'steps'>): Outcome {
  if (verdict === 'drop' || verdict === 'reject') return verdict
  if (verdict === 'dnat' || verdict === 'accept') return 'deliver'
  // kube-proxy has no part in what pods send each other: it arrives without it.
  return steps.some(({ stage }) => stage === 'deliver') ? 'deliver' : 'none'
}

/** A word that an outcome, a reason or an HTTP status must be one of. */
export type Expected = readonly string[]

/**
 * @param text  `deliver`, `drop,reject`, `no-local-endpoint`, `404`
 * @throws what `fail` makes, for a word that no packet can come to
 */
export function parseExpected(text: string, fail: Fail): Expected {
  const known: readonly string[] = [...OUTCOMES, ...REASONS.map(({ name }) => name)]
  return text.split(',').map((part) => {
    const word = part.trim()
    if (known.includes(word) || /^[1-5]\d\d$/.test(word)) return word
    throw fail(
      `'${word}' is nothing that a packet can come to`,
      suggestion(word, known) || `${OUTCOMES.join(', ')}, a reason such as no-local-endpoint, or an HTTP status`,
    )
  })
}

export function meets(expected: Expected, explanation: Explanation): boolean {
  const { reason, ingress, blocked = [] } = explanation
  const outcome = outcomeOf(explanation)
  // Where policies stop it on the way to some of the endpoints it is not simply delivered.
  const isPartial = outcome === 'deliver' && blocked.length > 0
  const stopped = blocked.map((one) => one.reason)
  const words = [
    isPartial ? '' : outcome,
    reason ?? '',
    ...stopped,
    ingress === undefined ? '' : String(ingress.status),
  ]
  return expected.some((word) => words.includes(word))
}

/** `drop (no-endpoint)` */
export function outcomeText(explanation: Explanation): string {
  const { reason, ingress } = explanation
  const { blocked = [], endpoints } = explanation
  if (reason === null && blocked.length > 0)
    return `deliver, but ${blocked[0]!.reason} on the way to ${blocked.length} of ${endpoints.length} endpoints`
  const more = ingress === undefined ? (reason ?? '') : `HTTP ${ingress.status}`
  return `${outcomeOf(explanation)}${more === '' ? '' : ` (${more})`}`
}
