/**
 * Whether a proxy lets a request through its rule: size of its body, the client's address, passwords, a service that is asked.
 *
 * The body's announced size is looked at when the location is found, before any redirect. Address, password and the service of
 * `auth-url` belong to one phase: all of them have to agree or, with `satisfy any`, one. What the service would say is not
 * known: a request that brings a Cookie or an Authorization header is taken to have a session, one without either not.
 * Source: nginx ngx_http_core_find_config_phase, ngx_http_core_access_phase, ngx_http_auth_request_module; ingress-nginx
 * template/nginx.tmpl (error_page 401), template.go buildAuthSignURL.
 */
import { filled } from './fill.ts'
import type { HttpRequest } from './request.ts'
import type { Rule } from './rules.ts'
import { allows } from './source-ranges.ts'

/** What the proxy answers itself: a status, or a redirect to `location`. */
export interface Refusal {
  readonly status: number
  readonly location: string | null
  readonly why: string
}

/** @returns  null where the body is small enough, or the request does not say how large it is */
export function tooLarge({ maxBodyBytes = 0, text }: Rule, { headers }: HttpRequest): Refusal | null {
  const announced = headers['content-length'] ?? ''
  if (maxBodyBytes === 0 || !/^\d+$/.test(announced) || Number(announced) <= maxBodyBytes) return null
  const why = `the body has ${announced} bytes, and ${text} takes ${maxBodyBytes} (proxy-body-size)`
  return { status: 413, location: null, why }
}

/**
 * @param client  whom the proxy takes for the client; '' where nobody knows
 * @param say     is told what was decided on the way
 * @returns       null where the client is let in
 */
export function accessOf(
  rule: Rule,
  path: string,
  request: HttpRequest,
  client: string,
  say: (detail: string) => void,
): Refusal | null {
  const { sourceRanges, authentication = null } = rule
  const isUnknown = sourceRanges !== null && client === ''
  if (isUnknown) say('source ranges are set, but the client address is not known: not checked')
  const isListed = sourceRanges === null || isUnknown || allows(sourceRanges, client)
  if (authentication === null || !authentication.orAddress || sourceRanges === null) {
    if (!isListed) {
      const why = `client ${client} is not in the source ranges of ${rule.text}`
      return { status: 403, location: null, why }
    }
  } else if (isListed) {
    say(`satisfy any: client ${client} is in the source ranges, nothing else is asked for`)
    return null
  }
  if (authentication === null || request.isAuthenticated === true) return null
  return authentication.kind === 'password'
    ? passwordOf(rule, request, say)
    : sessionOf(rule, authentication.signIn, path, request, say)
}

function passwordOf(rule: Rule, { headers }: HttpRequest, say: (detail: string) => void): Refusal | null {
  if (headers['authorization'] === undefined) {
    const why = `${rule.text} asks for a name and a password (auth-type), and the request has none`
    return { status: 401, location: null, why }
  }
  say('the Authorization header is taken for right: passwords are in a Secret, which is not read')
  return null
}

function sessionOf(
  rule: Rule,
  signIn: string | null,
  path: string,
  request: HttpRequest,
  say: (detail: string) => void,
): Refusal | null {
  const { headers } = request
  if (headers['cookie'] !== undefined || headers['authorization'] !== undefined) {
    say('auth-url is asked about the request; its Cookie or Authorization header is taken for a session')
    return null
  }
  const why = `the service of auth-url is asked about ${rule.text}, and a request without Cookie and Authorization has no session (401)`
  if (signIn === null) return { status: 401, location: null, why }
  return { status: 302, location: filled(signIn, rule, path, request), why: `${why}; auth-signin sends it there` }
}

/** With the URL asked for as a parameter of it, unless one is there. */
export function signInUrl(written: string, parameter: string): string {
  const query = written.split('?').slice(1).join('?')
  const names = query.split('&').map((pair) => pair.split('=', 1)[0])
  if (names.includes(parameter)) return written
  return `${written}${query === '' ? '?' : '&'}${parameter}=$pass_access_scheme://$http_host$escaped_request_uri`
}
