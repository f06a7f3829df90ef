/**
 * A scenario drafted from manifests: who talks to what, as far as the manifests tell, with rates by replicas.
 *
 * Clients outside dial Services that can be dialled from there, and hosts and paths of Ingresses; pods dial the Services that
 * their environment names (`API_ADDR: api:9000`, `http://api.shop.svc`). Each stream is tried against the cluster as `generate`
 * would, and one that it would refuse stands in the draft as a comment with the reason, so that the draft runs as it stands.
 */
import { UserError } from '../errors.ts'
import type { Cluster, ClusterService } from '../k8s/cluster.ts'
import type { Environment } from '../k8s/environment.ts'
import type { Ingress } from '../k8s/types.ts'
import { planTraffic } from './plan.ts'
import { parseScenario } from './scenario.ts'

/** Connections a second that each pod is given: round numbers to be replaced. */
const RATE_A_POD = { outside: 20, inside: 10 } as const
const CLIENTS = 500
const DURATION = '60s'
const ENVIRONMENT =
  /(?<![\w.-])([a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*)(?::(\d{1,5}))?(?![\w.-])/g

export interface DraftInputs {
  readonly name: string
  /** As the scenario names them: relative to its folder. */
  readonly manifests: readonly string[]
  readonly cluster: Cluster
  readonly environment: readonly Environment[]
}

export interface Draft {
  readonly text: string
  /** Streams that run, and those that stand as comments. */
  readonly streams: number
  readonly left: number
}

interface DraftStream {
  readonly name: string
  readonly from: object
  readonly to: object
  readonly rate: number
  /** Why it is there. */
  readonly because: string
  readonly more?: Readonly<Record<string, unknown>>
}

/** @throws UserError `E_SCENARIO_EMPTY` where no stream can be made of the manifests */
export function draftScenario(inputs: DraftInputs): Draft {
  const { cluster } = inputs
  const known = named([...outsideStreams(inputs), ...ingressStreams(inputs), ...podStreams(inputs)])
  let blocks = known.map((stream) => blockOf(stream, cluster))
  const silent = silentServices(cluster, known)
  const isKnown = blocks.some(({ runs }) => runs)
  if (!isKnown) blocks = [...blocks, ...silent.map((service) => blockOf(guessed(service, cluster), cluster))]
  const running = blocks.filter(({ runs }) => runs).length
  if (running === 0) {
    throw new UserError('E_SCENARIO_EMPTY', 'there is nobody in the manifests who could talk to anything', {
      hint: 'Services, and pods or a way in from outside: a Service of type LoadBalancer or NodePort, or an Ingress',
    })
  }
  const text = [
    '# Drafted by dpemu init from the manifests: all rates are guesses by the number of pods. Replace them with yours.',
    '# docs/scenario.md of dpemu has every field.',
    `name: ${scalar(inputs.name)}`,
    'seed: 1',
    `duration: ${DURATION}   # no connection opens later`,
    ...(inputs.manifests.length > 0
      ? [`manifests: [${inputs.manifests.map(scalar).join(', ')}]`]
      : ['# The manifests came from standard input: give them to generate with -f.']),
    'traffic:',
    ...blocks.flatMap(({ lines }) => lines),
    ...(isKnown ? silent.flatMap(silentLines) : []),
  ]
  return { text: `${text.join('\n')}\n`, streams: running, left: blocks.length - running }
}

function outsideStreams({ cluster }: DraftInputs): DraftStream[] {
  const entrances = cluster.ingresses.length > 0
  const behind = backendsOf(cluster)
  return cluster.services.flatMap((service): DraftStream[] => {
    const [port] = service.ports
    const isOpen = service.loadBalancer.length > 0 || service.externalIPs.length > 0 || service.type === 'NodePort'
    if (behind.has(keyOf(service))) return []
    if (!isOpen || port === undefined || service.headless || service.type === 'ExternalName') return []
    // The Ingress' own stream goes through the Service of its proxies.
    if (entrances && /ingress|controller|traefik/.test(service.labels['app.kubernetes.io/name'] ?? '')) return []
    const pods = endpointsOf(service, cluster)
    return [
      {
        name: `clients-of-${service.name}`,
        from: { external: { addresses: CLIENTS } },
        to: targetOf(service, port.port),
        rate: RATE_A_POD.outside * Math.max(1, pods),
        because: `Service ${keyOf(service)} is of type ${service.type} and has ${pods} pods`,
      },
    ]
  })
}

function ingressStreams({ cluster }: DraftInputs): DraftStream[] {
  return cluster.ingresses.flatMap((ingress): DraftStream[] => {
    const http = exchangesOf(ingress)
    if (http.length === 0) return []
    const namespace = ingress.metadata.namespace ?? 'default'
    return [
      {
        name: `clients-of-ingress-${ingress.metadata.name}`,
        from: { external: { addresses: CLIENTS } },
        to: { ingress: `${namespace}/${ingress.metadata.name}` },
        rate: RATE_A_POD.outside * Math.max(1, backendPods(ingress, cluster)),
        because: `hosts and paths of Ingress ${namespace}/${ingress.metadata.name}`,
        more: { requests: { uniform: [1, 5] }, http },
      },
    ]
  })
}

function exchangesOf({ spec }: Ingress): { host: string; path: string }[] {
  return (spec.rules ?? []).flatMap(({ host, http }) =>
    (http?.paths ?? []).map(({ path }) => ({
      host: (host ?? 'example.com').replace(/^\*/, 'www'),
      // What a regular expression matches is not known; its literal beginning is a path at least.
      path: /^\/[\w./-]*/.exec(path ?? '/')?.[0] ?? '/',
    })),
  )
}

function backendPods({ metadata, spec }: Ingress, cluster: Cluster): number {
  const names = (spec.rules ?? []).flatMap(({ http }) =>
    (http?.paths ?? []).flatMap(({ backend }) => backend.service?.name ?? []),
  )
  const namespace = metadata.namespace ?? 'default'
  return cluster.services
    .filter((service) => service.namespace === namespace && names.includes(service.name))
    .reduce((sum, service) => sum + endpointsOf(service, cluster), 0)
}

/** Of each workload, the Services that its containers' environment names. */
function podStreams({ environment, cluster }: DraftInputs): DraftStream[] {
  const streams = new Map<string, DraftStream>()
  for (const { kind, namespace, name, variable, value } of environment) {
    const client = clientOf(kind, namespace, name, cluster)
    if (client === null) continue
    for (const [, host, portText] of value.matchAll(ENVIRONMENT)) {
      const service = serviceNamed(host!, namespace, cluster)
      const port = service === null ? null : portOf(service, portText, value)
      if (service === null || port === null) continue
      const key = `${client.name} ${keyOf(service)} ${port}`
      if (streams.has(key)) continue
      streams.set(key, {
        name: `${client.name}-to-${service.name}`,
        from: client.from,
        to: byName(service) ? { name: host, port } : targetOf(service, port),
        rate: RATE_A_POD.inside * client.pods,
        because: `${variable} of ${kind} ${namespace}/${name} names it`,
      })
    }
  }
  return [...streams.values()]
}

/** Clients of these dial what their name stands for. */
function byName({ headless, type }: ClusterService): boolean {
  return headless || type === 'ExternalName'
}

interface Client {
  readonly name: string
  readonly from: object
  readonly pods: number
}

/** null for what has no pods of its own here: no workload, or one that is a part of another. */
function clientOf(kind: string, namespace: string, name: string, { pods }: Cluster): Client | null {
  if (kind === 'Pod') {
    const pod = pods.find((one) => one.namespace === namespace && one.name === name)
    if (pod === undefined) return null
    // One line for all pods of a workload.
    const owner = pod.owner === '' ? null : pod.owner.split(' ')
    if (owner === null) return { name, from: { pods: { namespace, name } }, pods: 1 }
    const workload = owner[1]!.split('/')[1]!
    const count = pods.filter((one) => one.owner === pod.owner).length
    return { name: workload, from: { pods: { namespace, workload: `${owner[0]}/${workload}` } }, pods: count }
  }
  const count = pods.filter(({ owner }) => owner === `${kind} ${namespace}/${name}`).length
  return count === 0 ? null : { name, from: { pods: { namespace, workload: `${kind}/${name}` } }, pods: count }
}

function serviceNamed(host: string, namespace: string, { services, clusterDomain }: Cluster): ClusterService | null {
  const labels = host.replace(new RegExp(`\\.svc(\\.${clusterDomain.replaceAll('.', '\\.')})?$`), '').split('.')
  const find = (name: string, where: string): ClusterService | null =>
    services.find((one) => one.name === name && one.namespace === where) ?? null
  if (labels.length === 1) return find(labels[0]!, namespace)
  if (labels.length === 2) return find(labels[0]!, labels[1]!) ?? find(labels[1]!, namespace)
  // `mysql-0.mysql.shop`: a pod of a headless Service.
  return labels.length === 3 ? find(labels[1]!, labels[2]!) : null
}

function portOf({ ports, type }: ClusterService, text: string | undefined, value: string): number | null {
  const written = text === undefined ? null : Number(text)
  if (written !== null && (ports.some(({ port }) => port === written) || type === 'ExternalName')) return written
  if (written !== null) return null
  const scheme = /^https:/.test(value) ? 443 : /^http:/.test(value) ? 80 : null
  return ports.find(({ port }) => port === scheme)?.port ?? ports[0]?.port ?? null
}

function targetOf(service: ClusterService, port: number): object {
  return { service: keyOf(service), ...(service.ports.length > 1 ? { port } : {}) }
}

function keyOf({ namespace, name }: ClusterService): string {
  return `${namespace}/${name}`
}

function endpointsOf({ namespace, name }: ClusterService, { slices }: Cluster): number {
  const addresses = slices
    .filter(
      ({ metadata }) =>
        (metadata.namespace ?? 'default') === namespace && metadata.labels?.['kubernetes.io/service-name'] === name,
    )
    .flatMap(({ endpoints }) => (endpoints ?? []).flatMap((endpoint) => endpoint.addresses))
  return new Set(addresses).size
}

/** Names are told apart. */
function named(streams: readonly DraftStream[]): DraftStream[] {
  const taken = new Map<string, number>()
  return streams.map((stream) => {
    const count = (taken.get(stream.name) ?? 0) + 1
    taken.set(stream.name, count)
    return count === 1 ? stream : { ...stream, name: `${stream.name}-${count}` }
  })
}

function blockOf(stream: DraftStream, cluster: Cluster): { lines: string[]; runs: boolean } {
  const { name, from, to, rate, because, more = {} } = stream
  const lines = [
    `  # ${because}`,
    `  - name: ${scalar(name)}`,
    `    from: ${flow(from)}`,
    `    to: ${flow(to)}`,
    `    arrivals: { rate: ${rate} }   # connections a second`,
    ...Object.entries(more).flatMap(([field, value]) =>
      Array.isArray(value)
        ? [`    ${field}:`, ...value.map((item) => `      - ${flow(item as object)}`)]
        : [`    ${field}: ${flow(value as object)}`],
    ),
  ]
  const refusal = refusalOf(['name: draft', 'duration: 1s', 'traffic:', ...lines].join('\n'), cluster)
  if (refusal === null) return { lines, runs: true }
  return { lines: [`  # Left out: ${refusal}`, ...lines.map((line) => `  # ${line.slice(2)}`)], runs: false }
}

/** Why `generate` would not take it; null where it would. */
function refusalOf(text: string, cluster: Cluster): string | null {
  try {
    planTraffic(parseScenario(text, 'draft'), cluster, 'draft')
    return null
  } catch (error) {
    if (error instanceof UserError) return error.message.replace(/\s+/g, ' ')
    throw error
  }
}

/** Services that Ingresses lead to. */
function backendsOf({ ingresses }: Cluster): ReadonlySet<string> {
  return new Set(
    ingresses.flatMap(({ metadata, spec }) =>
      (spec.rules ?? []).flatMap(({ http }) =>
        (http?.paths ?? []).map(({ backend }) => `${metadata.namespace ?? 'default'}/${backend.service?.name ?? ''}`),
      ),
    ),
  )
}

/** Services that nobody is known to talk to. */
function silentServices(cluster: Cluster, streams: readonly DraftStream[]): ClusterService[] {
  const dialled = streams.map(({ to }) => JSON.stringify(to))
  const behind = backendsOf(cluster)
  return cluster.services.filter(
    (service) =>
      service.type !== 'ExternalName' &&
      service.ports.length > 0 &&
      service.namespace !== 'kube-system' &&
      !/ingress|controller/.test(service.labels['app.kubernetes.io/name'] ?? '') &&
      !behind.has(keyOf(service)) &&
      !dialled.some((to) => to.includes(`"${keyOf(service)}"`) || to.includes(`"${service.name}`)),
  )
}

/** A stream to fill in. */
function silentLines(service: ClusterService): string[] {
  return [
    `  # Nothing in the manifests says who talks to Service ${keyOf(service)}:`,
    `  # - name: to-${service.name}`,
    `  #   from: { pods: { namespace: ${scalar(service.namespace)}, workload: WHO } }`,
    `  #   to: ${flow(dialledAs(service))}`,
    `  #   arrivals: { rate: ${RATE_A_POD.inside} }`,
  ]
}

/** Where nothing is known of anybody, all pods of its namespace talk to a Service. */
function guessed(service: ClusterService, { pods }: Cluster): DraftStream {
  const { namespace, name } = service
  return {
    name: `to-${name}`,
    from: { pods: { namespace } },
    to: dialledAs(service),
    rate: RATE_A_POD.inside * Math.max(1, pods.filter((pod) => pod.namespace === namespace).length),
    because: `nothing says who talks to Service ${namespace}/${name}: all pods of ${namespace}, for want of better`,
  }
}

function dialledAs(service: ClusterService): object {
  const { port } = service.ports[0]!
  return service.headless ? { name: `${service.name}.${service.namespace}`, port } : targetOf(service, port)
}

/** YAML's flow style, with quotes where a plain word would be something else. */
function flow(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flow).join(', ')}]`
  if (typeof value !== 'object' || value === null) return scalar(value)
  return `{ ${Object.entries(value)
    .map(([key, inner]) => `${key}: ${flow(inner)}`)
    .join(', ')} }`
}

function scalar(value: unknown): string {
  if (typeof value !== 'string') return String(value)
  const isPlain = /^[A-Za-z/][\w./-]*$/.test(value) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(value)
  return isPlain ? value : JSON.stringify(value)
}
