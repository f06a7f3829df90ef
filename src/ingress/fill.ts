/**
 * What nginx puts into a URL of its configuration: `$1` … `$9` and variables. Other proxies' placeholders are turned into these.
 *
 * Source: nginx ngx_http_variables.c; set-misc-nginx-module set_escape_uri for `escaped_request_uri`, which ingress-nginx sets.
 */
import { type HttpRequest, readHost } from './request.ts'
import type { Rule } from './rules.ts'

/** Groups of the location's expression, '' for those it has not; a variable that is not known stays as it is. */
export function filled(to: string, rule: Rule, path: string, request: HttpRequest): string {
  const groups = rule.match.kind === 'regex' ? (rule.match.regex.exec(path, true) ?? []) : []
  const uri = withQuery(request.path, request.query)
  const variables: Readonly<Record<string, string>> = {
    scheme: request.scheme,
    pass_access_scheme: request.scheme,
    host: readHost(request.host) ?? '',
    http_host: request.host,
    request_uri: uri,
    escaped_request_uri: encodeURIComponent(uri).replace(
      /[!'()*]/g,
      (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
    ),
    uri: path,
    args: request.query,
    query_string: request.query,
    is_args: request.query === '' ? '' : '?',
    server_port: request.scheme === 'https' ? '443' : '80',
    path_below_root: path.slice(1),
  }
  return to
    .replace(/\$(\d)/g, (_whole, digit: string) => groups[Number(digit)] ?? '')
    .replace(
      /\$(?:\{(\w+)\}|(\w+))/g,
      (whole, braced?: string, plain?: string) => variables[braced ?? plain ?? ''] ?? whole,
    )
}

export function withQuery(path: string, query: string): string {
  return query === '' ? path : `${path}?${query}`
}
