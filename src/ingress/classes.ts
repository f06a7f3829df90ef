/**
 * Which controller serves which Ingress.
 *
 * `spec.ingressClassName` names an IngressClass; without it the old annotation `kubernetes.io/ingress.class` does; without
 * both, the default class (the newest, should there be several) is what admission would have written. An Ingress that names
 * no class that exists is served by nobody. Where the manifests hold no IngressClass at all, the classes that Ingresses name
 * are taken to exist, as the controller's own installation would have made them; a warning says so.
 *
 * All classes of one controller are one group: its replicas serve them as one proxy, so their rules merge.
 * Source: the API text of IngressSpec.ingressClassName; plugin/pkg/admission/network/defaultingressclass; ingress-nginx
 * store.GetIngressClass (field first, then annotation).
 */
import type { Warning } from '../errors.ts'
import type { Cluster } from '../k8s/cluster.ts'
import type { Ingress, IngressClass } from '../k8s/types.ts'
import { cloudOf, isCloudController, proxyOf } from './choose-path.ts'

export interface ControllerGroup {
  /** `IngressClass public (example.com/controller)`. */
  readonly text: string
  /** Names of its IngressClasses, those that exist and those that Ingresses name. */
  readonly classes: readonly string[]
  /** `spec.controller`; '' where it is not known. */
  readonly controller: string
  readonly preset: 'api' | 'ingress-nginx' | 'nginx-inc' | 'haproxy' | 'haproxy-ingress' | 'traefik' | 'alb' | 'gce'
  /** Oldest first, then in the order written; an ALB's by group.order, then by name. */
  readonly ingresses: readonly Ingress[]
}

const DEFAULT_CLASS = 'ingressclass.kubernetes.io/is-default-class'
export const CLASS_ANNOTATION: string = 'kubernetes.io/ingress.class'
export const NGINX_PREFIX: string = 'nginx.ingress.kubernetes.io/'
export const ALB_PREFIX: string = 'alb.ingress.kubernetes.io/'

interface Group {
  readonly classes: string[]
  readonly controller: string
  readonly ingresses: Ingress[]
}

/**
 * Sort the Ingresses of a cluster by controller. Groups come in the order of the classes' names, the default class's first.
 *
 * Warnings: W_INGRESS_CLASS for an Ingress nobody serves, for a class that was assumed, for several defaults.
 */
export function groupByController(cluster: Cluster): {
  readonly groups: readonly ControllerGroup[]
  readonly warnings: readonly Warning[]
} {
  const warnings: Warning[] = []
  const warn = (where: string, message: string): void => void warnings.push({ code: 'W_INGRESS_CLASS', where, message })
  const classes = [...cluster.ingressClasses].sort((a, b) => compare(a.metadata.name, b.metadata.name))
  const byName = new Map(classes.map((ingressClass) => [ingressClass.metadata.name, ingressClass]))
  const defaultClass = findDefault(classes, warn)
  const groups = new Map<string, Group>()
  const groupOf = (className: string): Group => {
    const ingressClass = byName.get(className)
    const controller = ingressClass?.spec?.controller ?? ''
    // Two classes that do not say who serves them are not known to share a proxy.
    const key = controller === '' ? `class ${className}` : controller
    let group = groups.get(key)
    if (group === undefined) {
      group = { classes: [], controller, ingresses: [] }
      groups.set(key, group)
    }
    if (!group.classes.includes(className)) group.classes.push(className)
    return group
  }
  if (defaultClass !== null) groupOf(defaultClass.metadata.name)
  for (const ingressClass of classes) groupOf(ingressClass.metadata.name)

  for (const ingress of oldestFirst(cluster.ingresses)) {
    const where = ingressText(ingress)
    const field = text(ingress.spec?.ingressClassName)
    const annotation = text(ingress.metadata.annotations?.[CLASS_ANNOTATION])
    if (field !== '' && annotation !== '')
      warn(
        where,
        `both spec.ingressClassName and annotation ${CLASS_ANNOTATION} are set (the API server refuses that); the field is used`,
      )
    const named = classNameOf(ingress)
    if (named === '') {
      if (defaultClass !== null) groupOf(defaultClass.metadata.name).ingresses.push(ingress)
      else if (classes.length === 0) {
        warn(where, 'names no class and there is no IngressClass; one controller is assumed to serve it')
        groupOf('').ingresses.push(ingress)
      } else warn(where, 'names no class and no IngressClass is the default: no controller serves it')
      continue
    }
    const className = field === '' ? classOfAnnotation(annotation, byName, classes) : named
    if (byName.has(className)) groupOf(className).ingresses.push(ingress)
    else if (isCloudController(className)) groupOf(className).ingresses.push(ingress)
    else if (classes.length === 0) {
      warn(where, `IngressClass ${named} is not in the manifests; it is assumed to exist`)
      groupOf(className).ingresses.push(ingress)
    } else warn(where, `IngressClass ${named} does not exist: no controller serves it`)
  }
  const served = [...groups.values()].filter((group) => group.ingresses.length > 0)
  return { groups: served.map(describe).flatMap(byBalancer), warnings }
}

/** The class that an Ingress names, by its field or the old annotation; '' for none. */
export function classNameOf(ingress: Ingress): string {
  return text(ingress.spec?.ingressClassName) || text(ingress.metadata.annotations?.[CLASS_ANNOTATION])
}

export function ingressText(ingress: Ingress): string {
  return `Ingress ${namespaceOf(ingress)}/${ingress.metadata.name}`
}

export function namespaceOf(ingress: Ingress): string {
  return ingress.metadata.namespace ?? 'default'
}

/** ingress-nginx listens for the annotation value `nginx`, whatever its class object is called. */
function classOfAnnotation(
  annotation: string,
  byName: ReadonlyMap<string, IngressClass>,
  classes: readonly IngressClass[],
): string {
  if (byName.has(annotation) || annotation !== 'nginx') return annotation
  return classes.find((ingressClass) => isNginx(ingressClass.spec?.controller ?? '', ''))?.metadata.name ?? annotation
}

/** `k8s.io/ingress-nginx` and the names that its guide to several controllers gives (`k8s.io/internal-ingress-nginx`). */
function isNginx(controller: string, className: string): boolean {
  if (controller === '') return className === 'nginx'
  return /^k8s\.io\/.*ingress-nginx/.test(controller)
}

function describe(group: Group): ControllerGroup {
  const { controller, ingresses } = group
  const names = group.classes.filter((name) => name !== '')
  const annotated = ingresses.some((ingress) =>
    Object.keys(ingress.metadata.annotations ?? {}).some((key) => key.startsWith(NGINX_PREFIX)),
  )
  const unnamed = names.length === 0
  const nginx = unnamed ? annotated : names.some((name) => isNginx(controller, name))
  const who = controller === '' ? (nginx ? 'taken for ingress-nginx' : 'controller not known') : controller
  const classText = unnamed ? 'no IngressClass' : `IngressClass ${names.join(', ')}`
  const named = controller || (names[0] ?? '')
  const preset = nginx ? 'ingress-nginx' : (cloudOf(named) ?? proxyOf(named) ?? 'api')
  return { text: `${classText} (${who})`, classes: names, controller, preset, ingresses }
}

/**
 * Clouds make a load balancer an Ingress; AWS' controller makes one for all that name the same group, wherever they are.
 * Source: aws-load-balancer-controller docs/guide/ingress/annotations.md (group.name, group.order), pkg/ingress/group_loader.go.
 */
function byBalancer(group: ControllerGroup): ControllerGroup[] {
  if (group.preset !== 'alb' && group.preset !== 'gce') return [group]
  const balancers = new Map<string, Ingress[]>()
  for (const ingress of group.ingresses) {
    const key = balancerKey(ingress, group.preset)
    const others = balancers.get(key)
    if (others === undefined) balancers.set(key, [ingress])
    else others.push(ingress)
  }
  return Array.from(balancers, ([key, ingresses]) => ({
    ...group,
    text: `the load balancer of ${key}, ${group.text}`,
    ingresses: group.preset === 'alb' ? inGroupOrder(ingresses) : ingresses,
  }))
}

/** `group shop` or `Ingress default/web`: Ingresses with one key share a load balancer. */
export function balancerKey(ingress: Ingress, preset: ControllerGroup['preset']): string {
  const name = preset === 'alb' ? text(ingress.metadata.annotations?.[`${ALB_PREFIX}group.name`]).trim() : ''
  return name === '' ? ingressText(ingress) : `group ${name}`
}

function inGroupOrder(ingresses: readonly Ingress[]): Ingress[] {
  const order = (ingress: Ingress): number => {
    const written = Number(text(ingress.metadata.annotations?.[`${ALB_PREFIX}group.order`]) || 0)
    return Number.isInteger(written) ? written : 0
  }
  return [...ingresses].sort((a, b) => order(a) - order(b) || compare(ingressText(a), ingressText(b)))
}

function findDefault(
  classes: readonly IngressClass[],
  warn: (where: string, message: string) => void,
): IngressClass | null {
  const marked = classes.filter((ingressClass) => String(ingressClass.metadata.annotations?.[DEFAULT_CLASS]) === 'true')
  // Admission takes the newest, then the first by name; `classes` is in the order of names already.
  const newest = [...marked].sort((a, b) => compare(created(b), created(a)))[0]
  if (newest === undefined) return null
  if (marked.length > 1)
    warn(
      `IngressClass ${newest.metadata.name}`,
      `${marked.length} IngressClasses are marked as default; the newest, ${newest.metadata.name}, is used`,
    )
  return newest
}

/**
 * Controllers settle conflicts in favour of the older object. Where no creationTimestamp tells, the order written does:
 * it is the order in which `kubectl apply` creates them.
 */
function oldestFirst(ingresses: readonly Ingress[]): readonly Ingress[] {
  const allDated = ingresses.every((ingress) => created(ingress) !== '')
  return allDated
    ? [...ingresses].sort((a, b) => compare(created(a), created(b)) || compare(ingressText(a), ingressText(b)))
    : ingresses
}

function created(object: Ingress | IngressClass): string {
  return text(object.metadata.creationTimestamp)
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
