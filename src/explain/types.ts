/**
 * What `explain` says about one packet or request: the JSON of schemas/explain.schema.json, and the words of the text form.
 *
 * A step is one thing that decided: where, which stage of the packet's way, and the object and field behind it. Steps are
 * in the order in which the packet met them.
 */

export type Stage =
  | 'conntrack'
  | 'frontend'
  | 'source-ranges'
  | 'policy'
  | 'affinity'
  | 'endpoint'
  | 'dnat'
  | 'masquerade'
  | 'route'
  | 'deliver'
  | 'network-policy'
  | 'dns'
  | 'ingress'

export interface Step {
  /** `node n1`, `load balancer`, `client`, `pod default/web-1`. */
  readonly at: string
  readonly stage: Stage
  readonly detail: string
}

/** `none`: kube-proxy does nothing with the packet. */
export type VerdictName = 'dnat' | 'accept' | 'drop' | 'reject' | 'none'

export type FrontendName = 'clusterIP' | 'nodePort' | 'loadBalancerIP' | 'externalIP' | 'hostPort'

export interface IngressAnswer {
  readonly status: number
  /** `namespace/name`. */
  readonly service: string | null
  readonly port: number | null
  readonly ingress: string | null
}

export type LineId = string | number | null

/** The JSON document; fields in the order in which they are printed. */
export interface Explanation {
  readonly schemaVersion: 1
  /** Of the line it answers; left out for `--from … --to …`. */
  readonly id?: LineId
  readonly verdict: VerdictName
  /** Every `ip:port` that a new connection could be given, in rule order. */
  readonly endpoints: readonly string[]
  /** Of `endpoints` those that NetworkPolicies let nothing through to, with the name of the drop reason; left out where there are none. */
  readonly blocked?: readonly { readonly endpoint: string; readonly reason: string }[]
  /** Whether some endpoint of the set would be masqueraded to. */
  readonly masquerade: boolean
  /** Addresses that whoever gets it sees as the client's, one for each way it may take; none where nobody gets it. */
  readonly seen: readonly string[]
  /** Name of the drop reason in drop-reasons.ts, `http-<status>` for a refused request, or null. */
  readonly reason: string | null
  /** `namespace/name:port`. */
  readonly service: string | null
  readonly frontend: FrontendName | null
  readonly node: string | null
  readonly steps: readonly Step[]
  /** With `--stateful`: the endpoint that this connection has. */
  readonly chosen?: string | null
  /** For a URL. */
  readonly ingress?: IngressAnswer
  /** At a time of a Timeline: who learnt what when, each line with its time; left out where nobody is behind. */
  readonly timeline?: readonly string[]
}

/** An explanation with what only the text form shows. */
export interface Answer {
  /** `203.0.113.7 → 198.51.100.10:80/tcp`. */
  readonly title: string
  /** The verdict as a sentence. */
  readonly conclusion: string
  readonly explanation: Explanation
  /** The packet came through a machine outside the cluster that balances connections. */
  readonly balanced?: boolean
}

/** What a line or the flags ask for could not be understood: message and what to do about it. */
export type Fail = (message: string, hint?: string) => Error
