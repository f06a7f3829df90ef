/**
 * The constants of the path-latency model and of the kernel, with unit, default and source; `--model FILE` sets them.
 *
 * The file is YAML, `name: number` a line, names as below. Every report lists the constants a run used.
 * Latency constants are one-way times and CPU times of one packet on one node, not round trips.
 */
import { loadAll } from 'js-yaml'
import { UserError } from '../errors.ts'
import { suggestion } from '../nearest.ts'
import type { ModelConstant } from '../report/types.ts'
import { readTextFile } from '../text-file.ts'

export type ConstantName =
  | 'establishedNanos'
  | 'masqueradeNanos'
  | 'firstPacketP50Nanos'
  | 'firstPacketP90Nanos'
  | 'firstPacketP99Nanos'
  | 'backlogPackets'
  | 'firstMasqueradeNanos'
  | 'coldScanShare'
  | 'iptablesNanosPerRule'
  | 'sameZoneNanos'
  | 'otherZoneNanos'
  | 'loadBalancerNanos'
  | 'externalNanos'
  | 'podDeliveryNanos'
  | 'podRequestNanos'
  | 'podRequestExponential'
  | 'proxyRequestNanos'
  | 'podQueueRequests'
  | 'podCpus'
  | 'egressMasquerade'
  | 'tcpLoose'
  | 'snatRandomFully'
  | 'tcpSynSentSeconds'
  | 'tcpSynRecvSeconds'
  | 'tcpEstablishedSeconds'
  | 'tcpFinWaitSeconds'
  | 'tcpCloseWaitSeconds'
  | 'tcpLastAckSeconds'
  | 'tcpTimeWaitSeconds'
  | 'tcpCloseSeconds'
  | 'tcpUnacknowledgedSeconds'
  | 'udpSeconds'
  | 'udpStreamSeconds'
  | 'genericSeconds'
  | 'conntrackMax'
  | 'gcIntervalSeconds'

interface Constant {
  readonly name: ConstantName
  readonly value: number
  readonly unit: string
  readonly source: string
  /** Smallest and largest value that makes sense. */
  readonly range: readonly [number, number]
}

const KERNEL = 'linux Documentation/networking/nf_conntrack-sysctl.rst, read back on 6.18'
const MEASURED = 'measured on Linux 6.18, one core, packets between network namespaces'
const KEP =
  'the nftables bars of the chart in KEP-3866 (12/20/36 us round trip) less an established round trip; 3.5 us measured on average'
const NANOS: readonly [number, number] = [0, 1e9]
const SECONDS: readonly [number, number] = [1, 2_000_000]

const TABLE: Readonly<Record<ConstantName, Omit<Constant, 'name'>>> = {
  establishedNanos: constant(2600, 'ns', `forwarding, conntrack and DNAT of a known flow; ${MEASURED}`, NANOS),
  masqueradeNanos: constant(900, 'ns', `masquerade of a known flow, in addition; ${MEASURED}`, NANOS),
  firstPacketP50Nanos: constant(
    2800,
    'ns',
    `rule evaluation and insert of a new flow, in addition, median; ${KEP}`,
    NANOS,
  ),
  firstPacketP90Nanos: constant(10_800, 'ns', `the same, 90th percentile; ${KEP}`, NANOS),
  firstPacketP99Nanos: constant(26_800, 'ns', `the same, 99th percentile; ${KEP}`, NANOS),
  firstMasqueradeNanos: constant(700, 'ns', `port search of a new flow, in addition; ${MEASURED}`, NANOS),
  iptablesNanosPerRule: constant(
    18,
    'ns',
    'per Service before the one that matches, first packets in iptables mode; derived from the chart of KEP-3866 (9-24) and imroc/tke-guide (9-21)',
    [0, 10_000],
  ),
  sameZoneNanos: constant(45_000, 'ns', 'half of 90 us round trip in one zone; richardimaoka/blog-en, AWS 2019', NANOS),
  otherZoneNanos: constant(
    507_500,
    'ns',
    'half of 1015 us, the median round trip of 47 zone pairs; richardimaoka/blog-en, AWS 2019',
    NANOS,
  ),
  coldScanShare: constant(
    0.2,
    'fraction',
    'of the scan of iptables rules that takes longer on a cold path, at the same mean; fitted to the percentiles of the chart in KEP-3866',
    [0, 1],
  ),
  loadBalancerNanos: constant(50_000, 'ns', 'assumption: no measured source was found; 10-100 us are claimed', NANOS),
  externalNanos: constant(
    0,
    'ns',
    'assumption: distances outside the cluster are not the dataplane’s; set yours',
    NANOS,
  ),
  podDeliveryNanos: constant(2000, 'ns', `veth into the pod; ${MEASURED}`, NANOS),
  backlogPackets: constant(
    1000,
    'packets',
    'net.core.netdev_max_backlog, linux Documentation/admin-guide/sysctl/net.rst',
    [1, 100_000],
  ),
  podRequestNanos: constant(
    0,
    'ns',
    'CPU time of a request in its pod, with a whole CPU; 0: pods answer at once and are no queues. Measure yours: no default fits',
    [0, 2e9],
  ),
  podRequestExponential: constant(0, '0 or 1', '1: that time is exponential, with podRequestNanos as its mean', [0, 1]),
  proxyRequestNanos: constant(
    62_000,
    'ns',
    'CPU time of a request in an in-cluster HTTP proxy; derived from imroc/tke-guide: 1/13883 s with an L7 proxy less 1/99985 s without',
    [0, 2e9],
  ),
  podQueueRequests: constant(
    4096,
    'requests',
    'that may wait in a pod: net.core.somaxconn, linux Documentation/admin-guide/sysctl/net.rst',
    [1, 100_000],
  ),
  podCpus: constant(1, 'CPUs', 'of a pod whose containers have no limits.cpu; assumption', [0.001, 256]),
  egressMasquerade: constant(
    1,
    '0 or 1',
    'network plugins masquerade pods’ traffic out of the pod CIDR (flannel, kindnet)',
    [0, 1],
  ),
  tcpLoose: constant(1, '0 or 1', KERNEL, [0, 1]),
  snatRandomFully: constant(1, '0 or 1', 'kube-proxy asks for --random-fully / fully-random', [0, 1]),
  tcpSynSentSeconds: constant(120, 's', KERNEL, SECONDS),
  tcpSynRecvSeconds: constant(60, 's', KERNEL, SECONDS),
  tcpEstablishedSeconds: constant(432_000, 's', `${KERNEL}; kube-proxy sets 86400`, SECONDS),
  tcpFinWaitSeconds: constant(120, 's', KERNEL, SECONDS),
  tcpCloseWaitSeconds: constant(60, 's', `${KERNEL}; kube-proxy sets 3600`, SECONDS),
  tcpLastAckSeconds: constant(30, 's', KERNEL, SECONDS),
  tcpTimeWaitSeconds: constant(120, 's', KERNEL, SECONDS),
  tcpCloseSeconds: constant(10, 's', KERNEL, SECONDS),
  tcpUnacknowledgedSeconds: constant(300, 's', KERNEL, SECONDS),
  udpSeconds: constant(30, 's', KERNEL, SECONDS),
  udpStreamSeconds: constant(120, 's', KERNEL, SECONDS),
  genericSeconds: constant(600, 's', KERNEL, SECONDS),
  conntrackMax: constant(0, 'entries', '0: as kube-proxy computes it from the node’s CPUs', [0, 8_000_000]),
  gcIntervalSeconds: constant(
    0,
    's',
    '0: a 1024th of the trace, at least 1 and at most 60, as the kernel’s worker adapts',
    [0, 3600],
  ),
}

const CONSTANTS: readonly Constant[] = Object.entries(TABLE).map(([name, constant]) => ({
  name: name as ConstantName,
  ...constant,
}))

export type Model = Readonly<Record<ConstantName, number>> & { readonly written: ReadonlySet<string> }

function constant(
  value: number,
  unit: string,
  source: string,
  range: readonly [number, number],
): Omit<Constant, 'name'> {
  return { value, unit, source, range }
}

export const DEFAULT_MODEL: Model = modelOf({})

function modelOf(written: Readonly<Record<string, number>>): Model {
  const values = Object.fromEntries(CONSTANTS.map(({ name, value }) => [name, written[name] ?? value]))
  return { ...(values as Record<ConstantName, number>), written: new Set(Object.keys(written)) }
}

/** Reads a model file. @throws UserError E_MODEL naming file and constant */
export function readModel(path: string): Model {
  return parseModel(readTextFile(path, 'model', 'E_MODEL'), path)
}

export function parseModel(text: string, path: string): Model {
  let documents: unknown[]
  try {
    documents = loadAll(text)
  } catch (error) {
    throw new UserError('E_MODEL', `not YAML: ${(error as Error).message.split('\n')[0]}`, { where: path })
  }
  const document = documents[0] ?? null
  if (document === null && documents.length <= 1) return DEFAULT_MODEL
  if (document === null || documents.length > 1 || typeof document !== 'object' || Array.isArray(document)) {
    throw new UserError('E_MODEL', 'a model file holds lines of name: number', { where: path })
  }
  const written: Record<string, number> = {}
  for (const [name, value] of Object.entries(document)) {
    const known = CONSTANTS.find((candidate) => candidate.name === name)
    if (known === undefined) {
      throw new UserError('E_MODEL', `"${name}" is not a constant of the model`, {
        where: path,
        hint:
          suggestion(
            name,
            CONSTANTS.map((candidate) => candidate.name),
          ) || `the constants are ${CONSTANTS.map((candidate) => candidate.name).join(', ')}`,
      })
    }
    const [low, high] = known.range
    if (typeof value !== 'number' || !(value >= low && value <= high)) {
      throw new UserError('E_MODEL', `${name} is ${JSON.stringify(value)}, must be a number from ${low} to ${high}`, {
        where: path,
      })
    }
    written[name] = value
  }
  return modelOf(written)
}

/** The constants of a model, for the report. */
export function describeModel(model: Model, path: string | null): ModelConstant[] {
  return CONSTANTS.map(({ name, unit, source }) => ({
    name,
    value: model[name],
    unit,
    source: model.written.has(name) && path !== null ? path : source,
    isSet: model.written.has(name),
  }))
}
