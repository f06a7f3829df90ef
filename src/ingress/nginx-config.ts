/**
 * ingress-nginx's ConfigMap: what annotations are by default, and whom the proxy takes for its client.
 *
 * Behind `use-proxy-protocol` the client is whom the header of the PROXY protocol names; behind `use-forwarded-headers` or
 * `enable-real-ip` (or behind both, see ClientSource) the last address of X-Forwarded-For (or of `forwarded-for-header`) that is not itself in
 * `proxy-real-ip-cidr`; a peer that is not in there is taken for the client itself. All IPv4 peers are, by default.
 * Source: ingress-nginx internal/ingress/controller/config/config.go (NewDefault), template/configmap.go, rootfs/etc/nginx/
 * template/nginx.tmpl (real_ip_header, set_real_ip_from, real_ip_recursive on); nginx ngx_http_realip_module.
 */
import type { Warning } from '../errors.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { CONTROLLER_NOT_MODELLED } from '../k8s/controller-config.ts'
import type { ConfigMap } from '../k8s/types.ts'
import type { ControllerGroup } from './classes.ts'
import { type ClientSource, PEER } from './rules.ts'
import { parseRanges, type SourceRanges } from './source-ranges.ts'

export interface NginxConfig {
  readonly client: ClientSource
  /** `use-forwarded-headers`: scheme and host of headers, of whichever peer. */
  readonly believesForwarded: boolean
  /** For Ingresses that set neither list themselves. */
  readonly sourceRanges: SourceRanges | null
  readonly sslRedirect: boolean
  readonly forceSslRedirect: boolean
  readonly redirectStatus: number
  /** Locations that plain HTTP is served at, as prefixes. */
  readonly noTlsRedirect: readonly string[]
  readonly byClusterIp: boolean
  readonly preserveTrailingSlash: boolean
  readonly strictPaths: boolean
  /** `proxy-body-size`; 0 for no limit. */
  readonly maxBodyBytes: number
  /** What becomes of Ingresses with snippets; `not told` where there is no ConfigMap. */
  readonly snippets: 'taken' | 'ignored' | 'refused' | 'not told'
  /** null: one a CPU. */
  readonly workers: number | null
}

const INSTANCE = 'app.kubernetes.io/instance'
const ACME = '/.well-known/acme-challenge'
export const DEFAULT_CONFIG: NginxConfig = {
  client: PEER,
  believesForwarded: false,
  sourceRanges: null,
  sslRedirect: true,
  forceSslRedirect: false,
  redirectStatus: 308,
  noTlsRedirect: [ACME],
  byClusterIp: false,
  preserveTrailingSlash: false,
  strictPaths: true,
  maxBodyBytes: 1024 * 1024,
  snippets: 'not told',
  workers: null,
}

/**
 * The settings of the controller that serves a group of classes: of the ConfigMap with the label app.kubernetes.io/instance
 * of one of its IngressClasses, else of the only one, else of the first.
 *
 * Warnings: W_INGRESS_CONFIG for a value that cannot be read (its default then holds) and for a ConfigMap that was chosen
 * among several; W_NOT_MODELLED.
 */
export function configOf(cluster: Cluster, group: Pick<ControllerGroup, 'classes'>, warnings: Warning[]): NginxConfig {
  const found = chooseConfig(cluster, group, warnings)
  return found === undefined ? DEFAULT_CONFIG : readConfig(found, warnings)
}

function chooseConfig(
  { ingressConfigs, ingressClasses }: Cluster,
  { classes }: Pick<ControllerGroup, 'classes'>,
  warnings: Warning[],
): ConfigMap | undefined {
  const [first, ...others] = ingressConfigs
  if (first === undefined || others.length === 0) return first
  const instances = ingressClasses
    .filter(({ metadata }) => classes.includes(metadata.name))
    .flatMap(({ metadata }) => metadata.labels?.[INSTANCE] ?? [])
  const own = ingressConfigs.find(({ metadata }) => instances.includes(metadata.labels?.[INSTANCE] ?? ''))
  if (own !== undefined) return own
  const message = `which of the ${ingressConfigs.length} ConfigMaps of ingress controllers is that of class ${classes.join(', ') || '(none)'} is not told by a label ${INSTANCE}; this one is used`
  warnings.push({ code: 'W_INGRESS_CONFIG', where: titleOf(first), message })
  return first
}

function titleOf({ metadata }: ConfigMap): string {
  return `ConfigMap ${metadata.namespace ?? 'default'}/${metadata.name}`
}

function readConfig(config: ConfigMap, warnings: Warning[]): NginxConfig {
  const data = config.data ?? {}
  const where = (key: string): string => `${titleOf(config)}, data.${key}`
  const bad = (key: string, problem: string): void =>
    void warnings.push({ code: 'W_INGRESS_CONFIG', where: where(key), message: `${problem}; its default is used` })
  const text = (key: string): string => (data[key] ?? '').trim()
  const flag = (key: string, missing: boolean): boolean => {
    const value = text(key)
    if (/^(1|t|true)$/i.test(value)) return true
    if (/^(0|f|false)$/i.test(value)) return false
    if (value !== '') bad(key, `${JSON.stringify(value)} is neither true nor false`)
    return missing
  }
  const ranges = (key: string): SourceRanges['allow'] => {
    const parsed = parseRanges(text(key))
    if (parsed.bad.length > 0) bad(key, `${parsed.bad.join(', ')} is no CIDR`)
    return parsed.ranges
  }
  const whole = (key: string, from: number, to: number): number | null => {
    const value = text(key)
    if (value === '' || value === 'auto') return null
    const read = Number(value)
    if (Number.isInteger(read) && read >= from && read <= to) return read
    bad(key, `${JSON.stringify(value)} is no whole number from ${from} to ${to}`)
    return null
  }
  for (const [key, value] of Object.entries(data)) {
    if (!CONTROLLER_NOT_MODELLED.test(key) || value.trim() === '') continue
    if (key === 'load-balance' && value.trim() === 'round_robin') continue
    warnings.push({ code: 'W_NOT_MODELLED', where: where(key), message: 'is not modelled' })
  }
  const allow = ranges('whitelist-source-range')
  const deny = ranges('denylist-source-range')
  // Of a whole server, and so for those locations only that have no list of their own.
  const blocked = ranges('block-cidrs')
  const lists = allow.length + deny.length > 0 ? { allow, deny } : { allow, deny: blocked }
  const written = text('no-tls-redirect-locations')
  return {
    client: clientSource(flag, text, ranges),
    believesForwarded: flag('use-forwarded-headers', false),
    sourceRanges: lists.allow.length + lists.deny.length > 0 ? lists : null,
    sslRedirect: flag('ssl-redirect', true),
    forceSslRedirect: flag('force-ssl-redirect', false),
    redirectStatus: whole('http-redirect-code', 301, 308) ?? 308,
    noTlsRedirect: written === '' ? [ACME] : written.split(',').map((one) => one.trim()),
    byClusterIp: flag('service-upstream', false),
    preserveTrailingSlash: flag('preserve-trailing-slash', false),
    strictPaths: flag('strict-validate-path-type', true),
    maxBodyBytes: bodySize(text('proxy-body-size'), DEFAULT_CONFIG.maxBodyBytes, (problem) =>
      bad('proxy-body-size', problem),
    ),
    snippets: !/^critical$/i.test(text('annotations-risk-level'))
      ? 'refused'
      : flag('allow-snippet-annotations', false)
        ? 'taken'
        : 'ignored',
    workers: whole('worker-processes', 1, 1024),
  }
}

/** nginx' sizes: `8m`, `500k`, `1g`, bytes; '' is the default. */
export function bodySize(written: string, missing: number, bad: (problem: string) => void): number {
  if (written === '') return missing
  const [, digits, unit = ''] = /^(\d{1,12})([bkmg]?)$/i.exec(written) ?? []
  if (digits === undefined) {
    bad(`${JSON.stringify(written)} is no size like 8m`)
    return missing
  }
  return Number(digits) * 1024 ** 'bkmg'.indexOf(unit === '' ? 'b' : unit.toLowerCase())
}

function clientSource(
  flag: (key: string, missing: boolean) => boolean,
  text: (key: string) => string,
  ranges: (key: string) => SourceRanges['allow'],
): ClientSource {
  const written = ranges('proxy-real-ip-cidr')
  const trusted = { allow: written.length > 0 ? written : parseRanges('0.0.0.0/0').ranges, deny: [] }
  const isForwarded = flag('use-forwarded-headers', false)
  const header = (text('forwarded-for-header') || 'X-Forwarded-For').toLowerCase()
  if (flag('use-proxy-protocol', false)) return { kind: 'proxy-protocol', trusted, header: isForwarded ? header : null }
  return isForwarded || flag('enable-real-ip', false) ? { kind: 'header', header, trusted } : PEER
}
