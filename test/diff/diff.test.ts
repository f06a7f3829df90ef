/** What changes for whom, in the words of those who review a change. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import { dump } from 'js-yaml'
import { afterAll, describe, expect, test } from 'vitest'
import { runDiff } from '../../src/commands/diff.ts'
import { diffClusters } from '../../src/diff/diff.ts'
import { causeText } from '../../src/diff/gather.ts'
import { asChange } from '../../src/diff/load.ts'
import type { Change, Diff } from '../../src/diff/types.ts'
import { UserError } from '../../src/errors.ts'
import { parseCluster } from '../../src/library/manifests.ts'
import { fakeIo } from '../cli/fake-io.ts'

type Manifest = Record<string, unknown>

const folder = mkdtempSync(join(tmpdir(), 'dpemu-diff-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function node(name: string, i: number, more: Manifest = {}): Manifest {
  const status = {
    addresses: [{ type: 'InternalIP', address: `192.168.0.${i}` }],
    conditions: [{ type: 'Ready', status: 'True' }],
  }
  return { apiVersion: 'v1', kind: 'Node', metadata: { name }, spec: { podCIDR: `10.244.${i}.0/24` }, status, ...more }
}

function pod(name: string, labels: Record<string, string>, on: string, ip: string): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop', labels },
    spec: { nodeName: on, containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 8080 }] }] },
    status: { phase: 'Running', podIP: ip, conditions: [{ type: 'Ready', status: 'True' }] },
  }
}

function service(name: string, spec: Manifest, more: Manifest = {}): Manifest {
  const ports = [{ name: 'http', port: 80, targetPort: 8080 }]
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'shop' },
    spec: { clusterIP: '10.96.0.20', selector: { app: name }, ports, ...spec },
    ...more,
  }
}

const NODES = [node('n1', 1), node('n2', 2)]
const PODS = [
  pod('web-1', { app: 'web' }, 'n1', '10.244.1.5'),
  pod('client', { app: 'client' }, 'n1', '10.244.1.6'),
  pod('far', { app: 'client' }, 'n2', '10.244.2.6'),
]
const BASE = [...NODES, ...PODS]
const BALANCED = { type: 'LoadBalancer', ports: [{ name: 'http', port: 80, targetPort: 8080, nodePort: 30080 }] }
const VIP = { status: { loadBalancer: { ingress: [{ ip: '198.51.100.10' }] } } }

function diffOf(old: readonly Manifest[], changed: readonly Manifest[]): Diff {
  const text = (objects: readonly Manifest[]): string =>
    JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects })
  const pair = asChange(parseCluster(text(old), 'old.json'), parseCluster(text(changed), 'new.json'))
  return diffClusters(pair.old, pair.new)
}

function causes({ changes }: Diff): string[] {
  return changes.map((change) => change.causes.map(causeText).join('; '))
}

function effects({ effects }: Change): string[] {
  return effects.map(({ kind, from, to }) => `${kind}: ${from} → ${to}`)
}

describe('one cause is one entry', () => {
  test('externalTrafficPolicy Cluster → Local: sources are kept, a node without a pod passes no health check', () => {
    const old = [...BASE, service('web', BALANCED, VIP)]
    const changed = [...BASE, service('web', { ...BALANCED, externalTrafficPolicy: 'Local' }, VIP)]
    const diff = diffOf(old, changed)
    expect(causes(diff)).toEqual(['Service shop/web: externalTrafficPolicy Cluster → Local'])
    const found = effects(diff.changes[0]!)
    expect(found).toContain("client-address: the address of the node that translates it → the client's address")
    expect(found).toContain('entry-nodes: n1, n2 → n1')
    expect(found).toContain('reachability: delivered → dropped [no-local-endpoint]')
    const dropped = diff.changes[0]!.effects.find(({ to }) => to === 'dropped [no-local-endpoint]')!
    expect(dropped.targets).toEqual(['192.168.0.2:30080/tcp'])
    expect(dropped.clientClasses).toContain('outside')
    expect(dropped.example.command).toBe('explain --from 198.18.0.7 --to 192.168.0.2:30080')
    expect(dropped.example.new).toContain('no-local-endpoint')
  })

  test('a Deployment with fewer pods: its Service has fewer endpoints, by name', () => {
    const deployment = (replicas: number): Manifest => ({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace: 'shop' },
      spec: {
        replicas,
        selector: { matchLabels: { app: 'web' } },
        template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c' }] } },
      },
    })
    const diff = diffOf([...NODES, deployment(3), service('web', {})], [...NODES, deployment(2), service('web', {})])
    expect(causes(diff)).toHaveLength(1)
    expect(causes(diff)[0]).toMatch(/^Deployment shop\/web: pods 3 → 2; endpoints of Service shop\/web: no longer 10\./)
    expect(effects(diff.changes[0]!)[0]).toMatch(/^endpoints: 3 endpoints → 2 endpoints: without 10\./)
  })

  test('another image changes nothing, though a cluster would make new pods', () => {
    const deployment = (image: string): Manifest => ({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace: 'shop' },
      spec: {
        replicas: 2,
        selector: { matchLabels: { app: 'web' } },
        template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c', image }] } },
      },
    })
    const of = (image: string): Manifest[] => [...NODES, deployment(image), service('web', { clusterIP: undefined })]
    expect(diffOf(of('web:1'), of('web:2')).changes).toEqual([])
  })

  test('a workload that comes first by name moves no other: addresses of what was there are kept', () => {
    const deployment = (name: string): Manifest => ({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name, namespace: 'shop' },
      spec: {
        replicas: 2,
        selector: { matchLabels: { app: name } },
        template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'c' }] } },
      },
    })
    const old = [...NODES, deployment('web'), service('web', { clusterIP: undefined })]
    expect(diffOf(old, [deployment('aaa'), ...old]).changes).toEqual([])
  })

  test('a NetworkPolicy: one entry for all Services that it closes', () => {
    const old = [...BASE, service('web', {}), service('web2', { clusterIP: '10.96.0.21', selector: { app: 'web' } })]
    const policy = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'deny', namespace: 'shop' },
      spec: { podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Ingress'] },
    }
    const diff = diffOf(old, [...old, policy])
    expect(causes(diff)).toEqual(['NetworkPolicy shop/deny: added'])
    const [change] = diff.changes
    expect(change!.subjects).toEqual(['Service shop/web', 'Service shop/web2'])
    expect(effects(change!)[0]).toBe('reachability: delivered → dropped [network-policy-ingress]')
  })

  test('a Service that comes: its address, and its name', () => {
    const diff = diffOf(BASE, [...BASE, service('web', {})])
    expect(causes(diff)).toEqual(['Service shop/web: added'])
    expect(effects(diff.changes[0]!).some((one) => /^reachability: .* → delivered$/.test(one))).toBe(true)
    expect(effects(diff.changes[0]!)).toContain('dns: NXDOMAIN → A 10.96.0.20')
  })

  test('sessionAffinity, loadBalancerSourceRanges and readiness, each by its field', () => {
    const old = [...BASE, service('web', BALANCED, VIP)]
    const sticky = [...BASE, service('web', { ...BALANCED, sessionAffinity: 'ClientIP' }, VIP)]
    expect(causes(diffOf(old, sticky))).toEqual(['Service shop/web: sessionAffinity None → ClientIP for 10800 s'])
    const ranged = [...BASE, service('web', { ...BALANCED, loadBalancerSourceRanges: ['203.0.113.0/24'] }, VIP)]
    const diff = diffOf(old, ranged)
    expect(causes(diff)).toEqual(['Service shop/web: loadBalancerSourceRanges (none) → 203.0.113.0/24'])
    const classes = diff.changes[0]!.effects.flatMap(({ clientClasses }) => clientClasses)
    expect(classes).toContain('outside')
    expect(classes).not.toContain('outside, from 203.0.113.0/24')
    const [web] = PODS as [Manifest]
    const unready = {
      ...web,
      status: { ...(web['status'] as Manifest), conditions: [{ type: 'Ready', status: 'False' }] },
    }
    const lost = diffOf(old, [...NODES, unready, ...PODS.slice(1), service('web', BALANCED, VIP)])
    expect(causes(lost)).toEqual([
      'endpoints of Service shop/web: no longer 10.244.1.5:8080 ready on n1; now 10.244.1.5:8080 not ready on n1',
    ])
    expect(effects(lost.changes[0]!)[0]).toBe('reachability: delivered → rejected [no-endpoint]')
  })

  test('the mode of kube-proxy: one entry for the whole cluster', () => {
    const proxy = (mode: string): Manifest => ({
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      mode,
      clusterCIDR: '10.244.0.0/16',
      nodePortAddresses: ['primary'],
    })
    const empty = service('none', { ...BALANCED, externalTrafficPolicy: 'Local', clusterIP: '10.96.0.30' }, VIP)
    const old = [...BASE, empty, pod('none', { app: 'none' }, 'n1', '10.244.1.9')]
    const diff = diffOf([...old, proxy('nftables')], [...old, proxy('ipvs')])
    expect(causes(diff)).toEqual(['KubeProxyConfiguration: mode nftables → ipvs'])
    expect(diff.changes[0]!.subjects).toEqual(['Service shop/none'])
  })

  test('an Ingress: the route, by host and path', () => {
    const ingress = (name: string): Manifest => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'Ingress',
      metadata: { name: 'shop', namespace: 'shop' },
      spec: {
        rules: [
          {
            host: 'shop.example',
            http: {
              paths: [{ path: '/api', pathType: 'Prefix', backend: { service: { name, port: { number: 80 } } } }],
            },
          },
        ],
      },
    })
    const web2 = service('web2', { clusterIP: '10.96.0.21', selector: { app: 'web' } })
    const old = [...BASE, service('web', {}), web2]
    const diff = diffOf([...old, ingress('web')], [...old, ingress('web2')])
    expect(causes(diff)).toEqual(['Ingress shop/shop: spec.rules changed'])
    expect(effects(diff.changes[0]!)).toContain(
      'route: Service shop/web:80 with path /api → Service shop/web2:80 with path /api',
    )
    expect(diff.changes[0]!.effects[0]!.targets).toContain('http://shop.example/api')
  })

  test('dnsPolicy and the Corefile: what pods are told', () => {
    const [, client] = PODS as [Manifest, Manifest]
    const host = {
      ...client,
      spec: { ...(client['spec'] as Manifest), dnsPolicy: 'None', dnsConfig: { nameservers: ['192.0.2.53'] } },
    }
    const old = [...BASE, service('web', {})]
    const diff = diffOf(old, [...NODES, PODS[0]!, host, PODS[2]!, service('web', {})])
    expect(diff.changes.flatMap(({ effects }) => effects.map(({ kind }) => kind))).toEqual(['resolv-conf'])
    const corefile = (ttl: number): Manifest => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'coredns', namespace: 'kube-system' },
      data: { Corefile: `.:53 {\n  kubernetes cluster.local {\n    ttl ${ttl}\n  }\n  forward . /etc/resolv.conf\n}` },
    })
    const told = diffOf([...old, corefile(30)], [...old, corefile(5)])
    expect(causes(told)).toEqual(['ConfigMap kube-system/coredns: Corefile changed'])
    expect(effects(told.changes[0]!)).toContain('dns: TTL 30 s → TTL 5 s')
  })
})

describe('the same is nothing', () => {
  const objects = [...BASE, service('web', BALANCED, VIP)]
  const text = objects.map((one) => JSON.stringify(one)).join('\n---\n')

  test.each([
    [
      'in another order',
      [...objects]
        .reverse()
        .map((one) => JSON.stringify(one))
        .join('\n---\n'),
    ],
    ['as a List in JSON', JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects })],
    ['as YAML', objects.map((one) => dump(one, { sortKeys: true })).join('---\n')],
    [
      'with defaults written down',
      text.replace(
        '"type":"LoadBalancer"',
        '"type":"LoadBalancer","sessionAffinity":"None","internalTrafficPolicy":"Cluster"',
      ),
    ],
  ])('%s', (_what, other) => {
    const pair = asChange(parseCluster(text), parseCluster(other))
    expect(diffClusters(pair.old, pair.new).changes).toEqual([])
  })
})

describe('the command', () => {
  const place = (name: string, objects: readonly Manifest[]): string => {
    const path = join(folder, name)
    writeFileSync(path, objects.map((one) => JSON.stringify(one)).join('\n---\n'))
    return path
  }
  const cluster = place('cluster.yaml', BASE)
  const old = place('old.yaml', [service('web', BALANCED, VIP)])
  const changed = place('new.yaml', [service('web', { ...BALANCED, externalTrafficPolicy: 'Local' }, VIP)])
  const options = { moreOld: [], moreNew: [], manifests: [cluster], exitCode: false, output: [], quiet: true } as const

  test('exit 0 for the same and for another; with --exit-code 1 for another', async () => {
    expect(await runDiff({ ...options, old, new: old, exitCode: true }, fakeIo())).toBe(0)
    expect(await runDiff({ ...options, old, new: changed }, fakeIo())).toBe(0)
    expect(await runDiff({ ...options, old, new: changed, exitCode: true }, fakeIo())).toBe(1)
  })

  test('text names the cause, who sees it, and the commands that show it', async () => {
    const io = fakeIo()
    await runDiff({ ...options, old, new: changed }, io)
    expect(io.written.stdout).toContain('Service shop/web: externalTrafficPolicy Cluster → Local')
    expect(io.written.stdout.replace(/\s+/g, ' ')).toContain(`dpemu explain -f ${cluster} -f ${old} --from 198.18.0.7`)
  })

  test('Markdown has a heading a cause', async () => {
    const io = fakeIo()
    await runDiff({ ...options, old, new: changed, output: ['markdown'] }, io)
    expect(io.written.stdout).toContain('## Service shop/web: externalTrafficPolicy Cluster → Local')
  })

  test('Markdown of hundreds of causes fits a comment, and counts what is left out', async () => {
    const services = (policy: string): Manifest[] =>
      Array.from({ length: 120 }, (_, i) => {
        const ports = [{ name: 'http', port: 80, targetPort: 8080, nodePort: 30100 + i }]
        const spec = {
          type: 'NodePort',
          clusterIP: `10.96.1.${i + 1}`,
          selector: { app: 'web' },
          externalTrafficPolicy: policy,
          ports,
        }
        return service(`web-${i}-${'x'.repeat(40)}`, spec)
      })
    const io = fakeIo()
    const sides = { old: place('many.yaml', services('Cluster')), new: place('other.yaml', services('Local')) }
    await runDiff({ ...options, ...sides, output: ['markdown'] }, io)
    expect(io.written.stdout.length).toBeLessThan(50_001)
    expect(io.written.stdout).toMatch(/and \d+ more causes/)
  })

  test('JSON is what its schema says', async () => {
    const schema = readFileSync(fileURLToPath(new URL('../../schemas/diff.schema.json', import.meta.url)), 'utf8')
    const validate = new Ajv({ strict: true }).compile(JSON.parse(schema))
    for (const side of [old, changed]) {
      const io = fakeIo()
      await runDiff({ ...options, old, new: side, output: ['json'] }, io)
      const document = JSON.parse(io.written.stdout) as { same: boolean }
      expect(validate(document), JSON.stringify(validate.errors)).toBe(true)
      expect(document.same).toBe(side === old)
    }
  })

  test('several manifests a side', async () => {
    const io = fakeIo()
    await runDiff({ ...options, manifests: [], old: cluster, new: cluster, moreOld: [old], moreNew: [changed] }, io)
    expect(io.written.stdout).toContain('externalTrafficPolicy Cluster → Local')
  })

  test('a side that is missing, or standard input for both, is wrong usage', async () => {
    const usage = expect.objectContaining({ code: 'E_USAGE', exitCode: 2 })
    await expect(runDiff({ ...options, old, new: '' }, fakeIo())).rejects.toThrow(usage)
    await expect(runDiff({ ...options, old: '-', new: '-' }, fakeIo())).rejects.toThrow(usage)
  })

  test('a manifest that cannot be used is 3, whichever side it is of', async () => {
    const broken = join(folder, 'broken.yaml')
    writeFileSync(broken, 'kind: Service\nspec: [')
    for (const sides of [
      { old: broken, new: old },
      { old, new: broken },
    ]) {
      try {
        await runDiff({ ...options, ...sides }, fakeIo())
        expect.unreachable()
      } catch (error) {
        expect(error).toBeInstanceOf(UserError)
        expect((error as UserError).exitCode).toBe(3)
      }
    }
  })
})
