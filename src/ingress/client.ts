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
  const isKnown = proxyHeader !== 'unknown'
  if (isKnown && from !== '' && !allows(source.trusted, from)) return { address: from, how: null }
  const client = isKnown ? proxyHeader.client : from
  // Who is behind a load balancer of which nothing is known is taken for whom its header names.
  if (!isKnown) return from === '' ? { address: '', how: null } : besideProxyHeader(source, client, '', headers)
  return besideProxyHeader(source, client, from, headers)
}

/** @param peer  '' where it is not known: it has sent the PROXY protocol's header then, so it is trusted */
function besideProxyHeader(
  { trusted, header }: Extract<ClientSource, { kind: 'proxy-protocol' }>,
  client: string,
  peer: string,
  headers: HttpRequest['headers'],
): KnownClient {
  if (header === null || !allows(trusted, client))
    return { address: client, how: `the PROXY protocol's header names ${client} as the client` }
  const named = lastUntrusted(trusted, headers[header])
  if (named !== null)
    return {
      address: named,
      how: `${header} names ${named} as the client: whom the PROXY protocol's header names is trusted`,
    }
  const how = `the PROXY protocol's header names ${client}, which is trusted itself, so ${header} alone counts, which names nobody: the peer stays the client`
  return { address: peer, how }
}

function forwarded(trusted: SourceRanges, peer: string, header: string | undefined, name: string): KnownClient {
  const client = (allows(trusted, peer) ? lastUntrusted(trusted, header) : null) ?? peer
  return {
    address: client,
    how: client === peer ? null : `${name} of trusted peer ${peer} names ${client} as the client`,
  }
}

/** From the end of a list of addresses the first that is not trusted, else the first of the list; null for none. */
function lastUntrusted(trusted: SourceRanges, header: string | undefined): string | null {
  const addresses = (header ?? '').split(',').map((word) => word.trim())
  let client: string | null = null
  while (client === null || allows(trusted, client)) {
    const next = addresses.pop()
    if (next === undefined || !ipaddr.isValid(next)) break
    client = next
  }
  return client
}
