/** Settings of kube-proxy as clusters write them: ConfigMaps, command lines of DaemonSets and static pods, arguments of k3s. */
import { describe, expect, test } from 'vitest'
import { proxySettings } from '../../src/compile/kube-proxy.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { clusterOf, load, reduce } from './helpers.ts'

const flow = (value: unknown): string => JSON.stringify(value)

function pod(container: object, name = 'kube-proxy-node-1', kind = 'Pod'): string {
  const spec = {
    hostNetwork: true,
    containers: [{ name: 'kube-proxy', image: 'registry.example/kube-proxy:v1.35.0', ...container }],
  }
  const metadata = { name, namespace: 'kube-system' }
  return kind === 'Pod'
    ? flow({ apiVersion: 'v1', kind, metadata, spec })
    : flow({
        apiVersion: 'apps/v1',
        kind,
        metadata,
        spec: { selector: { matchLabels: { k: 'p' } }, template: { metadata: { labels: { k: 'p' } }, spec } },
      })
}

function configMap(name: string, key: string, config: string): string {
  return flow({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace: 'kube-system' },
    data: { [key]: config },
  })
}

const file = (rest: string): string =>
  `apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n${rest}`

function node(annotation: string, args: unknown, name = 'node-1'): string {
  return flow({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, annotations: { [annotation]: typeof args === 'string' ? args : JSON.stringify(args) } },
    spec: { podCIDR: '10.42.0.0/24' },
    status: { addresses: [{ type: 'InternalIP', address: `192.168.5.${name.at(-1)}` }] },
  })
}

const join = (...documents: readonly string[]): string => documents.join('\n---\n')
const settingsOf = (text: string): ReturnType<typeof proxySettings> => proxySettings(clusterOf(text), null, [])
const told = (text: string): string[] => load(text).warnings.map(({ code, message }) => `${code} ${message}`)

describe('configuration files in ConfigMaps', () => {
  test.each([
    ['kubeadm', 'kube-proxy', 'config.conf'],
    ['EKS', 'kube-proxy-config', 'config'],
    ['another name', 'kube-proxy-settings', 'kube-proxy.yaml'],
  ])('of %s', (_, name, key) => {
    const text = configMap(name, key, file('mode: ipvs\nipvs: {scheduler: lc}\nclusterCIDR: 10.1.0.0/16\n'))
    expect(settingsOf(text)).toMatchObject({ mode: 'ipvs', scheduler: 'lc', detectorCidrs: ['10.1.0.0/16'] })
    expect(load(text).warnings).toEqual([])
  })

  test("EKS' own, whole", () => {
    const text = configMap(
      'kube-proxy-config',
      'config',
      `${file('bindAddress: 0.0.0.0')}
clientConnection: {acceptContentTypes: "", burst: 10, contentType: application/vnd.kubernetes.protobuf, kubeconfig: /var/lib/kube-proxy/kubeconfig, qps: 5}
clusterCIDR: ""
configSyncPeriod: 15m0s
conntrack: {maxPerCore: 32768, min: 131072, tcpCloseWaitTimeout: 1h0m0s, tcpEstablishedTimeout: 24h0m0s}
enableProfiling: false
healthzBindAddress: 0.0.0.0:10256
hostnameOverride: ""
iptables: {masqueradeAll: false, masqueradeBit: 14, minSyncPeriod: 0s, syncPeriod: 30s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", syncPeriod: 30s}
metricsBindAddress: 0.0.0.0:10249
mode: "iptables"
nodePortAddresses: null
oomScoreAdj: -998
portRange: ""`,
    )
    expect(settingsOf(text)).toMatchObject({ mode: 'iptables', detector: 'none' })
    expect(load(text).warnings).toEqual([])
  })

  test('a ConfigMap of another namespace, or one that only speaks of it, is none', () => {
    const text = join(
      configMap('notes', 'readme', 'about KubeProxyConfiguration'),
      configMap('kube-proxy', 'config.conf', file('mode: ipvs')).replace('"kube-system"', '"default"'),
      '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x"}}',
    )
    expect(settingsOf(text).mode).toBe('nftables')
  })
})

describe('command lines', () => {
  test.each([
    [
      'a list',
      { command: ['kube-proxy', '--proxy-mode=ipvs', '--ipvs-scheduler', 'sh'] },
      { mode: 'ipvs', scheduler: 'sh' },
    ],
    [
      'no mode: iptables, as kube-proxy has it on Linux',
      { command: ['kube-proxy', '--kubeconfig=/k'] },
      { mode: 'iptables', detector: 'none' },
    ],
    [
      'arguments apart from the command',
      { command: ['/usr/local/bin/kube-proxy'], args: ['--cluster-cidr=10.244.0.0/16', '--proxy-mode=nftables'] },
      { mode: 'nftables', detectorCidrs: ['10.244.0.0/16'] },
    ],
    ['arguments of the image alone', { args: ['--proxy-mode', 'ipvs'] }, { mode: 'ipvs' }],
    [
      'hyperkube',
      { image: 'h:1', command: ['/hyperkube', 'proxy', '--masquerade-all'] },
      { mode: 'iptables', masqueradeAll: true },
    ],
    [
      "GKE's shell",
      {
        command: [
          '/bin/sh',
          '-c',
          'exec kube-proxy --cluster-cidr=10.8.0.0/14 --proxy-mode="ipvs" --v=2 1>>/var/log/kube-proxy.log 2>&1',
        ],
      },
      { mode: 'ipvs', detectorCidrs: ['10.8.0.0/14'] },
    ],
    [
      "kOps' pipe",
      {
        command: [
          '/bin/sh',
          '-c',
          'mkfifo /tmp/pipe; (tee -a /var/log/kube-proxy.log < /tmp/pipe & ) ; exec /usr/local/bin/kube-proxy --cluster-cidr=100.96.0.0/11 --conntrack-max-per-core=131072 --oom-score-adj=-998 > /tmp/pipe 2>&1',
        ],
      },
      { mode: 'iptables', detectorCidrs: ['100.96.0.0/11'], conntrackMaxPerCore: 131_072 },
    ],
    [
      "Talos' DaemonSet",
      {
        command: [
          '/usr/local/bin/kube-proxy',
          '--cluster-cidr=10.244.0.0/16',
          '--conntrack-max-per-core=0',
          '--hostname-override=$(NODE_NAME)',
          '--kubeconfig=/etc/kubernetes/kubeconfig',
          '--proxy-mode=nftables',
        ],
      },
      { mode: 'nftables', conntrackMaxPerCore: 0 },
    ],
    [
      'every number and time',
      {
        command: [
          'kube-proxy',
          '--conntrack-min=1000',
          '--conntrack-tcp-timeout-established=2h',
          '--conntrack-tcp-timeout-close-wait=5m',
          '--conntrack-udp-timeout=10s',
          '--conntrack-udp-timeout-stream=1m',
          '--proxy-mode=ipvs',
          '--ipvs-tcp-timeout=10m',
          '--ipvs-tcpfin-timeout=20s',
          '--ipvs-udp-timeout=30s',
        ],
      },
      {
        conntrackMin: 1000,
        tcpEstablishedSeconds: 7200,
        tcpCloseWaitSeconds: 300,
        udpSeconds: 10,
        udpStreamSeconds: 60,
        ipvsTcpSeconds: 600,
        ipvsFinSeconds: 20,
        ipvsUdpSeconds: 30,
      },
    ],
    [
      'node ports, localhost, detection',
      {
        command: [
          'kube-proxy',
          '--nodeport-addresses=192.168.0.0/16,10.0.0.0/8',
          '--iptables-localhost-nodeports=false',
          '--detect-local-mode=NodeCIDR',
          '--masquerade-all=false',
        ],
      },
      {
        nodePortAddresses: ['192.168.0.0/16', '10.0.0.0/8'],
        localhostNodePorts: false,
        detector: 'NodeCIDR',
        masqueradeAll: false,
      },
    ],
    [
      'the last one given counts',
      { command: ['kube-proxy', '--proxy-mode=ipvs', '--proxy-mode=nftables'] },
      { mode: 'nftables' },
    ],
    [
      'masquerade-all in nftables mode too',
      { command: ['kube-proxy', '--proxy-mode=nftables', '--masquerade-all'] },
      { masqueradeAll: true },
    ],
    [
      'gates',
      { command: ['kube-proxy', '--feature-gates=A=true,PreferSameTrafficDistribution=false'] },
      { sameNodeTopology: false },
    ],
    [
      "the container's own variables",
      { command: ['kube-proxy', '--proxy-mode=$(MODE)'], env: [{ name: 'MODE', value: 'ipvs' }] },
      { mode: 'ipvs' },
    ],
  ])('%s', (_, container, expected) => {
    for (const kind of ['Pod', 'DaemonSet']) {
      const text = pod(container, 'kube-proxy', kind)
      expect(settingsOf(text)).toMatchObject(expected)
      expect(told(text).filter((line) => line.startsWith('W_KUBE_PROXY'))).toEqual([])
      // A trace embeds no command; what was read from it is there.
      const parts = reduce([{ name: 'a.yaml', text }])
      expect(parts[0]!.text).not.toContain('--')
      const again = deriveCluster(parts.flatMap((part) => load(part.text).objects))
      expect(proxySettings(again, null, [])).toEqual(settingsOf(text))
    }
  })

  test.each([
    [
      'an unknown flag',
      ['--proxy-mod=ipvs'],
      '--proxy-mod is no flag of kube-proxy, which does not start with it; it is left out (did you mean --proxy-mode?)',
    ],
    [
      'a mode there is not',
      ['--proxy-mode=userspace'],
      '--proxy-mode=userspace: expected iptables, ipvs, nftables or kernelspace; it is left out',
    ],
    [
      'a number that is none',
      ['--conntrack-min=many'],
      '--conntrack-min=many: expected a whole number from 0; it is left out',
    ],
    [
      'a block that is none',
      ['--cluster-cidr=10.0.0.0'],
      '--cluster-cidr=10.0.0.0: expected a CIDR block such as 10.0.0.0/8; it is left out',
    ],
    [
      'a variable from elsewhere',
      ['--cluster-cidr=$(PODS)'],
      '--cluster-cidr=$(PODS): its value is known only where it runs; it is left out',
    ],
  ])('%s is said, and the rest counts', (_, args, message) => {
    const text = pod({ command: ['kube-proxy', ...args, '--masquerade-all'] })
    expect(told(text)).toContain(`W_KUBE_PROXY_FLAG ${message}`)
    expect(settingsOf(text)).toMatchObject({ mode: 'iptables', masqueradeAll: true })
  })

  test.each([
    ['--cleanup', { command: ['kube-proxy', '--cleanup'] }],
    ['--init-only', { command: ['kube-proxy', '--init-only', '--proxy-mode=ipvs'] }],
    ['another program', { image: 'x', command: ['kube-router', '--proxy-mode=ipvs'] }],
    ['an image alone', {}],
  ])('%s is no kube-proxy that stays', (_, container) => {
    expect(settingsOf(pod(container)).mode).toBe('nftables')
  })

  test("Windows' kube-proxy is not asked", () => {
    const windows = pod({ command: ['kube-proxy', '--proxy-mode=kernelspace'] }).replace(
      '"hostNetwork":true',
      '"hostNetwork":true,"nodeSelector":{"kubernetes.io/os":"windows"}',
    )
    expect(settingsOf(windows).mode).toBe('nftables')
  })

  test('kube-proxies of different settings: the first counts, and that is said', () => {
    const text = join(
      pod({ command: ['kube-proxy', '--proxy-mode=ipvs', '--hostname-override=node-1'] }, 'kube-proxy-node-1'),
      pod({ command: ['kube-proxy', '--proxy-mode=ipvs', '--hostname-override=node-2'] }, 'kube-proxy-node-2'),
      pod({ command: ['kube-proxy', '--proxy-mode=iptables'] }, 'kube-proxy-node-3'),
    )
    expect(settingsOf(text).mode).toBe('ipvs')
    expect(told(text).filter((line) => line.includes('DIFFERS'))).toEqual([
      'W_KUBE_PROXY_DIFFERS Pod kube-system/kube-proxy-node-3 runs kube-proxy with other settings; those of Pod kube-system/kube-proxy-node-1 are taken for every node',
    ])
  })
})

describe('--config and flags', () => {
  const daemon = (...flags: readonly string[]): string =>
    pod({ command: ['kube-proxy', ...flags] }, 'kube-proxy', 'DaemonSet')
  const config = configMap('kube-proxy', 'config.conf', file('mode: ipvs\n'))

  test('the file decides alone, and flags beside it do nothing', () => {
    const text = join(
      daemon(
        '--config=/var/lib/kube-proxy/config.conf',
        '--proxy-mode=nftables',
        '--hostname-override=$(NODE_NAME)',
        '--v=2',
      ),
      config,
    )
    expect(settingsOf(text).mode).toBe('ipvs')
    expect(told(text)).toEqual([
      'W_KUBE_PROXY_FLAG --proxy-mode: without effect beside --config, whose file decides alone',
    ])
  })

  test("kubeadm's, as it is", () => {
    const text = join(daemon('--config=/var/lib/kube-proxy/config.conf', '--hostname-override=$(NODE_NAME)'), config)
    expect(settingsOf(text).mode).toBe('ipvs')
    expect(told(text)).toEqual([])
  })

  test('--hostname-override counts over the file, whose name may be any', () => {
    const misnamed = configMap('kube-proxy', 'config.conf', file('hostnameOverride: master-1\n'))
    const started = daemon('--config=/var/lib/kube-proxy/config.conf')
    const named = daemon('--config=/var/lib/kube-proxy/config.conf', '--hostname-override=$(NODE_NAME)')
    const nodes = node('any', [])
    expect(settingsOf(join(nodes, started, misnamed)).isMisnamed).toBe(true)
    expect(settingsOf(join(nodes, named, misnamed)).isMisnamed).toBe(false)
    expect(settingsOf(join(started, misnamed)).isMisnamed).toBe(false)
  })

  test('a file that is not in the manifests is asked for', () => {
    expect(told(daemon('--config=/var/lib/kube-proxy/config.conf'))).toEqual([
      expect.stringMatching(
        /^W_KUBE_PROXY_CONFIG kube-proxy reads its settings from \/var\/lib\/kube-proxy\/config\.conf, and no KubeProxyConfiguration/,
      ),
    ])
  })

  test('without --config the ConfigMap is for nobody', () => {
    const text = join(config, daemon('--proxy-mode=nftables'))
    expect(settingsOf(text).mode).toBe('nftables')
    expect(told(text)).toEqual([expect.stringContaining('W_KUBE_PROXY_CONFIG kube-proxy is started without --config')])
  })

  test('a KubeProxyConfiguration among the manifests is meant', () => {
    expect(settingsOf(join(daemon('--proxy-mode=nftables'), file('mode: ipvs'))).mode).toBe('ipvs')
  })
})

describe('k3s and RKE2', () => {
  test.each([
    [
      'a server as it comes',
      'k3s.io/node-args',
      ['server'],
      { mode: 'iptables', detectorCidrs: ['10.42.0.0/16'], conntrackMaxPerCore: 0, tcpEstablishedSeconds: 0 },
    ],
    [
      'arguments for kube-proxy',
      'k3s.io/node-args',
      [
        'server',
        '--cluster-cidr',
        '10.52.0.0/16',
        '--kube-proxy-arg',
        'proxy-mode=ipvs',
        '--kube-proxy-arg=ipvs-scheduler=lc',
        '--disable',
        'traefik',
      ],
      { mode: 'ipvs', scheduler: 'lc', detectorCidrs: ['10.52.0.0/16'] },
    ],
    [
      'RKE2',
      'rke2.io/node-args',
      ['server', '--kube-proxy-arg=--masquerade-all'],
      { mode: 'iptables', masqueradeAll: true },
    ],
    [
      'an agent, which knows no cluster CIDR',
      'k3s.io/node-args',
      ['agent', '--kube-proxy-arg', 'proxy-mode=nftables'],
      { mode: 'nftables', detector: 'none' },
    ],
    ['what is no list', 'k3s.io/node-args', 'server --x', { mode: 'nftables', detector: 'ClusterCIDR' }],
  ])('%s', (_, annotation, args, expected) => {
    const text = node(annotation, args)
    expect(settingsOf(text)).toMatchObject(expected)
    expect(told(text)).toEqual([])
  })

  test('an agent beside its server has the same pod range', () => {
    const text = join(node('k3s.io/node-args', ['agent'], 'node-2'), node('k3s.io/node-args', ['server'], 'node-1'))
    expect(settingsOf(text)).toMatchObject({ mode: 'iptables', detectorCidrs: ['10.42.0.0/16'] })
    expect(told(text)).toEqual([])
  })

  test('a cluster without kube-proxy says so', () => {
    const text = join(
      node('k3s.io/node-args', ['server', '--disable-kube-proxy']),
      node('k3s.io/node-args', ['agent'], 'node-2'),
    )
    expect(told(text)).toEqual([
      expect.stringContaining('W_NOT_MODELLED no kube-proxy runs here (--disable-kube-proxy)'),
    ])
  })
})

describe('what a configuration asks for and is not modelled', () => {
  test.each([
    ['tcpBeLiberal', 'conntrack: {tcpBeLiberal: true}', 'tcpBeLiberal'],
    ['a gate that is off', 'featureGates: {TopologyAwareHints: false}', 'TopologyAwareHints: false'],
  ])('%s', (_, config, word) => {
    const warnings: { code: string; where: string; message: string }[] = []
    proxySettings(clusterOf(file(config)), null, warnings)
    expect(warnings).toEqual([
      expect.objectContaining({ code: 'W_NOT_MODELLED', message: expect.stringContaining(word) }),
    ])
  })
})
