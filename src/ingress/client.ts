/**
 * Whom a proxy takes for the client of a request: its peer, or whom a header that it trusts names.
 *
 * Source: nginx ngx_http_realip_module (recursive), ngx_proxy_protocol_read.
 */
import ipaddr from 'ipaddr.js'
import type { HttpRequest } from './request.ts'
import type { ClientSource } from './rules.ts'
import { allows, type SourceRanges } from './source-ranges.ts'

/** What a load balancer before the proxy puts in front of a connection. */
export type ProxyHeader =
  /** Nobody says; the request's `from` is then whom a header would name. */
  | 'unknown'
  | 'none'
  /** `{ client }` is named. */
  | { readonly client: string }

export type KnownClient =
  /** `''` where nobody knows it. */
  | { readonly address: string; readonly how: string | null }
  /** The proxy does not understand the connection. */
  | { readonly status: 400 | 444; readonly why: string }

export function clientOf(source: ClientSource, request: HttpRequest): KnownClient {
  const { from, proxyHeader = 'unknown', headers } = request
  if (source.kind !== 'proxy-protocol') {
    if (typeof proxyHeader === 'object')
      return {
        status: 400,
        why: 'the load balancer sends the PROXY protocol, which the proxy is not told to expect (use-proxy-protocol): it takes the header for a request',
      }
    if (source.kind === 'peer') return { address: from, how: null }
    return forwarded(source.trusted, from, headers[source.header], source.header)
  }
  if (proxyHeader === 'none')
    return {
      status: 444,
      why: 'the proxy expects the PROXY protocol (use-proxy-protocol) and nothing on this way sends its header: it closes the connection without an answer',
    }
  if (proxyHeader === 'unknown') return { address: from, how: null }
  if (from !== '' && !allows(source.trusted, from)) return { address: from, how: null }
  const { client } = proxyHeader
  if (source.header === null || !allows(source.trusted, client))
    return { address: client, how: `the PROXY protocol's header names ${client} as the client` }
  const read = forwarded(source.trusted, from, headers[source.header], source.header)
  if (!('address' in read) || read.how !== null) return read
  const how = `the PROXY protocol's header names ${client}, which is trusted itself, so ${source.header} alone counts, which names nobody: the peer stays the client`
  return { address: from, how }
}

function forwarded(trusted: SourceRanges, peer: string, header: string | undefined, name: string): KnownClient {
  const addresses = (header ?? '').split(',').map((word) => word.trim())
  let client = peer
  while (allows(trusted, client)) {
    const next = addresses.pop()
    if (next === undefined || !ipaddr.isValid(next)) break
    client = next
  }
  return {
    address: client,
    how: client === peer ? null : `${name} of trusted peer ${peer} names ${client} as the client`,
  }
}
