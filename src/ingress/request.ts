/**
 * An HTTP request as a proxy receives it, and how its host and path are read before they are matched.
 *
 * Hosts are compared in lower case, without port and final dot; the empty host is a request without a Host header.
 * Paths are read in one of two ways: as nginx reads them (all escapes decoded, `//` merged, dot segments resolved, 400 for
 * what cannot be) or as RFC 3986 §6.2.2 compares them (unreserved characters decoded, dot segments resolved, nothing else).
 * Nothing here throws on a request; only a line that is no request at all is a UserError.
 */
import { UserError } from '../errors.ts'
import type { ProxyHeader } from './client.ts'

export interface HttpRequest {
  /** Of the line it came from; '' where it came from nowhere. */
  readonly id: string
  readonly scheme: 'http' | 'https'
  /** The client has spoken TLS to a load balancer that ended it; `scheme` is what the proxy is sent. */
  readonly tlsEndedBefore?: boolean
  /** What the URL names as the machine to connect to: name or address, without port; brackets kept for IPv6. */
  readonly authority: string
  /** The Host header as sent; '' for none. */
  readonly host: string
  /** As sent, escapes and all; begins with `/` unless the client sent garbage. */
  readonly path: string
  /** Without the `?`; '' for none. */
  readonly query: string
  readonly method: string
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  /** The address that the proxy sees as its peer; '' where it is not known. */
  readonly from: string
  /** The client knows what it is asked for (name and password), whatever its headers; left out: they tell. */
  readonly isAuthenticated?: boolean
  /** Whether the PROXY protocol comes before it; left out: not known. */
  readonly proxyHeader?: ProxyHeader
}

/** nginx refuses a request line over one of its large_client_header_buffers (8 KiB) with 414; it bounds our work too. */
export const MAX_PATH_LENGTH: number = 8192

/**
 * Make a request of an ndjson line `{id, url, host?, method?, headers?, from?}`.
 *
 * `host` overrides the Host header, which overrides the URL's authority; `host: ''` sends none.
 * Errors: E_USAGE (exit 2) for a line that is no object, a URL that is not http(s), a field of another type.
 */
export function parseHttpLine(line: unknown): HttpRequest {
  if (typeof line !== 'object' || line === null || Array.isArray(line))
    throw usage('', 'an HTTP line must be an object like {"id":"r1","url":"http://host/path"}')
  const fields = line as Readonly<Record<string, unknown>>
  const id = typeof fields['id'] === 'number' ? String(fields['id']) : textField(fields, 'id', '', '')
  const url = textField(fields, 'url', null, id)
  const parts = /^(https?):\/\/([^/?#\\]*)([^?#]*)(?:\?([^#]*))?(?:#[\s\S]*)?$/i.exec(url)
  if (parts === null) throw usage(id, `${JSON.stringify(url)} is not an http or https URL`)
  const authority = parts[2]!.slice(parts[2]!.lastIndexOf('@') + 1)
  const headers = headerFields(fields['headers'], id)
  const path = parts[3] === '' ? '/' : parts[3]!
  return {
    id,
    scheme: parts[1]!.toLowerCase() === 'https' ? 'https' : 'http',
    authority: withoutPort(authority),
    host: textField(fields, 'host', headers['host'] ?? authority, id),
    path,
    query: parts[4] ?? '',
    method: textField(fields, 'method', 'GET', id).toUpperCase(),
    headers,
    from: textField(fields, 'from', '', id),
  }
}

/** A request for a host and path as a trace has them: plain HTTP, GET, no query. */
export function requestFor(host: string, path: string, scheme: 'http' | 'https' = 'http'): HttpRequest {
  const mark = path.indexOf('?')
  return {
    id: '',
    scheme,
    authority: withoutPort(host),
    host,
    path: mark < 0 ? path : path.slice(0, mark),
    query: mark < 0 ? '' : path.slice(mark + 1),
    method: 'GET',
    headers: {},
    isAuthenticated: true,
    from: '',
  }
}

function textField(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  missing: string | null,
  id: string,
): string {
  const value = fields[name]
  if (value === undefined || value === null) {
    if (missing === null) throw usage(id, `an HTTP line needs a "${name}"`)
    return missing
  }
  if (typeof value !== 'string') throw usage(id, `"${name}" must be a string`)
  return value
}

function headerFields(value: unknown, id: string): Record<string, string> {
  const headers: Record<string, string> = Object.create(null) as Record<string, string>
  if (value === undefined || value === null) return headers
  if (typeof value !== 'object' || Array.isArray(value)) throw usage(id, '"headers" must be an object of strings')
  for (const [name, content] of Object.entries(value)) {
    if (typeof content !== 'string') throw usage(id, `header ${JSON.stringify(name)} must be a string`)
    headers[name.toLowerCase()] = content
  }
  return headers
}

function usage(id: string, message: string): UserError {
  return new UserError('E_USAGE', message, { where: id === '' ? '' : `line ${id}`, exitCode: 2 })
}

function withoutPort(authority: string): string {
  const bracket = /^\[[^\]]*\]/.exec(authority)
  if (bracket !== null) return bracket[0]
  const colon = authority.indexOf(':')
  return colon < 0 ? authority : authority.slice(0, colon)
}

/**
 * The host to match: lower case, no port, no final dot; '' where the request has none.
 * null for what no server accepts as a Host header (RFC 9112 §3.2 asks for 400).
 */
export function readHost(header: string): string | null {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (/[\u0000-\u0020\u007f/\\?#@]/.test(header)) return null
  const host = withoutPort(header).toLowerCase()
  return host.endsWith('.') ? host.slice(0, -1) : host
}

/** `*.example.com` for `www.example.com`: the one wildcard that covers a host; null for a host of one label. */
export function wildcardOf(host: string): string | null {
  if (host.startsWith('[')) return null
  const dot = host.indexOf('.')
  return dot < 1 || dot === host.length - 1 ? null : `*${host.slice(dot)}`
}

/** What a path is to the matcher, or why it is refused. */
export type PathReading = { readonly path: string } | { readonly status: 400 | 414; readonly why: string }

export function readPath(path: string, way: 'nginx' | 'rfc3986' | 'as sent'): PathReading {
  if (path.length > MAX_PATH_LENGTH) return { status: 414, why: `the path is longer than ${MAX_PATH_LENGTH} bytes` }
  if (path !== '' && !path.startsWith('/')) return { status: 400, why: 'the path does not begin with /' }
  if (way === 'as sent') return { path: path === '' ? '/' : path }
  return way === 'nginx' ? nginxPath(path) : { path: comparablePath(path) }
}

/** Source: ngx_http_parse_complex_uri; `merge_slashes` is on unless a ConfigMap says otherwise. */
function nginxPath(path: string): PathReading {
  if (/%(?![0-9A-Fa-f]{2})/.test(path)) return { status: 400, why: 'the path holds a % that begins no escape' }
  if (/%00/.test(path)) return { status: 400, why: 'the path holds a null byte' }
  const segments: string[] = []
  const decoded = path.includes('%') ? decodeBytes(path) : path
  const words = decoded.split('/')
  for (const word of words) {
    if (word === '..') {
      if (segments.pop() === undefined) return { status: 400, why: 'the path leads above /' }
    } else if (word !== '' && word !== '.') segments.push(word)
  }
  const last = words.at(-1)!
  const asFolder = last === '' || last === '.' || last === '..'
  return { path: segments.length === 0 ? '/' : `/${segments.join('/')}${asFolder ? '/' : ''}` }
}

/** Escaped bytes as the characters they spell, or one character a byte where they are not UTF-8. */
function decodeBytes(path: string): string {
  return path.replace(/(?:%[0-9A-Fa-f]{2})+/g, (run) => {
    const bytes = Buffer.from(run.replaceAll('%', ''), 'hex')
    const text = bytes.toString('utf8')
    return text.includes('\uFFFD') ? bytes.toString('latin1') : text
  })
}

/** Two paths that RFC 3986 calls equivalent have the same text here; rules' own paths go through it as well. */
export function comparablePath(path: string): string {
  const decoded = path.includes('%')
    ? path.replace(/%[0-9A-Fa-f]{2}/g, (byte) => {
        const char = String.fromCharCode(Number.parseInt(byte.slice(1), 16))
        return /[A-Za-z0-9\-._~]/.test(char) ? char : byte.toUpperCase()
      })
    : path
  // Characters that may only travel escaped are compared escaped: a manifest may well hold a plain é.
  const escaped = decoded.replace(/[^\u0021-\u007e]+/gu, percentEncoded)
  return removeDotSegments(escaped === '' ? '/' : escaped)
}

function percentEncoded(text: string): string {
  return Array.from(Buffer.from(text, 'utf8'), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(
    '',
  )
}

/** RFC 3986 §5.2.4 for a path that begins with a slash; empty elements are elements and stay. */
function removeDotSegments(path: string): string {
  if (!path.includes('/.')) return path
  const kept: string[] = []
  const words = path.split('/').slice(1)
  words.forEach((word, i) => {
    const isLast = i === words.length - 1
    if (word === '..') kept.pop()
    if (word === '.' || word === '..') {
      if (isLast) kept.push('')
    } else kept.push(word)
  })
  return `/${kept.join('/')}`
}
