/**
 * The plugin `kubernetes` of a Corefile: the zones of the cluster, and how they are answered.
 *
 * Source: coredns/coredns plugin/kubernetes/setup.go and README.
 */
import type { Warning } from '../errors.ts'
import { COREFILE_WHERE, corefileError, type Directive } from './caddyfile.ts'
import { notModelled, wholeNumber, zonesOf } from './corefile-arguments.ts'
import { isReverse } from './domain-names.ts'

/** The CoreDNS that answers are those of. Source: coremain/version.go of coredns/coredns at 4b26cce. */
export const COREDNS_VERSION = '1.14.7'

export interface KubernetesPlugin {
  /** Absolute, folded, in the order written. */
  readonly zones: readonly string[]
  /** The first zone that is no reverse zone: PTR records point into it. */
  readonly primaryZone: string
  readonly pods: 'disabled' | 'insecure' | 'verified'
  /** Seconds. */
  readonly ttl: number
  /** Empty: all of them. */
  readonly namespaces: ReadonlySet<string>
  readonly endpointPodNames: boolean
  readonly ignoreEmptyService: boolean
  readonly noEndpoints: boolean
  /** Names of one topology zone's endpoints: `ZONE.pin._zone.SERVICE.…`. */
  readonly zonal: boolean
  /** Zones whose missing names go on to the next plugin. */
  readonly fallthrough: readonly string[]
}

/** Options of `kubernetes` that only tell how to reach the API server, by the arguments that they take. */
const CONNECTION_OPTIONS: ReadonlyMap<string, readonly [least: number, most: number]> = new Map([
  ['endpoint', [1, 99]],
  ['tls', [3, 3]],
  ['kubeconfig', [1, 2]],
  ['startup_timeout', [1, 99]],
  ['apiserver_qps', [1, 1]],
  ['apiserver_burst', [1, 1]],
  ['apiserver_max_inflight', [1, 1]],
])
/** What older releases took, and read without effect towards the end. */
const REMOVED_OPTIONS: ReadonlySet<string> = new Set(['resyncperiod', 'upstream', 'transfer'])
const UNMODELLED_OPTIONS: ReadonlyMap<string, readonly [least: number, most: number]> = new Map([
  ['labels', [1, 99]],
  ['namespace_labels', [1, 99]],
  ['multicluster', [0, 99]],
])

const POD_MODES: ReadonlySet<string> = new Set(['disabled', 'insecure', 'verified'])

/** The plugin while its options are read; as CoreDNS has it where none is written. */
interface OpenPlugin {
  pods: KubernetesPlugin['pods']
  ttl: number
  readonly namespaces: Set<string>
  endpointPodNames: boolean
  ignoreEmptyService: boolean
  noEndpoints: boolean
  zonal: boolean
  fallthrough: readonly string[]
}

type OptionReader = (option: Directive, plugin: OpenPlugin) => void

const OPTION_READERS: ReadonlyMap<string, OptionReader> = new Map<string, OptionReader>([
  ['pods', readPods],
  [
    'ttl',
    ({ args: [seconds = ''], line }, plugin) => {
      plugin.ttl = wholeNumber(seconds, 0, 3600, 'ttl', line)
    },
  ],
  [
    'namespaces',
    ({ args, line }, plugin) => {
      if (args.length === 0) throw corefileError(line, 'namespaces needs at least one namespace')
      for (const namespace of args) plugin.namespaces.add(namespace)
    },
  ],
  [
    'fallthrough',
    ({ args, line }, plugin) => {
      plugin.fallthrough = args.length === 0 ? ['.'] : args.flatMap((zone) => zonesOf(zone, line))
    },
  ],
  ['endpoint_pod_names', flag('endpointPodNames')],
  ['noendpoints', flag('noEndpoints')],
  ['zonal', flag('zonal')],
  ['ignore', readIgnore],
])

/** An option without arguments. */
function flag(name: 'endpointPodNames' | 'noEndpoints' | 'zonal'): OptionReader {
  return (option, plugin) => {
    checkCount(option, [0, 0])
    plugin[name] = true
  }
}

function readPods({ args, line }: Directive, plugin: OpenPlugin): void {
  if (args.length !== 1 || !POD_MODES.has(args[0]!)) {
    throw corefileError(line, `pods ${args.join(' ')} is none of disabled, insecure, verified`)
  }
  plugin.pods = args[0] as KubernetesPlugin['pods']
}

/** Without a word behind it CoreDNS passes it over. */
function readIgnore({ args, line }: Directive, plugin: OpenPlugin): void {
  if (args.length === 0) return
  if (args[0] !== 'empty_service')
    throw corefileError(line, `ignore ${args.join(' ')} is not known`, 'write `ignore empty_service`')
  plugin.ignoreEmptyService = true
}

/**
 * @param blockZones  the server block's, for a directive that names none
 *
 * Errors: UserError E_COREFILE for what CoreDNS does not start over.
 */
export function readKubernetes(
  directive: Directive,
  blockZones: readonly string[],
  warnings: Warning[],
): KubernetesPlugin {
  const { line } = directive
  const zones = directive.args.length > 0 ? directive.args.flatMap((zone) => zonesOf(zone, line)) : blockZones
  const primaryZone = zones.find((zone) => !isReverse(zone))
  if (primaryZone === undefined) {
    throw corefileError(
      line,
      'kubernetes serves reverse zones only',
      'name the cluster domain too: kubernetes cluster.local in-addr.arpa ip6.arpa',
    )
  }
  const plugin: OpenPlugin = {
    pods: 'disabled',
    ttl: 5,
    namespaces: new Set(),
    endpointPodNames: false,
    ignoreEmptyService: false,
    noEndpoints: false,
    zonal: false,
    fallthrough: [],
  }
  for (const option of directive.body) {
    const read = OPTION_READERS.get(option.name)
    if (read !== undefined) read(option, plugin)
    else passOver(option, warnings)
  }
  if (plugin.namespaces.size > 0 && directive.body.some(({ name }) => name === 'namespace_labels'))
    throw corefileError(line, 'namespaces and namespace_labels exclude each other: CoreDNS does not start')
  if (plugin.zonal && plugin.noEndpoints)
    throw corefileError(line, 'zonal requires the endpoints that noendpoints leaves out: CoreDNS does not start')
  return { zones, primaryZone, ...plugin }
}

/** An option without influence on answers, or one that is not modelled. */
function passOver(option: Directive, warnings: Warning[]): void {
  const { name, args, line } = option
  const connection = CONNECTION_OPTIONS.get(name)
  const unmodelled = UNMODELLED_OPTIONS.get(name)
  if (unmodelled !== undefined) {
    checkCount(option, unmodelled)
    warnings.push(notModelled(option, `kubernetes option ${[name, ...args].join(' ')}`))
  } else if (connection !== undefined) checkCount(option, connection)
  else if (REMOVED_OPTIONS.has(name)) {
    warnings.push({
      code: 'W_COREFILE_OLD',
      where: `${COREFILE_WHERE}, line ${line}`,
      message: `kubernetes option ${name} is of older releases: CoreDNS ${COREDNS_VERSION} does not start with it; read as if it were not there`,
    })
  } else {
    throw corefileError(
      line,
      `unknown property ${name} of the kubernetes plugin: CoreDNS does not start`,
      `an option of CoreDNS ${COREDNS_VERSION}`,
    )
  }
}

function checkCount({ name, args, line }: Directive, [least, most]: readonly [number, number]): void {
  if (args.length < least || args.length > most) {
    throw corefileError(
      line,
      `kubernetes option ${name} takes ${least === most ? least : `${least} or more`} words, not ${args.length}`,
    )
  }
}
