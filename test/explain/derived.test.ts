/** What an answer hangs on and was not in the manifests; and one question in several modes. */
import { describe, expect, test } from 'vitest'
import { runDig } from '../../src/commands/dig.ts'
import { fakeIo } from '../cli/fake-io.ts'
import { explain, failure, file, one } from './support.ts'

const WEB = `
apiVersion: v1
kind: Node
metadata: { name: a }
status: { addresses: [{ type: InternalIP, address: 192.168.7.1 }, { type: InternalIP, address: 192.168.8.1 }] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: c, ports: [{ containerPort: 80 }] }] } }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { type: NodePort, selector: { app: web }, ports: [{ port: 80, nodePort: 30080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: other }
spec: { ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: client }
spec: { containers: [{ name: c }] }
`
const web = file(WEB)
/** The lines below the verdict. */
function filledIn(options: Parameters<typeof explain>[0]): string[] {
  const [, below = ''] = explain({ manifests: [web], ...options }).stdout.split('filled in, as a cluster would:\n')
  return below.split('\n').flatMap((line) => (line === '' ? [] : [line.trim()]))
}

describe('explain says what was filled in', () => {
  test.each([
    [
      'a cluster IP and its pods',
      'default/client',
      'web:80',
      ['Service default/web: clusterIP', 'Deployment default/web: 2 pods', 'Pod default/client: node a, address'],
    ],
    ['a written node port: pods alone', '198.18.0.7', '192.168.7.1:30080', ['Deployment default/web: 2 pods']],
    [
      'the network plugin',
      'default/client',
      '198.18.0.7:80',
      ['Network: pod range', 'Pod default/client: node a, address'],
    ],
  ])('%s', (_, from, to, expected) => {
    const lines = filledIn({ from, to })
    for (const line of expected) expect(lines).toContainEqual(expect.stringContaining(line))
    expect(lines.filter((line) => /^(Service|Pod|Deployment|Node|Network) ?\S*:/.test(line))).toHaveLength(
      expected.length,
    )
    expect(lines.at(-1)).toMatch(/^\d of \d notes; --derived has all$/)
  })

  test('nothing where all was written', () => {
    expect(explain({ from: '203.0.113.7', to: '198.51.100.10:80' }).stdout).not.toContain('filled in')
  })

  test('--derived has all of it, in JSON as well', () => {
    const lines = filledIn({ from: '198.18.0.7', to: '192.168.7.1:30080', derived: true })
    expect(lines).toContainEqual(expect.stringContaining('Service default/other: clusterIP'))
    const { derived } = one({ manifests: [web], from: 'default/client', to: 'web:80', derived: true }) as {
      derived?: object[]
    }
    expect(derived).toContainEqual({ object: 'Service default/other', what: expect.stringContaining('clusterIP') })
    expect(one({ manifests: [web], from: 'default/client', to: 'web:80' })).not.toHaveProperty('derived')
  })
})

test.each([
  ['the address that it answers', false, 'Service default/web: clusterIP', 'Service default/other: clusterIP'],
  ['all, with --derived', true, 'Service default/other: clusterIP', 'nothing else'],
])('dig says what was filled in: %s', (_, derived, expected, not) => {
  const io = fakeIo({}, '')
  runDig({ manifests: [web], name: 'web.default.svc.cluster.local', output: [], derived }, io)
  expect(io.written.stderr).toContain(expected)
  expect(io.written.stderr).not.toContain(not)
  expect(io.written.stdout).not.toContain('filled in')
})

describe('one question in another mode', () => {
  test.each([
    ['nftables', 'none'],
    ['iptables', 'dnat'],
    ['ipvs', 'dnat'],
  ])('%s: a node port on a secondary address: %s', (proxyMode, verdict) => {
    expect(one({ manifests: [web], from: '198.18.0.7', to: '192.168.8.1:30080', proxyMode }).verdict).toBe(verdict)
  })

  test('as the manifests say where it is left out', () => {
    const config = file(
      `${WEB}---\napiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n`,
    )
    const asked = { manifests: [config], from: '198.18.0.7', to: '192.168.8.1:30080' }
    expect(one(asked).verdict).toBe('dnat')
    expect(one({ ...asked, proxyMode: 'nftables' }).verdict).toBe('none')
  })

  test('of a sequence as well', () => {
    const { stdout } = explain(
      { manifests: [web], packets: '-', stateful: true, proxyMode: 'iptables' },
      '{"id":"a","time":1,"from":"198.18.0.7:40000","to":"192.168.8.1:30080"}',
    )
    expect(JSON.parse(stdout)).toMatchObject({ verdict: 'dnat' })
  })

  test('a mode there is not', () => {
    expect(failure(() => explain({ from: 'a', to: 'b:1', proxyMode: 'iptable' }))).toBe(
      'E_USAGE 2 --proxy-mode iptable: no such mode (did you mean iptables?)',
    )
  })
})
