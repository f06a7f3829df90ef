/**
 * ingress-nginx between clients and pods: which pods its workers know, and how often it tries.
 *
 * A change waits for the controller's rate limit (0.3 syncs a second, the first at once) and then for each worker's poll (once a second). Only
 * ready endpoints are known; there is no fallback to those that are ending. A connection to a pod that is refused is tried with another pod at once,
 * one that is not answered after the connect timeout.
 * Source: kubernetes/ingress-nginx internal/task/queue.go, rootfs/etc/nginx/lua/balancer.lua (BACKENDS_SYNC_INTERVAL), docs of the ConfigMap
 *         (proxy-next-upstream "error timeout", -tries 3, -timeout 0, proxy-connect-timeout 5 s).
 */
import { groupByController } from '../ingress/index.ts'
import { isControllerConfig } from '../k8s/controller-config.ts'
import type { Ingress } from '../k8s/types.ts'
import type { Chance } from './chance.ts'
import type { ControlPlane } from './profiles.ts'
import type { Site, SiteService } from './site.ts'
import { Steps } from './steps.ts'
import { type EndpointSets, setIndexAt } from './views.ts'

export interface ProxySettings {
  /** `Ingress default/web`. */
  readonly ingress: string
  /** Pods that a request is sent to at most; 0 tries: as many as there are. */
  readonly tries: number
  readonly connectTimeoutMs: number
}

const SERVICE_UPSTREAM = 'nginx.ingress.kubernetes.io/service-upstream'
const NEXT_UPSTREAM = 'proxy-next-upstream'
const PREFIX = 'nginx.ingress.kubernetes.io/'
/** --sync-rate-limit 0.3. */
const SYNC_INTERVAL_MS = 3333
const POLL_MS = 1000
/** Workers that are told apart; a controller has one a core. */
const WORKERS = 4
const DEFAULT_TRIES = 3
const DEFAULT_CONNECT_SECONDS = 5

/** The proxy in front of a Service, or null: none, or one that sends to its cluster IP. */
export function proxyOf(
  site: Pick<Site, 'cluster' | 'objects'>,
  { service }: Pick<SiteService, 'service'>,
): ProxySettings | null {
  for (const { preset, ingresses } of groupByController(site.cluster).groups) {
    if (preset !== 'ingress-nginx') continue
    const ingress = ingresses.find((one) => leadsTo(one, service.namespace, service.name))
    if (ingress === undefined) continue
    const config = site.objects.find((one) => one.kind === 'ConfigMap' && isControllerConfig(one.metadata))
    const data = config?.kind === 'ConfigMap' ? (config.data ?? {}) : {}
    const setting = (name: string): string | undefined => ingress.metadata.annotations?.[PREFIX + name] ?? data[name]
    if ((ingress.metadata.annotations?.[SERVICE_UPSTREAM] ?? data['service-upstream']) === 'true') return null
    const never = /^off$/.test(setting(NEXT_UPSTREAM) ?? '')
    const tries = Number(setting('proxy-next-upstream-tries') ?? DEFAULT_TRIES)
    return {
      ingress: `Ingress ${ingress.metadata.namespace ?? 'default'}/${ingress.metadata.name}`,
      tries: never ? 1 : Number.isInteger(tries) && tries >= 0 ? tries : DEFAULT_TRIES,
      connectTimeoutMs: (Number(setting('proxy-connect-timeout')) || DEFAULT_CONNECT_SECONDS) * 1000,
    }
  }
  return null
}

export function leadsTo({ metadata, spec }: Ingress, namespace: string, name: string): boolean {
  if ((metadata.namespace ?? 'default') !== namespace) return false
  const backends = [
    spec.defaultBackend,
    ...(spec.rules ?? []).flatMap(({ http }) => (http?.paths ?? []).map(({ backend }) => backend)),
  ]
  return backends.some((one) => one?.service?.name === name)
}

/** Of each worker, which set it knows from when on. */
export function proxyViews(sets: readonly EndpointSets[], control: ControlPlane, chance: Chance): Steps[] {
  const lagMs = control.sliceMs + control.watchMs
  const syncs: { readonly atMs: number; readonly index: number }[] = []
  let lastMs = Number.NEGATIVE_INFINITY
  for (let i = 1; i < sets.length; i++) {
    if ((syncs.at(-1)?.index ?? 0) >= i) continue
    lastMs = Math.max(sets[i]!.fromMs + lagMs, lastMs + SYNC_INTERVAL_MS)
    syncs.push({ atMs: lastMs, index: setIndexAt(sets, lastMs - lagMs) })
  }
  return Array.from({ length: WORKERS }, (_, worker) => {
    const phaseMs = chance.unit('poll', `worker ${worker}`) * POLL_MS
    const steps = new Steps(0)
    for (const { atMs, index } of syncs)
      steps.set(Math.ceil((atMs - phaseMs) / POLL_MS) * POLL_MS + Math.floor(phaseMs), index)
    return steps
  })
}
