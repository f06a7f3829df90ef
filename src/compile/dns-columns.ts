/**
 * Names → the columns that the core resolves by: who asks whom, every question of every walk, and what the reply says.
 *
 * The walks come in as plain values (src/replay/names.ts asks the cluster's DNS for them); here they get numbers. All rule sets of
 * a run have the same walks in the same places, whatever the replies: a question keeps its number when the cluster changes.
 * Cost: some ten words a question; a trace has few names and fewer kinds of resolv.conf, so it is small beside the rest.
 */

import {
  DESTINATION_NAME,
  DESTINATION_PLAIN,
  DESTINATION_SERVICE,
  LIBC_GLIBC,
  LIBC_GO,
  LIBC_MUSL,
  LIBC_MUSL_1_1,
  NAMES_CLIENT_CACHE_MS,
  NAMES_LIBC,
  NAMES_RESOLVERS,
  NAMES_SETTINGS,
  NAMES_TYPES,
  QUERY_ANSWER_COUNT,
  QUERY_ANSWER_START,
  QUERY_CACHE_MS,
  QUERY_ENDS,
  QUERY_FIRST_MS,
  QUERY_ID,
  QUERY_LOCAL,
  QUERY_RCODE,
  QUERY_REPLY_BYTES,
  QUERY_REQUEST_BYTES,
  QUERY_SHUFFLED,
  QUERY_TCP_BYTES,
  QUERY_TYPE,
  QUERY_WORDS,
  type RuleColumns,
} from '../../native-free-core/index.ts'
import type { Libc } from '../libc.ts'
import { cutTimeout } from './horizon.ts'

/** An address in a reply. */
export interface Answer {
  /** Address id. */
  readonly address: number
  /** Endpoint id, or -1 for an address that is balanced by the dataplane or not at all. */
  readonly endpoint: number
}

/** One question of one record type, and its reply at some moment. */
export interface Question {
  /** The same for the same name and type, whoever asks. */
  readonly id: number
  /** 0 A, 1 AAAA. */
  readonly type: number
  /** As in a DNS message. */
  readonly rcode: number
  /** Of the IP packets; `tcpBytes` of the exchange that follows a truncated reply, 0 where it was whole. */
  readonly requestBytes: number
  readonly replyBytes: number
  readonly tcpBytes: number
  /** How long the answering server keeps the reply; 0 not at all. */
  readonly cacheMs: number
  /** The reply has records: the search ends. */
  readonly ends: boolean
  readonly answers: readonly Answer[]
  readonly shuffled: boolean
  /** It stands in the client's hosts file: nothing is asked. */
  readonly local: boolean
}

/** The questions that are asked for one name, step by step; all of a step at once. Each step has one of each type. */
export type Walk = readonly (readonly Question[])[]

export interface NameTables {
  /** By destination of the trace: index of its name, or -1. */
  readonly nameOfDestination: readonly number[]
  /** Record types of a step. */
  readonly types: number
  readonly clientCacheMs: number
  readonly libc: Libc
  /** By question id: when it is asked for the first time, in milliseconds; left out where nobody knows. */
  readonly firstMs: ReadonlyMap<number, number>
  /** Address id of a client and index of its resolv.conf. */
  readonly resolverOf: ReadonlyMap<number, number>
  /** By resolv.conf: address id of its server, `SERVER_*` where no packet goes to it. */
  readonly servers: readonly number[]
  /** By name, then by resolv.conf. */
  readonly walks: readonly (readonly Walk[])[]
  /** Ids of endpoints that names lead to without kube-proxy: those that the cluster publishes now, and those of any time. */
  readonly endpoints: ReadonlySet<number>
  readonly knownEndpoints: ReadonlySet<number>
}

const LIBC_CODES: Readonly<Record<Libc, number>> = {
  glibc: LIBC_GLIBC,
  musl: LIBC_MUSL,
  'musl-1.1': LIBC_MUSL_1_1,
  go: LIBC_GO,
}

export type NameColumn =
  | 'destinationName'
  | 'nameSettings'
  | 'resolverOf'
  | 'resolverServer'
  | 'walkStart'
  | 'walkCount'
  | 'nameQueries'
  | 'nameAnswers'

/** What the trace meant, for `destinationIsService`. */
export function destinationMeaning(destination: { readonly isService: boolean; readonly name?: string }): number {
  if (destination.name !== undefined) return DESTINATION_NAME
  return destination.isService ? DESTINATION_SERVICE : DESTINATION_PLAIN
}

/**
 * @param tables        null for a trace that dials no name
 * @param destinations  of the trace
 * @param addresses     ids there are
 * @param endMs         of the run, for lives that its clock cannot hold
 */
export function nameColumns(
  tables: NameTables | null,
  destinations: number,
  addresses: number,
  endMs: number,
): Pick<RuleColumns, NameColumn> {
  const empty = new Int32Array(0)
  if (tables === null) {
    return {
      destinationName: new Int32Array(destinations).fill(-1),
      nameSettings: empty,
      resolverOf: empty,
      resolverServer: empty,
      walkStart: empty,
      walkCount: empty,
      nameQueries: empty,
      nameAnswers: empty,
    }
  }
  const settings = new Int32Array(NAMES_SETTINGS)
  settings[NAMES_RESOLVERS] = tables.servers.length
  settings[NAMES_TYPES] = tables.types
  settings[NAMES_LIBC] = LIBC_CODES[tables.libc]
  settings[NAMES_CLIENT_CACHE_MS] = cutTimeout(tables.clientCacheMs, endMs)
  const resolverOf = new Int32Array(addresses).fill(-1)
  for (const [address, resolver] of tables.resolverOf) resolverOf[address] = resolver
  const walks = tables.walks.flat()
  const starts: number[] = []
  const queries: number[] = []
  const answers: number[] = []
  for (const walk of walks) {
    starts.push(queries.length / (QUERY_WORDS * tables.types))
    for (const question of walk.flat()) queries.push(...queryWords(question, tables.firstMs, answers))
  }
  return {
    destinationName: Int32Array.from(tables.nameOfDestination),
    nameSettings: settings,
    resolverOf,
    resolverServer: Int32Array.from(tables.servers),
    walkStart: Int32Array.from(starts),
    walkCount: Int32Array.from(walks, (walk) => walk.length),
    nameQueries: Int32Array.from(queries),
    nameAnswers: Int32Array.from(answers),
  }
}

/** @param answers  two words each; the question's own are added */
function queryWords(question: Question, firstMs: ReadonlyMap<number, number>, answers: number[]): Int32Array {
  const words = new Int32Array(QUERY_WORDS)
  words[QUERY_ID] = question.id
  words[QUERY_TYPE] = question.type
  words[QUERY_RCODE] = question.rcode
  words[QUERY_REQUEST_BYTES] = question.requestBytes
  words[QUERY_REPLY_BYTES] = question.replyBytes
  words[QUERY_TCP_BYTES] = question.tcpBytes
  words[QUERY_CACHE_MS] = question.cacheMs
  words[QUERY_ENDS] = question.ends ? 1 : 0
  words[QUERY_ANSWER_START] = answers.length / 2
  words[QUERY_ANSWER_COUNT] = question.answers.length
  words[QUERY_SHUFFLED] = question.shuffled ? 1 : 0
  words[QUERY_FIRST_MS] = Math.min(0x7fffffff, (firstMs.get(question.id) ?? -1) + 1)
  words[QUERY_LOCAL] = question.local ? 1 : 0
  for (const { address, endpoint } of question.answers) answers.push(address, endpoint)
  return words
}
