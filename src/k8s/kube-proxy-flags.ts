/**
 * A command line of kube-proxy → the KubeProxyConfiguration that it stands for.
 *
 * Source: cmd/kube-proxy/app/options.go of Kubernetes 1.31 to 1.37 and the pflag library: `--flag=value` and `--flag value`,
 * switches without a value, the last one given counts. With `--config` the file decides alone: `Complete` replaces what the flags said.
 */
import { nearestName } from '../nearest.ts'
import { kindDefinition, readObject } from './kinds.ts'
import { FieldProblem } from './schema.ts'
import type { KubeProxyConfiguration, Origin } from './types.ts'

export interface CommandLine {
  /** Value of `--config`; null without. */
  readonly configFile: string | null
  /** What the flags say, whether or not they count. */
  readonly configuration: KubeProxyConfiguration
  /** Names of the flags that say something, without dashes. */
  readonly settings: readonly string[]
  /** It sets something up or cleans up, and is not the kube-proxy that stays. */
  readonly ends: boolean
  /** It is told by which name it goes: on each node that node's, as a rule. */
  readonly namesNode: boolean
  readonly problems: readonly string[]
}

type Value = (text: string) => unknown

interface Flag {
  readonly paths: readonly (readonly string[])[]
  readonly value: Value
  /** A switch: alone it means true, and the next word is not its value. */
  readonly isSwitch?: true
}

const API_VERSION = 'kubeproxy.config.k8s.io/v1alpha1'

const asText: Value = (text) => text
const asNumber: Value = (text) => (/^[+-]?\d+$/.test(text) ? Number(text) : text)
/** What Go's strconv.ParseBool takes. */
const asBoolean: Value = (text) => (/^(1|t|true)$/i.test(text) ? true : /^(0|f|false)$/i.test(text) ? false : text)
const asList: Value = (text) => text.split(',').filter((part) => part !== '')
const asGates: Value = (text) =>
  Object.fromEntries(asListOfPairs(text).map(([name, value]) => [name, asBoolean(value)] as const))

function asListOfPairs(text: string): [string, string][] {
  return text
    .split(',')
    .filter((pair) => pair.trim() !== '')
    .map((pair) => {
      const at = pair.indexOf('=')
      return at < 0 ? [pair.trim(), ''] : [pair.slice(0, at).trim(), pair.slice(at + 1).trim()]
    })
}

const flag = (path: string, value: Value = asText): Flag => ({ paths: [path.split('.')], value })
const toggle = (...paths: readonly string[]): Flag => ({
  paths: paths.map((path) => path.split('.')),
  value: asBoolean,
  isSwitch: true,
})

const FLAGS: ReadonlyMap<string, Flag> = new Map(
  Object.entries({
    'proxy-mode': flag('mode'),
    'cluster-cidr': flag('clusterCIDR'),
    'detect-local-mode': flag('detectLocalMode'),
    'nodeport-addresses': flag('nodePortAddresses', asList),
    'feature-gates': flag('featureGates', asGates),
    // One flag for all modes; in the configuration each mode has its own field.
    'masquerade-all': toggle('iptables.masqueradeAll', 'nftables.masqueradeAll'),
    'iptables-localhost-nodeports': toggle('iptables.localhostNodePorts'),
    'ipvs-scheduler': flag('ipvs.scheduler'),
    'ipvs-tcp-timeout': flag('ipvs.tcpTimeout'),
    'ipvs-tcpfin-timeout': flag('ipvs.tcpFinTimeout'),
    'ipvs-udp-timeout': flag('ipvs.udpTimeout'),
    'conntrack-max-per-core': flag('conntrack.maxPerCore', asNumber),
    'conntrack-min': flag('conntrack.min', asNumber),
    'conntrack-tcp-timeout-established': flag('conntrack.tcpEstablishedTimeout'),
    'conntrack-tcp-timeout-close-wait': flag('conntrack.tcpCloseWaitTimeout'),
    'conntrack-tcp-be-liberal': toggle('conntrack.tcpBeLiberal'),
    'conntrack-udp-timeout': flag('conntrack.udpTimeout'),
    'conntrack-udp-timeout-stream': flag('conntrack.udpStreamTimeout'),
  }),
)

/** Flags with a value that have no part in what becomes of packets; those of releases before 1.31 among them. */
const OTHERS: ReadonlySet<string> = new Set([
  ...['config', 'hostname-override', 'kubeconfig', 'master', 'kube-api-content-type', 'kube-api-burst', 'kube-api-qps'],
  ...['bind-address', 'healthz-bind-address', 'healthz-port', 'metrics-bind-address', 'metrics-port'],
  ...['show-hidden-metrics-for-version', 'config-sync-period', 'oom-score-adj', 'write-config-to'],
  ...['iptables-masquerade-bit', 'iptables-sync-period', 'iptables-min-sync-period'],
  ...['ipvs-sync-period', 'ipvs-min-sync-period', 'ipvs-exclude-cidrs'],
  ...['pod-bridge-interface', 'pod-interface-name-prefix', 'proxy-port-range', 'udp-timeout'],
  ...[
    'v',
    'vmodule',
    'logging-format',
    'log-flush-frequency',
    'log-text-info-buffer-size',
    'log-json-info-buffer-size',
  ],
  ...['log-dir', 'log-file', 'log-file-max-size', 'stderrthreshold', 'log-backtrace-at'],
  ...['boot-id-file', 'machine-id-file', 'resource-container', 'conntrack-max'],
])
const OTHER_SWITCHES: ReadonlySet<string> = new Set([
  ...['cleanup', 'cleanup-ipvs', 'init-only', 'version', 'help', 'profiling', 'bind-address-hard-fail'],
  ...['ipvs-strict-arp', 'windows-run-as-service', 'enable-dsr', 'forward-healthcheck-vip'],
  ...['logtostderr', 'alsologtostderr', 'skip-headers', 'skip-log-headers', 'add-dir-header', 'one-output'],
  ...['log-text-split-stream', 'log-json-split-stream'],
])
const ENDING = ['cleanup', 'cleanup-ipvs', 'init-only', 'version', 'help'] as const

/**
 * @param words  the arguments behind the program's name
 * @param origin  where they were written
 */
export function readCommandLine(words: readonly string[], origin: Origin): CommandLine {
  const problems: string[] = []
  const given = new Map<string, string>()
  for (let i = 0; i < words.length; i++) {
    const match = /^--?([A-Za-z][\w.-]*)(?:=([\s\S]*))?$/.exec(words[i]!)
    if (match === null) continue
    const name = match[1]!.replaceAll('_', '-')
    const isSwitch = FLAGS.get(name)?.isSwitch === true || OTHER_SWITCHES.has(name)
    if (!isSwitch && !FLAGS.has(name) && !OTHERS.has(name)) {
      const near = nearestName(name, [...FLAGS.keys()])
      problems.push(
        `--${name} is no flag of kube-proxy, which does not start with it; it is left out${near === null ? '' : ` (did you mean --${near}?)`}`,
      )
      continue
    }
    given.set(name, match[2] ?? (isSwitch ? 'true' : (words[++i] ?? '')))
  }
  const body: Record<string, unknown> = {}
  const settings: string[] = []
  for (const [name, text] of given) {
    const known = FLAGS.get(name)
    if (known === undefined || (text === '' && !known.isSwitch)) continue
    const problem = unreadable(text) ? 'its value is known only where it runs' : problemOf(known, text, origin)
    if (problem === '') {
      settings.push(name)
      for (const path of known.paths) put(body, path, known.value(text))
    } else problems.push(`--${name}=${text}: ${problem}; it is left out`)
  }
  const configFile = given.get('config') ?? ''
  return {
    configFile: configFile === '' ? null : configFile,
    configuration: configurationOf(body, origin),
    settings,
    namesNode: (given.get('hostname-override') ?? '') !== '',
    ends: ENDING.some((name) => given.has(name) && asBoolean(given.get(name)!) !== false),
    problems,
  }
}

/** Variables of the environment and of templates. */
function unreadable(text: string): boolean {
  return /\$[({A-Za-z]|\{\{/.test(text)
}

function problemOf({ paths, value }: Flag, text: string, origin: Origin): string {
  const body: Record<string, unknown> = {}
  put(body, paths[0]!, value(text))
  try {
    configurationOf(body, origin)
    return ''
  } catch (error) {
    if (error instanceof FieldProblem) return `expected ${error.expected}`
    throw error
  }
}

function configurationOf(body: Record<string, unknown>, origin: Origin): KubeProxyConfiguration {
  const definition = kindDefinition('KubeProxyConfiguration')!
  const value = { apiVersion: API_VERSION, kind: 'KubeProxyConfiguration', ...body }
  return readObject(definition, value, origin) as KubeProxyConfiguration
}

function put(body: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let inner = body
  for (const step of path.slice(0, -1)) {
    inner[step] ??= {}
    inner = inner[step] as Record<string, unknown>
  }
  inner[path.at(-1)!] = value
}
