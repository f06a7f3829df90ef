/**
 * The ConfigMaps that an ingress controller reads its settings from: which they are, and what of them is kept.
 *
 * Source: ingress-nginx charts/ingress-nginx/templates/controller-configmap.yaml, deploy/static; docs, ConfigMap. The names
 * before the chart: nginx-configuration (deploy/mandatory.yaml), nginx-load-balancer-conf (minikube, MicroK8s).
 */
const NAMED =
  /^(.+-)?(ingress-nginx-controller|nginx-ingress-controller)$|^nginx-configuration$|^nginx-load-balancer-.*conf$/
const NAME_LABEL = 'app.kubernetes.io/name'

/** Settings that decide where a request goes or whom the proxy takes for its client. */
export const CONTROLLER_SETTINGS: ReadonlySet<string> = new Set([
  'use-proxy-protocol',
  'use-forwarded-headers',
  'forwarded-for-header',
  'enable-real-ip',
  'proxy-real-ip-cidr',
  'whitelist-source-range',
  'denylist-source-range',
  'block-cidrs',
  'ssl-redirect',
  'force-ssl-redirect',
  'http-redirect-code',
  'no-tls-redirect-locations',
  'service-upstream',
  'preserve-trailing-slash',
  'strict-validate-path-type',
  'worker-processes',
  'proxy-body-size',
  'allow-snippet-annotations',
  'annotations-risk-level',
])

/** Settings that do so too and are not modelled. */
export const CONTROLLER_NOT_MODELLED: RegExp =
  /snippet$|^(global-auth-url|custom-http-errors|load-balance|upstream-hash-by|block-user-agents|block-referers|enable-modsecurity|enable-owasp-modsecurity-crs)$/

export function isControllerConfig(metadata: { readonly name?: unknown; readonly labels?: unknown }): boolean {
  const { name, labels } = metadata
  if (typeof name !== 'string') return false
  if (NAMED.test(name)) return true
  const label =
    typeof labels === 'object' && labels !== null ? (labels as Record<string, unknown>)[NAME_LABEL] : undefined
  return label === 'ingress-nginx' && name.endsWith('-controller')
}

/** What is kept of it in a trace: the settings that are read, and of those that only bring a warning their name. */
export function controllerSettings(data: Readonly<Record<string, string>>): Record<string, string> {
  const kept = Object.entries(data).flatMap(([key, value]): [string, string][] => {
    if (CONTROLLER_SETTINGS.has(key) || key === 'load-balance') return [[key, value]]
    return CONTROLLER_NOT_MODELLED.test(key) ? [[key, '(left out)']] : []
  })
  return Object.fromEntries(kept)
}
