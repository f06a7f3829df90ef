/**
 * Questions and answers that CoreDNS' own tests and the Kubernetes DNS specification state; each file in vectors/ names its source.
 *
 * Records are `name ttl type data`, `*` is not compared, sections are sets.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { answerQuery } from '../../src/dns/answer.ts'
import { type DnsRecord, parseUpstream } from '../../src/dns/records.ts'
import { coredns, kubernetesBlock, type Manifest, serverOf } from './support.ts'

interface VectorServer {
  namespaces?: string[]
  podMode?: string
  ttl?: number
  zones?: string[]
  ignoreEmptyService?: boolean
  endpointPodNames?: boolean
  upstream?: unknown
}

interface VectorQuery {
  qname: string
  qtype: string
  rcode: string
  answer: string[]
  authority: string[]
  additional: string[]
  truncated?: boolean
  upstream?: unknown
  server?: VectorServer
}

interface Vector {
  source: string
  server: VectorServer
  objects: Manifest[]
  queries: VectorQuery[]
}

const folder = new URL('./vectors/', import.meta.url)
const files = readdirSync(folder).filter((name) => name.endsWith('.json'))

function corefileOf(server: VectorServer): string {
  const options = [`pods ${server.podMode ?? 'disabled'}`, `ttl ${server.ttl ?? 5}`]
  if (server.namespaces?.length) options.push(`namespaces ${server.namespaces.join(' ')}`)
  if (server.ignoreEmptyService) options.push('ignore empty_service')
  if (server.endpointPodNames) options.push('endpoint_pod_names')
  return kubernetesBlock(options, server.zones?.join(' '))
}

/** The wanted texts with `*` in place of what is not compared, so that a failure reads as a difference. */
function masked(records: readonly DnsRecord[], wanted: readonly string[]): string[] {
  const patterns = wanted.map((text) => text.split(/\s+/))
  const rows = records.map(({ name, ttl, type, data }) => {
    const fields = `${name} ${ttl} ${type} ${data}`.split(/\s+/)
    const pattern = patterns.find(
      (p) =>
        p.length === fields.length &&
        p.every((want, i) => want === '*' || want.toLowerCase() === fields[i].toLowerCase()),
    )
    return (pattern ?? fields).join(' ')
  })
  return rows.sort()
}

test('the vectors are there', () => {
  expect(files.length).toBeGreaterThanOrEqual(5)
})

describe.each(files)('%s', (file) => {
  const vector: Vector = JSON.parse(readFileSync(new URL(file, folder), 'utf8'))
  const server = serverOf([...vector.objects, coredns(corefileOf(vector.server))])
  test.each(vector.queries.map((query, i) => [`${i}: ${query.qname} ${query.qtype}`, query] as const))(
    '%s',
    (_, query) => {
      const asked =
        query.server === undefined
          ? server
          : serverOf([...vector.objects, coredns(corefileOf({ ...vector.server, ...query.server }))])
      const upstream = parseUpstream(query.upstream ?? vector.server.upstream, file)
      const reply = answerQuery(asked, { qname: query.qname, qtype: query.qtype, upstream })
      expect({
        rcode: reply.rcode,
        truncated: reply.truncated,
        answer: masked(reply.answer, query.answer),
        authority: masked(reply.authority, query.authority),
        additional: masked(reply.additional, query.additional),
      }).toEqual({
        rcode: query.rcode,
        truncated: query.truncated ?? false,
        answer: [...query.answer].sort(),
        authority: [...query.authority].sort(),
        additional: [...query.additional].sort(),
      })
    },
  )
})
