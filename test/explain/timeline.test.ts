/** `explain --timeline FILE --at TIME`: a packet in the middle of a rollout, and which lag is to blame. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { afterAll, describe, expect, test } from 'vitest'
import { type ExplainOptions, runExplain } from '../../src/commands/explain.ts'
import { UserError } from '../../src/errors.ts'
import type { Explanation } from '../../src/explain/types.ts'
import { fakeIo } from '../cli/fake-io.ts'

const folder = mkdtempSync(join(tmpdir(), 'explain-at-'))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const NODES = ['a', 'b', 'c'].map((name) => JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name } }))
const web = (policy: string): string =>
  [
    ...NODES,
    `apiVersion: apps/v1
kind: StatefulSet
metadata: { name: web }
spec:
  replicas: 1
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      nodeName: a
      terminationGracePeriodSeconds: 5
      containers:
        - { name: web, image: web, ports: [{ containerPort: 8080 }], readinessProbe: { periodSeconds: 1 } }`,
    `apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  type: LoadBalancer
  externalTrafficPolicy: ${policy}
  selector: { app: web }
  ports: [{ port: 80, targetPort: 8080 }]
status: { loadBalancer: { ingress: [{ ip: 203.0.113.9 }] } }`,
  ].join('\n---\n')
const CLUSTER = file('cluster.yaml', web('Cluster'))
const LOCAL = file('local.yaml', web('Local'))
const TIMELINE = file(
  'timeline.yaml',
  `apiVersion: dpemu/v1
kind: Timeline
events: [{ at: 10s, rollout: statefulset/web }, { at: 60s, fail: b, back: 30s }]
workloads: { statefulset/web: { startup: 6s } }
loadBalancer: gke-l4
controlPlane: { slice: 0s, watch: 0s, sync: 100ms, nodes: { c: { sync: 4s } } }
`,
)

function at(time: string, change: Partial<ExplainOptions> = {}): Explanation & { timeline: string[] } {
  const io = fakeIo()
  const options = { manifests: [CLUSTER], timeline: TIMELINE, at: time, stateful: false, output: ['json'], quiet: true }
  runExplain({ ...options, from: '198.51.100.7', to: '203.0.113.9:80', ...change }, io)
  return JSON.parse(io.written.stdout)
}

function refusal(change: Partial<ExplainOptions>): UserError {
  try {
    at('1s', change)
  } catch (error) {
    if (error instanceof UserError) return error
    throw error
  }
  throw new Error('it was not refused')
}

describe('a restart of the only pod', () => {
  test('before it nobody is behind', () => {
    const { reason, timeline, verdict } = at('9s')
    expect([verdict, reason, timeline]).toEqual(['dnat', null, undefined])
  })

  test('a node whose rules are late sends to the pod that has stopped: when it did, and when the rules follow', () => {
    const { reason, timeline, verdict } = at('10.5s', { node: 'c' })
    expect([verdict, reason]).toEqual(['reject', 'pod-stopped'])
    expect(timeline).toEqual([
      '10 s: web-0 is deleted; its endpoint counts as ending',
      '10 s: web-0 stops accepting connections',
      '10 s: the endpoints change',
      '10.5 s: a connection comes in by node c, for web-0',
      '14 s: the rules of node c follow, 4 s later',
    ])
  })

  test('once its network is taken down nothing comes back', () => {
    const { reason, verdict } = at('12s', { node: 'c' })
    expect([verdict, reason]).toEqual(['drop', 'backend-gone'])
  })

  test('a node that knows refuses for want of an endpoint', () => {
    const { reason, timeline } = at('12s', { node: 'a' })
    expect(reason).toBe('no-endpoint')
    expect(timeline.join()).toContain('there is no pod that could be used anywhere')
  })

  test('Local: the load balancer still sends to the node that has none, and when it leaves it', () => {
    const { reason, timeline } = at('15s', { manifests: [LOCAL], node: 'a' })
    expect(reason === 'no-local-endpoint' || reason === 'no-endpoint').toBe(true)
    expect(timeline.length).toBeGreaterThan(0)
  })

  test('the new pod, once it is ready, with an address of its own', () => {
    const [before, after] = ['9s', '50s'].map((time) => at(time).endpoints)
    expect(after).toHaveLength(1)
    expect(after).not.toEqual(before)
  })

  test('a target that is down is named', () => {
    const details = at('61s').steps.map(({ detail }) => detail)
    expect(details.join()).toContain('one of its targets is a node that is down: what goes there is lost')
  })

  test('the JSON fits its schema; the text has the lines below the verdict', () => {
    const schema = JSON.parse(
      readFileSync(new URL('../../schemas/explain.schema.json', import.meta.url), 'utf8'),
    ) as object
    const validate = new Ajv({ strict: true, allowUnionTypes: true }).compile(schema)
    validate(at('12s', { node: 'c' }))
    expect(validate.errors ?? []).toEqual([])
    const io = fakeIo()
    const options = { manifests: [CLUSTER], timeline: TIMELINE, at: '12s', stateful: false, output: [], quiet: true }
    runExplain({ ...options, from: '198.51.100.7', to: '203.0.113.9:80', node: 'c' }, io)
    expect(io.written.stdout).toContain('who learns what when:\n  10 s: web-0 is deleted')
  })

  test('the same seed is the same course', () => {
    expect(at('12s', { seed: '3' })).toEqual(at('12s', { seed: '3' }))
  })
})

describe('bad input', () => {
  test.each([
    [{ at: undefined }, '--timeline needs --at, a time of it such as 12.3s'],
    [{ at: 'noon' }, "--at must be a time of the Timeline such as 12.3s, not 'noon'"],
    [{ timeline: undefined }, 'there is no Timeline with events'],
    [{ timeline: join(folder, 'none.yaml') }, 'cannot read the timeline: no such file'],
    [{ seed: 'x' }, '--seed must be a whole number'],
    [{ at: undefined, timeline: undefined, seed: '1' }, '--seed is that of a Timeline: it needs --at'],
  ])('%o', (change, message) => {
    expect(refusal(change as Partial<ExplainOptions>).message).toContain(message.slice(0, 40))
  })

  test('--at with --stateful', () => {
    const packets = file('packets.ndjson', '')
    const given = { from: undefined, to: undefined, packets, stateful: true }
    expect(refusal(given).message).toBe('--at and --stateful exclude each other')
  })
})
