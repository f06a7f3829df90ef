/**
 * Writes src/k8s/fields.json: the fields of every API type that a manifest dpemu reads can hold.
 *
 * Input:  the .d.ts files of the development dependency `kubernetes-types` (the OpenAPI document of Kubernetes 1.30,
 *         one interface a type, machine-written, so a line grammar is enough to read them) and the tables below for
 *         fields that are newer and for KubeProxyConfiguration, which is in no OpenAPI document.
 * Output: { kinds: { Service: 'Service', … }, types: { ServicePort: { port: 'number', … }, … } }. A field's value is a
 *         scalar (`string`, `number`, `boolean`, `any`, `number|string`) or the name of a type, with `[]` before it for
 *         a list and `{}` for a map of names.
 *
 * Run `node scripts/k8s-fields.mjs` after changing it or the dependency; a test fails when the file is out of date
 * (`--check` compares and writes nothing).
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const OUTPUT = join(dirname(fileURLToPath(import.meta.url)), '../src/k8s/fields.json')
const SOURCE = dirname(createRequire(import.meta.url).resolve('kubernetes-types/package.json'))

/** The kinds that are read, by the file that declares them. */
const KINDS = {
  'core/v1': ['Service', 'Endpoints', 'Node', 'Pod', 'Namespace', 'ConfigMap'],
  'discovery/v1': ['EndpointSlice'],
  'apps/v1': ['Deployment', 'ReplicaSet', 'StatefulSet', 'DaemonSet'],
  'batch/v1': ['Job'],
  'networking/v1': ['Ingress', 'IngressClass', 'NetworkPolicy'],
}

/** Newer than 1.30, from the API reference of 1.31 to 1.34: file → type → field → type. */
const NEWER = {
  'core/v1': {
    PodSpec: { hostnameOverride: 'string', resources: 'ResourceRequirements', workloadRef: 'any' },
    PodStatus: {
      observedGeneration: 'number',
      extendedResourceClaimStatus: 'any',
      allocatedResources: '{}string',
      resources: 'ResourceRequirements',
    },
    PodCondition: { observedGeneration: 'number' },
    Container: { restartPolicyRules: '[]any' },
    ContainerStatus: { allocatedResourcesStatus: '[]any', stopSignal: 'string', user: 'any' },
    EnvVarSource: { fileKeyRef: 'any' },
    Lifecycle: { stopSignal: 'string' },
    NodeStatus: { features: 'any', runtimeHandlers: '[]any', declaredFeatures: '[]string' },
    NodeSystemInfo: { swap: 'any' },
    PodSecurityContext: { seLinuxChangePolicy: 'string', supplementalGroupsPolicy: 'string' },
    ResourceClaim: { request: 'string' },
    PodResourceClaim: { resourceClaimName: 'string', resourceClaimTemplateName: 'string' },
    ServiceSpec: { trafficDistribution: 'string' },
    LoadBalancerIngress: { ipMode: 'string' },
    Volume: { image: 'any' },
    VolumeProjection: { podCertificate: 'any', clusterTrustBundle: 'any' },
  },
  'discovery/v1': { EndpointHints: { forNodes: '[]ForNode' }, ForNode: { name: 'string' } },
  'apps/v1': {
    DeploymentStatus: { terminatingReplicas: 'number' },
    ReplicaSetStatus: { terminatingReplicas: 'number' },
  },
  'networking/v1': {
    ServiceCIDR: {
      apiVersion: 'string',
      kind: 'string',
      metadata: 'ObjectMeta',
      spec: 'ServiceCIDRSpec',
      status: 'ServiceCIDRStatus',
    },
    ServiceCIDRSpec: { cidrs: '[]string' },
    ServiceCIDRStatus: { conditions: '[]any' },
  },
}

/** kubeproxy.config.k8s.io/v1alpha1, whole: kubernetes/kube-proxy config/v1alpha1/types.go and component-base config/v1alpha1. */
const KUBE_PROXY = {
  KubeProxyConfiguration: {
    apiVersion: 'string',
    kind: 'string',
    metadata: 'any',
    featureGates: '{}boolean',
    clientConnection: 'ClientConnectionConfiguration',
    logging: 'any',
    hostnameOverride: 'string',
    bindAddress: 'string',
    healthzBindAddress: 'string',
    metricsBindAddress: 'string',
    bindAddressHardFail: 'boolean',
    enableProfiling: 'boolean',
    showHiddenMetricsForVersion: 'string',
    mode: 'string',
    iptables: 'KubeProxyIPTablesConfiguration',
    ipvs: 'KubeProxyIPVSConfiguration',
    nftables: 'KubeProxyNFTablesConfiguration',
    winkernel: 'KubeProxyWinkernelConfiguration',
    detectLocalMode: 'string',
    detectLocal: 'DetectLocalConfiguration',
    clusterCIDR: 'string',
    nodePortAddresses: '[]string',
    oomScoreAdj: 'number',
    conntrack: 'KubeProxyConntrackConfiguration',
    configSyncPeriod: 'string',
    portRange: 'string',
    windowsRunAsService: 'boolean',
    udpIdleTimeout: 'string',
  },
  ClientConnectionConfiguration: {
    kubeconfig: 'string',
    acceptContentTypes: 'string',
    contentType: 'string',
    qps: 'number',
    burst: 'number',
  },
  KubeProxyIPTablesConfiguration: {
    masqueradeBit: 'number',
    masqueradeAll: 'boolean',
    localhostNodePorts: 'boolean',
    syncPeriod: 'string',
    minSyncPeriod: 'string',
  },
  KubeProxyIPVSConfiguration: {
    syncPeriod: 'string',
    minSyncPeriod: 'string',
    scheduler: 'string',
    excludeCIDRs: '[]string',
    strictARP: 'boolean',
    tcpTimeout: 'string',
    tcpFinTimeout: 'string',
    udpTimeout: 'string',
    masqueradeAll: 'boolean',
    masqueradeBit: 'number',
  },
  KubeProxyNFTablesConfiguration: {
    masqueradeBit: 'number',
    masqueradeAll: 'boolean',
    syncPeriod: 'string',
    minSyncPeriod: 'string',
  },
  KubeProxyWinkernelConfiguration: {
    networkName: 'string',
    sourceVip: 'string',
    enableDSR: 'boolean',
    rootHnsEndpointName: 'string',
    forwardHealthCheckVip: 'boolean',
  },
  DetectLocalConfiguration: {
    bridgeInterface: 'string',
    interfaceNamePrefix: 'string',
    clusterCIDRs: '[]string',
    nodePodCIDRs: '[]string',
  },
  KubeProxyConntrackConfiguration: {
    maxPerCore: 'number',
    min: 'number',
    tcpEstablishedTimeout: 'string',
    tcpCloseWaitTimeout: 'string',
    tcpBeLiberal: 'boolean',
    udpTimeout: 'string',
    udpStreamTimeout: 'string',
  },
}

/** Types that are a scalar or anything on the wire, whatever interface stands for them. */
const OPAQUE = {
  Time: 'string',
  MicroTime: 'string',
  Quantity: 'number|string',
  FieldsV1: 'any',
  RawExtension: 'any',
  IntOrString: 'number|string',
}

const files = new Map()

/** One declaration file: its interfaces (type → field → spelled type) and the file each imported type is from. */
function readDeclarations(file) {
  const known = files.get(file)
  if (known !== undefined) return known
  const text = readFileSync(join(SOURCE, `${file}.d.ts`), 'utf8').replace(/\/\*[\s\S]*?\*\//g, '')
  const imports = new Map()
  for (const [, names, from] of text.matchAll(/import \{([^}]*)\} from "\.\.\/([^"]+)"/g))
    for (const name of names.split(',')) imports.set(name.trim(), from)
  const interfaces = new Map()
  for (const [, name, body] of text.matchAll(/^export interface (\w+) \{\n([\s\S]*?)^\}/gm)) {
    const fields = {}
    const flat = body.replace(/\{\s*\[name: string\]: ([^;]+);\s*\}/g, 'Record<$1>')
    for (const [, field, type] of flat.matchAll(/^ {4}(?:readonly )?"?([\w$-]+)"?\??: ([^;]+);/gm))
      fields[field] = type.trim()
    interfaces.set(name, { ...fields, ...NEWER[file]?.[name] })
  }
  for (const [name, fields] of Object.entries(NEWER[file] ?? {}))
    if (!interfaces.has(name)) interfaces.set(name, fields)
  const declarations = { imports, interfaces }
  files.set(file, declarations)
  return declarations
}

const types = {}
/** Output name of a declared type: its own, or with its group where two groups use one name. */
const names = new Map()
const taken = new Map()

function outputName(file, name) {
  const key = `${file}/${name}`
  let output = names.get(key)
  if (output === undefined) {
    output = taken.has(name) ? `${file.split('/')[0]}.${name}` : name
    taken.set(output, key)
    names.set(key, output)
    const fields = readDeclarations(file).interfaces.get(name)
    types[output] = {}
    for (const field of Object.keys(fields).sort()) types[output][field] = typeName(file, fields[field])
  }
  return output
}

function typeName(file, spelled) {
  const list = /^(?:Array<(.*)>|(?:\[\])(.*))$/.exec(spelled)
  if (list !== null) return `[]${typeName(file, list[1] ?? list[2])}`
  const map = /^(?:Record<(.*)>|(?:\{\})(.*))$/.exec(spelled)
  if (map !== null) return `{}${typeName(file, map[1] ?? map[2])}`
  if (/^"/.test(spelled)) return 'string'
  if (spelled === 'number | string' || spelled === 'number|string') return 'number|string'
  if (['string', 'number', 'boolean', 'any'].includes(spelled)) return spelled
  if (spelled in OPAQUE) return OPAQUE[spelled]
  const { imports, interfaces } = readDeclarations(file)
  if (interfaces.has(spelled)) return outputName(file, spelled)
  const from = imports.get(spelled) ?? (spelled === 'ObjectMeta' ? 'meta/v1' : undefined)
  if (from === undefined) throw new Error(`${file}: no declaration of ${spelled}`)
  return readDeclarations(from).interfaces.has(spelled) ? outputName(from, spelled) : 'any'
}

const kinds = {}
for (const [file, list] of Object.entries(KINDS)) for (const kind of list) kinds[kind] = outputName(file, kind)
kinds.ServiceCIDR = outputName('networking/v1', 'ServiceCIDR')
kinds.KubeProxyConfiguration = 'KubeProxyConfiguration'
Object.assign(types, KUBE_PROXY)

const sorted = Object.fromEntries(
  Object.keys(types)
    .sort()
    .map((name) => [name, types[name]]),
)
const lines = Object.entries(sorted).map(([name, fields]) => `    ${JSON.stringify(name)}: ${JSON.stringify(fields)}`)
const text = `{\n  "kinds": ${JSON.stringify(kinds)},\n  "types": {\n${lines.join(',\n')}\n  }\n}\n`

if (process.argv.includes('--check')) {
  if (readFileSync(OUTPUT, 'utf8') !== text) {
    console.error('src/k8s/fields.json is out of date: run node scripts/k8s-fields.mjs')
    process.exitCode = 1
  }
} else writeFileSync(OUTPUT, text)
