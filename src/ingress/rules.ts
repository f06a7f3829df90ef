/**
 * What an HTTP proxy has been told to do, in words that belong to no API: listeners, hosts, rules, actions.
 *
 * A front (`from-ingress.ts`; a Gateway API HTTPRoute front would be a second one) writes these, `table.ts` orders and
 * numbers them, `route.ts` reads them. Nothing here or behind it knows an Ingress object.
 */
import type { Condition } from './conditions.ts'
import type { LinearRegex } from './regex.ts'
import type { SourceRanges } from './source-ranges.ts'

/** A Service port as a rule names it. */
export interface BackendRef {
  readonly namespace: string
  readonly name: string
  /** Number or name as written; null where the rule gives none (never usable). */
  readonly port: number | string | null
  /** Send to the cluster IP and let kube-proxy pick, in place of picking an endpoint. */
  readonly byClusterIp: boolean
}

export type PathMatch =
  /** The whole path, byte for byte. */
  | { readonly kind: 'exact'; readonly path: string }
  /** Element by element; `path` has no slash at its end and is '' for the root. */
  | { readonly kind: 'elements'; readonly path: string }
  /** `*` for any characters, none too, and `?` for one, with regard to case, as an ALB's path pattern. */
  | { readonly kind: 'pattern'; readonly path: string }
  /** A plain string prefix, as nginx's `location /foo/`. */
  | { readonly kind: 'prefix'; readonly path: string }
  /** From the start of the path, without regard to case, as nginx's `location ~* "^…"`. */
  | { readonly kind: 'regex'; readonly regex: LinearRegex }

/** Some of a backend's requests are another's: those whose header or cookie says so, and a share of the others. */
export interface Canary {
  readonly backend: BackendRef
  /** `Ingress default/canary` */
  readonly text: string
  /** 0 to 1. */
  readonly share: number
  /** In lower case; '' for none. With `value` or `pattern` it must be that, else `always` or `never`. */
  readonly header: string
  readonly value: string
  readonly pattern: LinearRegex | null
  /** '' for none. */
  readonly cookie: string
  /** Chance alone decides, whichever of both has endpoints: the two targets of a rule with weights. */
  readonly isSplit?: boolean
}

/** What has to be shown besides the client's address, or in place of it. */
export type Authentication = {
  /** An allowed address is enough. */
  readonly orAddress: boolean
} & (
  | { readonly kind: 'password' }
  /** Another service is asked; who has no session is sent to `signIn` (nginx's variables are put in), or gets 401 where it is null. */
  | { readonly kind: 'service'; readonly signIn: string | null }
)

export type Action =
  | {
      readonly kind: 'backend'
      readonly backend: BackendRef
      readonly canary?: Canary
      /** Takes over while `backend` has no endpoint; null for none. */
      readonly instead: BackendRef | null
    }
  /** A whole URL, or a path on the request's own scheme and host. */
  | {
      readonly kind: 'redirect'
      readonly status: number
      /** `$1` and nginx's variables are put in where `fills`. */
      readonly to: string
      readonly keepsQuery: boolean
      readonly fills?: boolean
    }
  | { readonly kind: 'respond'; readonly status: number; readonly why: string }

export interface Rewrite {
  readonly regex: LinearRegex
  /** `$1` … `$9` stand for what the groups of `regex` caught. */
  readonly target: string
}

export interface Rule {
  readonly match: PathMatch
  /** The path as written: the longest is asked first. */
  readonly path: string
  /** `namespace/name` of the object that made the rule, or null for the proxy's own. */
  readonly owner: string | null
  /** For messages: `Prefix /foo of Ingress default/web`. */
  readonly text: string
  readonly action: Action
  readonly rewrite: Rewrite | null
  /** `if-certificate`: plain HTTP is sent to HTTPS where the host has a certificate. */
  readonly httpsRedirect: 'never' | 'if-certificate' | 'always'
  /** The HTTPS redirect keeps a slash at the end of the URL; ingress-nginx drops it unless told otherwise. */
  readonly keepsTrailingSlash: boolean
  readonly sourceRanges: SourceRanges | null
  /** A name and a password, or a session (401); left out: not asked for. */
  readonly authentication?: Authentication | null
  /** Which requests stay with one endpoint of the backend, in words that go on `one endpoint`; null or left out: none. */
  readonly balancing?: string | null
  /** Of a request; a larger one is answered 413. 0 or left out: no limit. */
  readonly maxBodyBytes?: number
  /** What is asked of the request besides host and path: where one does not hold, the next rule is asked. Left out: nothing. */
  readonly conditions?: readonly Condition[]
}

export interface Host {
  /** Lower case; `*.example.com` for one label before the rest; '' for any host. */
  readonly name: string
  readonly aliases: readonly string[]
  readonly rules: readonly Rule[]
  /** It takes requests of this scheme alone; left out: of both. */
  readonly scheme?: 'http' | 'https'
  /** For a path that no rule of this host matches; null leaves it to the listener. */
  readonly fallback: Rule | null
  /** TLS goes through to the backend of the rule for `/`, unopened. */
  readonly tlsPassthrough: boolean
  /** A request for exactly `/` is sent here; null for none. */
  readonly appRoot: string | null
  /** Every request is sent to the same path on this host; null for none. */
  readonly redirectToHost: string | null
  /** Clients have to show one; `errorPage` is where the others are sent, null answers them 400. Left out: not asked for. */
  readonly clientCertificate?: { readonly text: string; readonly errorPage: string | null } | null
  /** What is odd about all of its rules, in a sentence; null for nothing. */
  readonly note: string | null
}

/** Whom a proxy takes for the client of a connection or request. */
export type ClientSource =
  /** Its peer. */
  | { readonly kind: 'peer' }
  /**
   * Who the PROXY protocol's header names, if a peer in `trusted` sent it; without the header it closes the connection. Where there is
   * an HTTP `header` besides and that client is in `trusted` itself, the HTTP header alone counts.
   */
  | { readonly kind: 'proxy-protocol'; readonly trusted: SourceRanges; readonly header: string | null }
  /** The last address of this header that is not in `trusted`, if the peer is; else the peer. Header's name in lower case. */
  | { readonly kind: 'header'; readonly header: string; readonly trusted: SourceRanges }

export const PEER: ClientSource = { kind: 'peer' }

/** One proxy (all replicas of it): the Ingresses of one controller, or one Gateway. */
export interface Listener {
  /** For messages: `IngressClass public (k8s.io/ingress-nginx)`. */
  readonly text: string
  readonly hosts: readonly Host[]
  /** For a request that matches nothing at all; null answers 404. */
  readonly fallback: Rule | null
  /** The most specific host owns the request (nginx), or less specific hosts are asked too when no path of it matches. */
  readonly hostOwnsRequest: boolean
  /** Every rule that covers the host is asked in the order of `hosts`; else the most specific host first, longest path first. */
  readonly inOrder: boolean
  /** What `*.` covers. */
  readonly wildcards: 'one label' | 'any depth'
  readonly client: ClientSource
  /** X-Forwarded-Proto and X-Forwarded-Host are believed, whoever sends them; left out: no. */
  readonly believesForwarded?: boolean
  /** Of redirects to HTTPS and to the other name. */
  readonly redirectStatus: number
  /** How a request's path is read before it is matched. */
  readonly pathReading: 'nginx' | 'rfc3986' | 'as sent'
  /** How a backend's Service port and endpoints are found. */
  readonly backendLookup: 'api' | 'ingress-nginx' | 'nginx-inc' | 'traefik'
  /** Host (exact or `*.`; '' for every host) to the Secret `namespace/name`, '' for the proxy's own certificate. */
  readonly certificates: ReadonlyMap<string, string>
  /** Addresses and names on which the proxy is reached, as far as the manifests tell. */
  readonly addresses: ReadonlySet<string>
}
