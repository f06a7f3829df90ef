/**
 * A test suite of reachability, as YAML: who is expected to reach what, and who is not.
 *
 *   - { from: shop/web, to: "api.shop:grpc" }                  deliver, where nothing else is said
 *   - { name: no way in, from: outside, to: "db.shop:5432", expect: "drop,reject,none" }
 *
 * `from` is a workload (every node of it), NAMESPACE/*, `outside`, a pod or an address; `to` a Service port
 * (`shop/api:grpc`) or what `explain --to` takes.
 * Errors: E_EXPECTATIONS (exit 3) naming file and entry. All are read before anything is explained.
 */
import { loadAll } from 'js-yaml'
import { UserError } from '../errors.ts'
import { suggestion } from '../nearest.ts'
import { readTextFile } from '../text-file.ts'
import type { LoadedManifests } from './context.ts'
import { protocolOf } from './lines.ts'
import { type Expected, meets, outcomeText, parseExpected } from './outcome.ts'
import { clientsOf, explainAll, type Question, targetNamed } from './reach.ts'
import type { Fail } from './types.ts'

const FIELDS = ['name', 'from', 'to', 'protocol', 'expect'] as const
const HINT = 'entries such as { from: shop/web, to: "api.shop:80", expect: deliver }'

export interface Expectation {
  readonly name: string
  readonly from: string
  readonly to: string
  readonly protocol: Question['protocol']
  readonly expected: Expected
  /** `reach.yaml, entry 3`, for messages. */
  readonly fail: Fail
}

export interface ExpectationResult {
  readonly name: string
  readonly expected: Expected
  readonly pass: boolean
  /** Of each client that came to something else: `pod/shop/web-1: drop (no-endpoint): …`. */
  readonly failures: readonly string[]
}

/** @throws UserError */
export function readExpectations(path: string): Expectation[] {
  return parseExpectations(readTextFile(path, 'expectations', 'E_EXPECTATIONS'), path)
}

export function parseExpectations(text: string, file: string): Expectation[] {
  const refuse = (where: string, message: string, hint = HINT): UserError =>
    new UserError('E_EXPECTATIONS', message, { where, hint })
  let documents: unknown[]
  try {
    documents = loadAll(text)
  } catch (error) {
    throw refuse(file, `this is not YAML: ${(error as Error).message.split('\n')[0]}`)
  }
  const entries = documents.flatMap((document) => (document === null || document === undefined ? [] : document))
  if (entries.length === 0) throw refuse(file, 'there is no expectation in it')
  return entries.map((entry, i) => {
    const where = `${file}, entry ${i + 1}`
    const fail: Fail = (message, hint) => refuse(where, message, hint)
    if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) throw fail('it is not a map')
    const fields = entry as Readonly<Record<string, unknown>>
    for (const key of Object.keys(fields)) {
      if (!(FIELDS as readonly string[]).includes(key)) {
        throw fail(`an expectation has no field ${key}`, suggestion(key, FIELDS) || HINT)
      }
    }
    const word = (name: (typeof FIELDS)[number], otherwise?: string): string => {
      const value = fields[name] ?? otherwise
      if (typeof value === 'string' && value.trim() !== '') return value.trim()
      if (typeof value === 'number') return String(value)
      throw fail(value === undefined ? `${name} is missing` : `${name} is not text`)
    }
    const [from, to, expect] = [word('from'), word('to'), word('expect', 'deliver')]
    return {
      name: word('name', `${from} → ${to}: ${expect}`),
      from,
      to,
      protocol: fields['protocol'] === undefined ? null : protocolOf(fields['protocol'], fail),
      expected: parseExpected(expect, fail),
      fail,
    }
  })
}

/** @throws UserError for a client or a destination that is not there */
export function checkExpectations(loaded: LoadedManifests, expectations: readonly Expectation[]): ExpectationResult[] {
  const clients = expectations.map(({ from, fail }) => {
    const found = clientsOf(from, loaded)
    if (found.length === 0) throw fail(`${from} is no client: there is no such pod`, '')
    return found
  })
  const questions = expectations.flatMap(({ to, protocol, fail }, i) => {
    const target = targetNamed(to, loaded)
    const dialled = { to: target?.to ?? to, protocol: protocol ?? target?.protocol ?? null, target, fail }
    return clients[i]!.map((from): Question => ({ from, ...dialled }))
  })
  const answers = explainAll(loaded, questions)
  let next = 0
  return expectations.map(({ name, expected }, i) => {
    const failures = clients[i]!.flatMap((client) => {
      const { explanation, conclusion } = answers[next++]!
      return meets(expected, explanation) ? [] : [`${client}: ${outcomeText(explanation)}: ${conclusion}`]
    })
    return { name, expected, pass: failures.length === 0, failures }
  })
}
