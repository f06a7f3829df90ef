/**
 * The `alb.ingress.kubernetes.io/*` annotations that decide where a request goes and are not modelled: a warning each.
 *
 * Source: aws-load-balancer-controller docs/guide/ingress/annotations.md.
 */
import type { ReadIngress, Warn } from './read-ingress.ts'

const PREFIX = 'alb.ingress.kubernetes.io/'
const ROUTING = /^(actions\.|conditions\.|ssl-redirect$|auth-|use-regex-path-match$)/

/** Warnings: W_NOT_MODELLED. */
export function warnOfAlbAnnotations(ingress: ReadIngress, warn: Warn): void {
  for (const [key, value] of ingress.annotations) {
    if (!key.startsWith(PREFIX)) continue
    const name = key.slice(PREFIX.length)
    const where = `${ingress.text}, annotation ${key}`
    if (ROUTING.test(name)) warn(where, 'W_NOT_MODELLED', 'is not modelled')
    if (name === 'target-group-attributes') {
      for (const attribute of value.split(',').map((one) => one.trim())) {
        if (asksForMore(attribute)) warn(where, 'W_NOT_MODELLED', `${attribute} is not modelled: targets take turns`)
      }
    }
  }
}

/** Stickiness, or an order that is not round robin. */
function asksForMore(attribute: string): boolean {
  const [name = '', value = ''] = attribute.split('=').map((part) => part.trim())
  if (name === 'stickiness.enabled') return value === 'true'
  return name === 'load_balancing.algorithm.type' && value !== 'round_robin'
}
