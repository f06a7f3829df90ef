import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, test } from 'vitest'
import { formatOrigin, parseManifests, parseObject, readManifestFiles } from '../../src/k8s/load.ts'
import type { KubeProxyConfiguration, Service } from '../../src/k8s/types.ts'
import { failure, load } from './helpers.ts'

const service = (spec: string) => `apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: ${spec}`

describe('files and folders', () => {
  const folder = mkdtempSync(join(tmpdir(), 'dpemu-load-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  mkdirSync(join(folder, 'all/sub'), { recursive: true })
  mkdirSync(join(folder, 'empty'))
  for (const name of ['b.yml', 'a.yaml', 'sub/c.json', 'notes.txt', '.hidden.yaml'])
    writeFileSync(join(folder, 'all', name), '')

  it('reads a folder with all below it, in the order of the paths', () => {
    const names = readManifestFiles([join(folder, 'all')]).map(({ name }) => name.slice(folder.length))
    expect(names).toEqual(['/all/a.yaml', '/all/b.yml', '/all/sub/c.json'])
  })

  it('reads a file whatever it is called, and standard input', () => {
    const files = readManifestFiles([join(folder, 'all/notes.txt'), '-'], () => 'kind: List')
    expect(files.map(({ text }) => text)).toEqual(['', 'kind: List'])
  })

  test.each([
    ['missing.yaml', 'E_MANIFEST_MISSING'],
    ['empty', 'E_MANIFEST_EMPTY'],
  ])('%s: %s, exit 3', (path, code) => {
    expect(failure(() => readManifestFiles([join(folder, path)]))).toMatchObject({
      code,
      exitCode: 3,
      where: join(folder, path),
    })
  })
})

describe('documents', () => {
  it('reads many documents, passing over empty ones, comments, a BOM and kinds without a part', () => {
    const { objects, warnings } = load(
      '\uFEFF# hello\n---\nkind: Namespace\napiVersion: v1\nmetadata: {name: a}\n---\n---\n# nothing\n---\nkind: Role\napiVersion: x/v1\n---\nkind: ConfigMap\napiVersion: v1\nmetadata: {name: other}\n---\nkind: Namespace\napiVersion: v1\nmetadata: {name: b}\n',
    )
    expect(objects.map(({ metadata }) => metadata.name)).toEqual(['a', 'b'])
    expect(warnings).toEqual([])
    expect(objects[1]!.origin.document).toBeGreaterThan(objects[0]!.origin.document)
  })

  it('reads lists as kubectl and the API server print them, and says where an item was', () => {
    const spec = { ports: [{ port: 80 }] }
    const list = {
      apiVersion: 'v1',
      kind: 'List',
      items: [{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'a' }, spec }],
    }
    const typed = { apiVersion: 'v1', kind: 'ServiceList', items: [{ metadata: { name: 'b', namespace: 'x' }, spec }] }
    const { objects } = parseManifests([
      { name: 'a.json', text: JSON.stringify(list) },
      { name: '-', text: JSON.stringify(typed, null, 2) },
    ])
    expect(objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`)).toEqual([
      'Service default/a',
      'Service x/b',
    ])
    expect(formatOrigin(objects[0]!.origin, 'spec')).toBe('a.json, document 1, items[0].spec')
  })

  it('lets the later of two objects replace the earlier', () => {
    const { objects, warnings } = load(`${service('{ports: [{port: 80}]}')}\n---\n${service('{ports: [{port: 81}]}')}`)
    expect(objects.map((object) => (object as Service).spec.ports![0]!.port)).toEqual([81])
    const order = load(
      `${service('{}')}\n---\nkind: Namespace\napiVersion: v1\nmetadata: {name: n}\n---\n${service('{}')}`,
    )
    expect(order.objects.map(({ kind }) => kind)).toEqual(['Namespace', 'Service'])
    expect(warnings).toMatchObject([{ code: 'W_DUPLICATE_OBJECT', where: 'test.yaml, document 2' }])
    expect(warnings[0]!.message).toBe(
      'Service default/web was given before, at test.yaml, document 1; this one replaces it',
    )
  })

  it('leaves out a kind of another API group, with a warning', () => {
    const { objects, warnings } = load('apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: hello}')
    expect(objects).toEqual([])
    expect(warnings[0]!.message).toBe('Service of serving.knative.dev/v1 is left out; dpemu reads Service of v1')
  })

  it("reads kube-proxy's configuration, plain and in the ConfigMap of kubeadm", () => {
    const plain = load(
      'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\nnodePortAddresses: null',
    )
    expect(plain.objects[0]).toMatchObject({ metadata: { name: 'kube-proxy' }, mode: 'nftables' })
    const { objects, warnings } = load(
      'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-proxy, namespace: kube-system}\ndata:\n  config.conf: |\n    apiVersion: kubeproxy.config.k8s.io/v1alpha1\n    kind: KubeProxyConfiguration\n    clusterCIDR: 10.244.0.0/16\n    mod: ipvs\n    conntrack: {maxPerCore: null, min: 5}',
    )
    expect(objects as KubeProxyConfiguration[]).toMatchObject([{ clusterCIDR: '10.244.0.0/16', conntrack: { min: 5 } }])
    expect(warnings).toMatchObject([
      {
        where: 'test.yaml, document 1, data["config.conf"].mod',
        message: 'mod is not a field of KubeProxyConfiguration; did you mean mode?',
      },
    ])
  })

  it('reads continuation lines that stand further left, as kubectl does', () => {
    const quoted = load(
      "{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n---\nkind: Rule\nx:\n    y: 'a,\n  b'\n",
    )
    expect(quoted.objects.map(({ metadata }) => metadata.name)).toEqual(['a'])
    const listed = load(
      'apiVersion: v1\nkind: Service\nmetadata: {name: w}\nspec:\n  ports:\n    [\n\t{port: 80},\n    ]\n',
    )
    expect(listed.objects).toMatchObject([{ spec: { ports: [{ port: 80 }] } }])
  })

  it('reads one object of an apply line', () => {
    const { objects } = parseObject(
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'x' } },
      'packets.ndjson',
      7,
    )
    expect(objects[0]).toMatchObject({ kind: 'Namespace', origin: { file: 'packets.ndjson', document: 7, item: -1 } })
  })
})

describe('files that cannot be read', () => {
  test.each([
    ['a: 1\n---\nb: [', 'E_MANIFEST_YAML', 'document 2, line 3', 'flow collection'],
    ['---\na: 1\n a: 2', 'E_MANIFEST_YAML', 'document 1, line 3', 'not valid YAML'],
    ['name: {{ .Values.name }}', 'E_MANIFEST_YAML', 'document 1, line 1', 'not valid YAML'],
    ['a: {b: 1\n---\nb: {b: 1}', 'E_MANIFEST_YAML', 'document 1, line 2', 'flow collection'],
    ['just text', 'E_MANIFEST_KIND', 'document 1', 'not a Kubernetes object'],
    ['metadata: {name: x}', 'E_MANIFEST_KIND', 'document 1', 'kind is missing'],
    ['[]', 'E_MANIFEST_KIND', 'document 1', 'not a Kubernetes object'],
    ['kind: List\nitems: {}', 'E_MANIFEST_FIELD', 'items', 'expected a list'],
    ['kind: List\nitems: [3]', 'E_MANIFEST_KIND', 'items[0]', 'not a Kubernetes object'],
    ['kind: Service\nmetadata: {name: x}', 'E_MANIFEST_FIELD', 'apiVersion', 'is missing'],
    ['apiVersion: v1\nkind: Service\nspec: {}', 'E_MANIFEST_FIELD', 'metadata.name', 'is missing'],
    ['a: &a [*a]', 'E_MANIFEST_ALIASES', 'document 1', 'alias of itself'],
    ['['.repeat(5000), 'E_MANIFEST_YAML', 'document 1', 'maxDepth'],
    ['{"kind":"List","items":['.repeat(50) + ']}'.repeat(50), 'E_MANIFEST_NESTING', 'items[0]', 'lists'],
  ])('%j: %s', (text, code, where, message) => {
    const error = failure(() => load(text))
    expect(error).toMatchObject({ code, exitCode: 3 })
    expect(error.where).toContain(where)
    expect(error.message).toContain(message)
  })

  it('knows the line of broken JSON, and a Helm template when it sees one', () => {
    expect(failure(() => load('{"a": 1,\n"b": x}', 'a.json'))).toMatchObject({ code: 'E_MANIFEST_JSON' })
    expect(failure(() => load('a: {{ .Values.x }}')).hint).toContain('helm template')
  })

  it('refuses a bomb of aliases at once', () => {
    const levels = Array.from(
      { length: 12 },
      (_, i) => `a${i}: &a${i} [${Array(9).fill(i === 0 ? 'x' : `*a${i - 1}`)}]`,
    )
    expect(failure(() => load(levels.join('\n'))).code).toBe('E_MANIFEST_ALIASES')
  })
})

describe('values', () => {
  test.each([
    ['{ports: [{port: "eighty"}]}', 'spec.ports[0].port', 'is "eighty"; expected a whole number from 1 to 65535'],
    ['{ports: [{port: 0}]}', 'spec.ports[0].port', 'is 0; expected a whole number from 1 to 65535'],
    ['{ports: [{port: 80.5}]}', 'spec.ports[0].port', 'is 80.5'],
    ['{ports: {}}', 'spec.ports', 'is a map; expected a list'],
    ['{ports: [{name: a}]}', 'spec.ports[0].port', 'is missing; expected a value'],
    ['{ports: [{port: 80, nodePort: 70000}]}', 'spec.ports[0].nodePort', 'is 70000'],
    ['{ports: [{port: 80, protocol: tcp}]}', 'spec.ports[0].protocol', 'is "tcp"; expected TCP, UDP or SCTP'],
    ['{ports: [{port: 80}, {port: 80, name: b}]}', 'spec.ports[1]', 'is port 80/TCP again'],
    ['{ports: [{port: 80, name: a}, {port: 81, name: a}]}', 'spec.ports[1]', 'is port name "a" again'],
    ['{selector: [a]}', 'spec.selector', 'is a list; expected a map'],
    ['{selector: {version: 1}}', 'spec.selector.version', 'is 1; expected a string (put it in quotes)'],
    ['{selector: {on: "x", tier: yes}}', 'spec.selector.tier', 'is true; expected a string'],
    ['{type: Loadbalancer}', 'spec.type', 'expected ClusterIP, NodePort, LoadBalancer or ExternalName'],
    ['{externalTrafficPolicy: local}', 'spec.externalTrafficPolicy', 'expected Cluster or Local'],
    ['{sessionAffinity: Cookie}', 'spec.sessionAffinity', 'expected None or ClientIP'],
    [
      '{sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}}',
      'spec.sessionAffinityConfig.clientIP.timeoutSeconds',
      '1 to 86400',
    ],
    ['{clusterIP: 10.0.0.300}', 'spec.clusterIP', 'expected an IP address or None'],
    ['{externalIPs: [example.com]}', 'spec.externalIPs[0]', 'expected an IP address'],
    ['{loadBalancerSourceRanges: [10.0.0.0]}', 'spec.loadBalancerSourceRanges[0]', 'expected a CIDR block'],
    ['[]', 'spec', 'is a list; expected a map'],
  ])('spec: %s is refused at %s', (spec, path, message) => {
    const error = failure(() => load(service(spec)))
    expect(error).toMatchObject({ code: 'E_MANIFEST_FIELD', exitCode: 3, where: `test.yaml, document 1, ${path}` })
    expect(error.message).toMatch(`${path} of Service web`)
    expect(error.message).toContain(message)
  })

  // Rows of kube-proxy's TestBadIPs, TestLoadBalancer and TestExternalName: an API validator would refuse some.
  test.each([
    ['{clusterIP: 010.0.0.1}', { clusterIP: '10.0.0.1' }],
    ['{externalIPs: [001.002.003.004]}', { externalIPs: ['1.2.3.4'] }],
    ['{loadBalancerSourceRanges: [" 203.0.113.0/25"]}', { loadBalancerSourceRanges: ['203.0.113.0/25'] }],
    ['{type: NodePort, ports: [{port: 80, nodePort: 3001}]}', { ports: [{ port: 80, nodePort: 3001 }] }],
    ['{type: ExternalName, externalName: a.b, clusterIP: 10.0.0.9}', { clusterIP: '10.0.0.9' }],
    ['{clusterIP: None, ports: null, selector: null}', { clusterIP: 'None' }],
    [
      '{ports: [{port: 53}, {port: 53, name: u, protocol: UDP}]}',
      { ports: [{ port: 53 }, { port: 53, name: 'u', protocol: 'UDP' }] },
    ],
    ['{type: "", externalTrafficPolicy: ""}', {}],
    ['{publishNotReadyAddresses: yes}', { publishNotReadyAddresses: true }],
  ])('spec: %s is accepted', (spec, read) => {
    const { objects, warnings } = load(service(spec))
    expect((objects[0] as Service).spec).toMatchObject(read)
    expect(warnings).toEqual([])
  })

  it('reads a slice without endpoints as kubectl prints it', () => {
    const { objects } = load(
      '{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s}, addressType: IPv4, endpoints: null, ports: null}',
    )
    expect(objects[0]).toMatchObject({ endpoints: [] })
    const text =
      '{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s}, addressType: IPv4, endpoints: [{addresses: []}, {addresses: [010.1.1.1]}]}'
    expect(load(text).objects[0]).toMatchObject({ endpoints: [{ addresses: ['10.1.1.1'] }] })
  })

  it('keeps only what types.ts has, so that nothing odd travels on', () => {
    const [object] = load(
      '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n","uid":"x","__proto__":{"a":1}},"odd":[[[[]]]]}',
    ).objects
    expect(Object.keys(object!.metadata)).toEqual(['name'])
    expect(object).not.toHaveProperty('odd')
  })
})
