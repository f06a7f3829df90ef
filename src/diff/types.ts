/** What differs between two sets of manifests: the JSON contract of `dpemu diff`, and the records it is gathered from. */
import type { Warning } from '../errors.ts'

/** What about a packet, a name or a request is another. */
export type EffectKind =
  | 'reachability'
  | 'endpoints'
  | 'client-address'
  | 'hop'
  | 'reply'
  | 'affinity'
  | 'health-check'
  | 'entry-nodes'
  | 'dns'
  | 'resolv-conf'
  | 'route'

/** One thing that the manifests say otherwise. */
export interface ObjectChange {
  /** `Service shop/web`, `KubeProxyConfiguration`, `NetworkPolicy shop/deny`. */
  readonly object: string
  /** `externalTrafficPolicy`; '' for the object as a whole. */
  readonly field: string
  /** As written in a sentence; '' for what was not there. */
  readonly from: string
  readonly to: string
}

/** One question with its two answers, and how to ask it again. */
export interface Example {
  /** As `explain --from` takes it; '' for nobody in particular. */
  readonly from: string
  readonly to: string
  /** What `explain` or `dig` concludes. */
  readonly old: string
  readonly new: string
  /** The command without its manifests: `explain --from node/a --to 10.96.0.1:80`. */
  readonly command: string
}

/** The same change of behaviour, for all that it touches. */
export interface Effect {
  readonly kind: EffectKind
  readonly from: string
  readonly to: string
  /** Clients of every class that sees it, without repetition; the classes by name. */
  readonly clients: number
  readonly clientClasses: readonly string[]
  /** Addresses with port, names or URLs, without repetition. */
  readonly targets: readonly string[]
  readonly example: Example
}

/** One cause, and everything that comes of it. */
export interface Change {
  /** Whose behaviour it is: `Service shop/web`; several for a cause that touches several. */
  readonly subjects: readonly string[]
  /** Empty: no changed field accounts for it by itself, the outcome alone is told. */
  readonly causes: readonly ObjectChange[]
  readonly effects: readonly Effect[]
}

export interface Diff {
  readonly changes: readonly Change[]
  /** Answers that differ, one for each class of clients and target. */
  readonly differences: number
  /** Questions that both sides were asked; what hangs on nothing that differs is not. */
  readonly questions: number
  /** What was not asked, in a sentence each. */
  readonly notCompared: readonly string[]
  readonly warnings: { readonly old: readonly Warning[]; readonly new: readonly Warning[] }
}
