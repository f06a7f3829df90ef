/**
 * `alb.ingress.kubernetes.io/conditions.NAME`: what the rules of the backend NAME ask for besides host and path.
 *
 * Values of `host-header` and `path-pattern` join those of the rule; the other kinds have to hold in addition. One that
 * names expressions (`regexValues`) is left out with a warning.
 * Source: aws-load-balancer-controller pkg/ingress/{enhanced_backend_builder,model_build_listener_rules}.go (buildConditions,
 * buildRuleConditions), docs/guide/ingress/annotations.md.
 */
import { type Fields, field, fields, objectsOf, text } from './alb-actions.ts'
import { ALB_PREFIX } from './classes.ts'
import type { Condition } from './conditions.ts'
import type { ReadIngress, Warn } from './read-ingress.ts'
import { parseRanges } from './source-ranges.ts'

export interface AlbConditions {
  readonly hosts: readonly string[]
  readonly paths: readonly string[]
  readonly others: readonly Condition[]
}

const NONE: AlbConditions = { hosts: [], paths: [], others: [] }

/** Warnings: W_INGRESS_ANNOTATION, W_NOT_MODELLED. @param name  of the rule's backend */
export function conditionsOf(ingress: ReadIngress, name: string, warn: Warn): AlbConditions {
  const key = `${ALB_PREFIX}conditions.${name}`
  const written = ingress.annotations.get(key)
  if (written === undefined) return NONE
  const where = `${ingress.text}, annotation ${key}`
  const list = listOf(written)
  if (list === null) {
    warn(
      where,
      'W_INGRESS_ANNOTATION',
      'is no JSON list: the controller refuses the whole load balancer; it is ignored here',
    )
    return NONE
  }
  const hosts: string[] = []
  const paths: string[] = []
  const others: Condition[] = []
  for (const one of list) {
    const kind = text(one, 'field')
    const config = configOf(one, kind)
    if (strings(config, 'regexValues').length > 0) {
      warn(where, 'W_NOT_MODELLED', `regexValues of ${kind} are not modelled: the rule is taken without them`)
      continue
    }
    const values = strings(config, 'values')
    if (kind === 'host-header') hosts.push(...values.map((host) => host.toLowerCase()))
    else if (kind === 'path-pattern') paths.push(...values)
    else {
      const condition = conditionOf(kind, config, values)
      if (condition === null)
        warn(where, 'W_INGRESS_ANNOTATION', `${kind || '(none)'} is no field of a condition; it is ignored`)
      else others.push(condition)
    }
  }
  return { hosts, paths, others }
}

function conditionOf(kind: string, config: Fields, values: readonly string[]): Condition | null {
  switch (kind) {
    case 'http-header':
      return { kind: 'header', name: text(config, 'httpHeaderName').toLowerCase(), values }
    case 'http-request-method':
      return { kind: 'method', values }
    case 'query-string': {
      const pairs = field(config, 'values')
      const read = objectsOf(pairs).map((pair) => ({
        key: text(pair, 'key'),
        value: text(pair, 'value'),
      }))
      return { kind: 'query', pairs: read }
    }
    case 'source-ip':
      return { kind: 'source', ranges: { allow: parseRanges(values.join(',')).ranges, deny: [] } }
    default:
      return null
  }
}

/** `httpHeaderConfig` of `http-header`, in either spelling; Amazon writes HTTP and IP in capitals, too. */
function configOf(one: Fields, kind: string): Fields {
  const wanted = `${kind.replaceAll('-', '')}config`
  const key = Object.keys(one).find((name) => name.toLowerCase() === wanted)
  return key === undefined ? {} : fields(one, key)
}

function strings(config: Fields, name: string): string[] {
  const value = field(config, name)
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : []
}

function listOf(json: string): Fields[] | null {
  try {
    const value: unknown = JSON.parse(json)
    return Array.isArray(value) ? objectsOf(value) : null
  } catch {
    return null
  }
}
