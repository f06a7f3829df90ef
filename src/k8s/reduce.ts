/**
 * Manifests cut down to what has a part in the dataplane, for a trace that other people get to see.
 *
 * What stays is what the readers of kinds.ts keep: no Secret, of ConfigMaps CoreDNS' and what is read of ingress
 * controllers', no environment, no command, no managed fields. Of kinds that are warned of, kind and name stay, so that a
 * replay warns as well. Of annotations those of Kubernetes' own domains and of clouds stay, without what kubectl
 * applied last; of snippets the names.
 */
import { controllerSettings, isControllerConfig } from './controller-config.ts'
import { withoutLifecycle } from './lifecycle.ts'
import type { ManifestFile, ParsedManifests } from './load.ts'
import { POLICY_ARGUMENT } from './policy-plugin.ts'
import type { KubeObject, PodSpec } from './types.ts'

const ANNOTATION_DOMAIN =
  /^([^/]+\.)?(kubernetes\.io|k8s\.io|cattle\.io|kube-vip\.io|metallb\.(io|universe\.tf)|google\.com|gke\.io|hetzner\.cloud|openstack\.org|haproxy\.(org|com)|haproxy-ingress\.github\.io|nginx\.org|oraclecloud\.com|civo\.com)\//
const SNIPPET = /^nginx\.ingress\.kubernetes\.io\/(server|configuration|stream|auth|modsecurity)-snippet$/
const ANNOTATION_PRIVATE = /^kubectl\.kubernetes\.io\/|snippet|secret/i

/**
 * The same objects in the same files, each file a `kind: List`; files without any are left out.
 *
 * @param files   what was read, in its order
 * @param parsed  what parseManifests made of them
 * @param keepsLifecycle  whether there is a Timeline, which asks how pods come and go
 */
export function reduceManifests(
  files: readonly ManifestFile[],
  parsed: ParsedManifests,
  keepsLifecycle = false,
): ManifestFile[] {
  const items = new Map<string, object[]>(files.map(({ name }) => [name, []]))
  for (const object of parsed.objects) {
    const reduced = keepsLifecycle ? reduceObject(object) : forPackets(object)
    if (reduced !== null) items.get(object.origin.file)?.push(reduced)
  }
  for (const { apiVersion, kind, namespace, name, file } of parsed.passedOver) {
    // It is in the trace by itself.
    if (kind === 'Timeline') continue
    const metadata = { name, ...(namespace === '' ? {} : { namespace }) }
    items.get(file)?.push({ apiVersion, kind, metadata })
  }
  return [...items].flatMap(([name, own]) =>
    own.length === 0 ? [] : [{ name, text: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: own }) }],
  )
}

/** What packets hang on, as JSON, in no order that means anything: the same of manifests and of what a trace keeps of them. */
export function objectTexts({ objects }: Pick<ParsedManifests, 'objects'>): string[] {
  return objects.flatMap((object) => forPackets(object) ?? []).map((reduced) => JSON.stringify(reduced))
}

/** Without a Timeline nothing of a replay hangs on disruption budgets, probes and hooks. */
function forPackets(object: KubeObject): object | null {
  return object.kind === 'PodDisruptionBudget' ? null : withoutLifecycle(reduceObject(object))
}

function reduceObject({ origin: _, ...object }: KubeObject): object {
  const { metadata, ...body } = object
  if (body.kind === 'KubeProxyConfiguration') return body
  if (body.kind === 'ConfigMap' && isControllerConfig(metadata))
    return {
      ...body,
      data: controllerSettings(body.data ?? {}),
      metadata: { ...metadata, ...annotationsOf(metadata.annotations) },
    }
  const spec = 'spec' in body && body.spec !== undefined ? { spec: reduceSpec(body.spec) } : {}
  return { ...body, ...spec, metadata: { ...metadata, ...annotationsOf(metadata.annotations) } }
}

function reduceSpec(spec: object): object {
  if ('template' in spec) {
    const { template } = spec as { template: { metadata?: { labels?: object }; spec: PodSpec } }
    const labels = template.metadata?.labels
    return {
      ...spec,
      template: { ...(labels === undefined ? {} : { metadata: { labels } }), spec: reduceSpec(template.spec) },
    }
  }
  if (!('containers' in spec)) return spec
  const { containers } = spec as PodSpec
  return {
    ...spec,
    // Arguments are as private as the environment, but for the one that is read.
    containers: containers?.map(({ args = [], ...container }) => {
      const kept = args.filter((text) => POLICY_ARGUMENT.test(text))
      return kept.length === 0 ? container : { ...container, args: kept }
    }),
  }
}

function annotationsOf(annotations: Readonly<Record<string, string>> | undefined): { annotations?: object } {
  if (annotations === undefined) return {}
  const kept = Object.entries(annotations).flatMap(([key, value]): [string, string][] => {
    // That there is one decides whether ingress-nginx keeps the Ingress.
    if (SNIPPET.test(key)) return [[key, '(left out)']]
    return ANNOTATION_DOMAIN.test(key) && !ANNOTATION_PRIVATE.test(key) ? [[key, value]] : []
  })
  return { annotations: Object.fromEntries(kept) }
}
