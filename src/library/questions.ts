/** One packet explained, one name looked up: what `dpemu explain` and `dpemu dig` answer, as values. */
import type { ProxyMode } from '../compile/kube-proxy.ts'
import { askingPod, type DigDocument, digDocument, lookUp, type Naming } from '../dns/dig.ts'
import { NOTHING_UPSTREAM, parseUpstream, recordType } from '../dns/records.ts'
import { createDnsServer } from '../dns/zone.ts'
import { UserError, type Warning } from '../errors.ts'
import type { LoadedManifests } from '../explain/context.ts'
import { policedPod } from '../explain/dns-policy.ts'
import { explainOne, type Question } from '../explain/explain.ts'
import { renderAnswer } from '../explain/text.ts'
import type { Explanation } from '../explain/types.ts'
import type { Libc } from '../libc.ts'

export interface ExplainQuestion extends Question {
  /** In place of the mode that the manifests say. */
  readonly proxyMode?: ProxyMode | undefined
}

export interface Explained {
  /** As `dpemu explain -o json` prints it: steps, verdict, endpoints, what the pod sees. */
  readonly explanation: Explanation
  /** As `dpemu explain` prints it. */
  readonly text: string
  readonly warnings: readonly Warning[]
}

/**
 * Where a packet (or, of a URL, a request) goes, and why: each step with the object and field that decided.
 *
 * Cost: compiles the rules of the whole cluster, milliseconds for tens of Services.
 *
 * @throws UserError  for a source or target that there is none of, exit code 2
 * @example
 * const { explanation } = explain(loaded, { from: '198.18.0.7', to: '192.0.2.21:80' })
 * console.log(explanation.verdict, explanation.endpoints)
 */
export function explain(loaded: LoadedManifests, question: ExplainQuestion): Explained {
  const warnings: Warning[] = []
  const fail = (message: string, hint = ''): UserError => new UserError('E_QUESTION', message, { hint, exitCode: 2 })
  const answer = explainOne({ ...loaded, mode: question.proxyMode ?? loaded.mode ?? null }, question, fail, (warning) =>
    warnings.push(warning),
  )
  return { explanation: answer.explanation, text: renderAnswer(answer), warnings }
}

export interface DnsLookup {
  readonly name: string
  /** `A` where left out. */
  readonly type?: string | undefined
  /** A pod, `namespace/name`: its search list and resolver options count. Left out: the name is asked as it stands. */
  readonly from?: string | undefined
  /** Records of the world outside, as zone files write them: `example.com. A 192.0.2.1`. */
  readonly upstream?: readonly string[] | undefined
  /** The pod's C library; glibc where left out. */
  readonly resolver?: Libc | undefined
}

/**
 * What CoreDNS answers, with the queries that the pod's resolver sends on the way.
 *
 * @returns the document that `dpemu dig -o json` prints
 * @throws UserError  for a record type, pod or Corefile that cannot be used
 * @example
 * const { rcode, answer } = dig(loaded, { name: 'mysql-0.mysql', from: 'default/my-app' })
 */
export function dig({ cluster }: LoadedManifests, lookup: DnsLookup): DigDocument {
  const qtype = recordType(lookup.type ?? 'A')
  if (qtype === null) throw new UserError('E_QUERY', `${lookup.type} is not a record type`, { exitCode: 2 })
  const upstream = lookup.upstream === undefined ? NOTHING_UPSTREAM : parseUpstream(lookup.upstream, 'upstream')
  const naming: Naming = { upstream, libc: lookup.resolver ?? 'glibc', node: null }
  const settings = {
    cluster,
    server: createDnsServer(cluster),
    pod: lookup.from === undefined ? null : policedPod(cluster, askingPod(cluster, lookup.from, naming)),
    naming,
    tcp: false,
    ednsSize: null,
  }
  return digDocument(lookUp(settings, { id: null, name: lookup.name, qtype, upstream }), settings)
}
