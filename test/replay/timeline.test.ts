/** A Timeline in a replay: packets meet the cluster as each node, balancer and pod has it; clients lose what `timeline` counts. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { beforeAll, describe, expect, test } from 'vitest'
import { replayDraws } from '../../dist/src/replay/draws.js'
import type { UserError } from '../../src/errors.ts'
import type { ReplayOptions } from '../../src/replay/plan.ts'
import { renderJson } from '../../src/report/json.ts'
import { renderText } from '../../src/report/text.ts'
import { evaluateThresholds, parseThreshold } from '../../src/report/threshold.ts'
import type { ReplayReport } from '../../src/report/types.ts'
import { generateTrace } from '../../src/trace/generate.ts'
import { replayed, resultText, temporaryFolder } from './support.ts'

const folder = temporaryFolder()

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const node = (name: string): string =>
  JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'kubernetes.io/hostname': name } } })
const daemonSet = (probe: string): string => `apiVersion: apps/v1
kind: DaemonSet
metadata: { name: web }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
        - name: web
          image: web
          ports: [{ containerPort: 8080 }]
          ${probe}`
const SERVICE = `apiVersion: v1
kind: Service
metadata: { name: web }
spec: { type: LoadBalancer, selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }`
const PROBE = 'readinessProbe: { httpGet: { path: /, port: 8080 }, periodSeconds: 1 }'
const NODES = ['a', 'b', 'c'].map(node)
const MANIFESTS = file('web.yaml', [...NODES, daemonSet(PROBE), SERVICE].join('\n---\n'))

const TRAFFIC = `seed: 5
duration: 90s
traffic:
  - name: outside
    from: { external: { addresses: 300 } }
    to: { service: default/web, port: 80 }
    arrivals: { process: poisson, rate: 60 }
    requests: 0
`
const WORKLOADS = `workloads: { daemonset/web: { startup: 6s, requests: { duration: 40ms } } }
loadBalancer: gke-l4
`
const timeline = (name: string, events: string, more = WORKLOADS): string =>
  file(name, `apiVersion: dpemu/v1\nkind: Timeline\nevents:\n${events}\n${more}`)

let trace: string

async function generated(name: string, scenario: string, manifests = [MANIFESTS]): Promise<string> {
  const output = join(folder, `${name}.msgpack`)
  await generateTrace({ scenarioPath: file(`${name}.yaml`, `name: ${name}\n${scenario}`), manifests, output })
  return output
}

beforeAll(async () => {
  trace = await generated('plain', TRAFFIC)
})

async function run(change: Partial<ReplayOptions>): Promise<ReplayReport> {
  return replayed(trace, { manifests: [MANIFESTS], policies: ['cluster', 'local'], ...change })
}

async function refusal(change: Partial<ReplayOptions>): Promise<UserError> {
  const error = await run(change).catch((thrown: unknown) => thrown)
  // The built code has an error class of its own.
  if (error instanceof Error && 'code' in error) return error as UserError
  throw new Error('it was not refused')
}

const RESTART = '  - { at: 20s, rollout: daemonset/web }'

describe('a restart of a DaemonSet', () => {
  let report: ReplayReport
  beforeAll(async () => {
    report = await run({ timeline: timeline('restart.yaml', RESTART) })
  })

  test('the packets that fail are the connections that clients lose or wait for', () => {
    for (const [i, policy] of (['cluster', 'local'] as const).entries()) {
      const { connections, drops } = report.runs[i]!
      const { losses, offered } = report.timeline!
      const own = losses.filter((one) => one.policy === policy)
      const total = own.reduce((sum, { count }) => sum + count, 0)
      expect(offered[i]).toEqual({ policy, count: connections.attempted })
      expect(total).toBeGreaterThan(0)
      expect(Math.abs(connections.failed - total)).toBeLessThan(4 * Math.sqrt(2 * total))
      const of = (cause: string): number =>
        own.filter((one) => one.cause === cause).reduce((sum, { count }) => sum + count, 0)
      // A stale rule leads to a pod that refuses, or to an address that is nobody's any more.
      const stale = (drops['pod-stopped'] ?? 0) + (drops['backend-gone'] ?? 0)
      expect(Math.abs(stale - of('stale-rules'))).toBeLessThan(4 * Math.sqrt(2 * of('stale-rules') + 8))
      const empty = of('no-local-endpoint')
      expect(Math.abs((drops['no-local-endpoint'] ?? 0) - empty)).toBeLessThan(4 * Math.sqrt(2 * empty + 8))
    }
  })

  test('under Local what is dropped is late and not lost: the SYN is sent again', () => {
    const { delayed, lost } = report.timeline!
    expect(delayed[1]!.count).toBeGreaterThan(10)
    expect(report.runs[1]!.connections.failed).toBeGreaterThan(lost[1]!.count + 10)
  })

  test('every pod of the rollout is in the table of endpoints, under its own name', () => {
    const pods = report.runs[0]!.endpoints.map(({ pod }) => pod)
    expect(new Set(pods).size).toBe(6)
    expect(pods.every((pod) => pod?.startsWith('default/web-'))).toBe(true)
  })

  test('the JSON fits its schema, the text says what was lost', () => {
    const validate = new Ajv({ strict: true, allowUnionTypes: true }).compile(
      JSON.parse(readFileSync(new URL('../../schemas/replay.schema.json', import.meta.url), 'utf8')),
    )
    validate(JSON.parse(renderJson(report)))
    expect(validate.errors ?? []).toEqual([])
    const text = renderText(report).replace(/\s+/g, ' ')
    expect(text).toMatch(/Local loses [\d,]+ of [\d,]+ connections \([\d.]+ %\), mostly: a node's rules still name/)
    expect(text).toContain('20 s: DaemonSet default/web is rolled out')
  })

  test('thresholds name lists of the Timeline with or without it', () => {
    const [short, long] = evaluateThresholds(
      ['lost[policy=local].count == 0', 'timeline.lost[policy=local].count == 0'].map(parseThreshold),
      report,
    )
    expect(short!.pass).toBe(false)
    expect(short!.matches).toEqual(long!.matches)
  })

  test.each([1, 2, 7])('%i workers print the same bytes', async (workers) => {
    const again = await run({ timeline: join(folder, 'restart.yaml'), workers })
    expect(resultText(again)).toBe(resultText(report))
  })

  test('a seed of its own is another course', async () => {
    const other = await run({ timeline: join(folder, 'restart.yaml'), seed: 6 })
    expect(other.timeline!.lost).not.toEqual(report.timeline!.lost)
  })
})

test('connections that last break with their pod: as many in the packets as clients lose', async () => {
  const lasting = TRAFFIC.replace('requests: 0', 'requests: 8\n    thinkTime: 1s')
  const path = await generated('lasting', lasting)
  const { runs, timeline: losses } = await replayed(path, {
    manifests: [MANIFESTS],
    policies: ['cluster'],
    timeline: timeline('lasting-timeline.yaml', RESTART),
  })
  const { broken, failed } = runs[0]!.connections
  const lost = losses!.lost[0]!.count + losses!.delayed[0]!.count
  expect(broken).toBeGreaterThan(100)
  expect(losses!.losses.map(({ cause }) => cause)).toContain('killed-in-flight')
  expect(Math.abs(broken + failed - lost)).toBeLessThan(4 * Math.sqrt(2 * lost))
})

test('the proxy mode that is asked for is that of what clients lose: ipvs has no rule that drops', async () => {
  const path = timeline('modes.yaml', RESTART)
  const causes = async (mode: 'nftables' | 'ipvs'): Promise<string[]> => {
    const report = await run({ timeline: path, proxyModes: [mode], policies: ['local'] })
    return report.timeline!.losses.map(({ cause }) => cause)
  }
  expect(await causes('nftables')).toContain('no-local-endpoint')
  expect(await causes('ipvs')).not.toContain('no-local-endpoint')
  const both = await run({ timeline: path, proxyModes: ['nftables', 'ipvs'] })
  expect(both.warnings.map(({ code }) => code)).toContain('W_TIMELINE_MODES')
})

describe('where a Timeline comes from', () => {
  test('one without events changes nothing, not a byte', async () => {
    const empty = file('empty.yaml', 'apiVersion: dpemu/v1\nkind: Timeline\n')
    expect(resultText(await run({ timeline: empty }))).toBe(resultText(await run({})))
  })

  test('in a file, among the manifests, and in the trace by way of its scenario: the same losses', async () => {
    const text = `${WORKLOADS}events:\n${RESTART}\n`
    const asFile = await run({ timeline: timeline('one.yaml', RESTART) })
    const among = file('among.yaml', `apiVersion: dpemu/v1\nkind: Timeline\n${text}`)
    const inManifests = await run({ manifests: [MANIFESTS, among] })
    const scenario = `${TRAFFIC}timeline:\n${text.replace(/^/gm, '  ')}\n`
    const own = await generated('own', scenario)
    const inTrace = await replayed(own, { policies: ['cluster', 'local'] })
    // A file that the scenario names, beside it.
    const named = await replayed(await generated('named', `${TRAFFIC}timeline: one.yaml\n`), {})
    for (const other of [inManifests, inTrace, named]) {
      const { source: _, ...theirs } = other.timeline!
      const { source: __, ...ours } = asFile.timeline!
      expect(theirs).toEqual(ours)
    }
    expect(inManifests.warnings.map(({ code }) => code)).not.toContain('W_NOT_MODELLED')
  })

  test('a trace of manifests alone has no probes left, which is said', async () => {
    const { warnings } = await replayed(trace, { timeline: join(folder, 'restart.yaml') })
    expect(warnings.map(({ code }) => code)).toContain('W_NO_LIFECYCLE')
  })
})

describe('who knows what when', () => {
  test('a node whose rules are late goes on sending to the pod that has stopped; the others do not', async () => {
    const slow = `${WORKLOADS}controlPlane: { slice: 0s, watch: 0s, sync: 0s, nodes: { b: { sync: 5s } } }\n`
    const late = await run({
      timeline: timeline('late.yaml', '  - { at: 30s, delete: daemonset/web, pods: 1 }', slow),
      policies: ['cluster'],
    })
    const ideal = `${WORKLOADS}controlPlane: ideal\n`
    const prompt = await run({
      timeline: timeline('prompt.yaml', '  - { at: 30s, delete: daemonset/web, pods: 1 }', ideal),
      policies: ['cluster'],
    })
    // 60 a second, a third of them by b, a third of those to the pod, for 5 s: 33.
    const { failed } = late.runs[0]!.connections
    expect(prompt.runs[0]!.connections.failed).toBeLessThan(5)
    expect(failed).toBeGreaterThan(33 - 4 * Math.sqrt(33))
    expect(failed).toBeLessThan(33 + 4 * Math.sqrt(33))
  })

  test('a node that fails: its pods and its own door are silent until each sender has noticed', async () => {
    const { runs, timeline: losses } = await run({
      timeline: timeline('fail.yaml', '  - { at: 20s, fail: c, back: 30s }'),
    })
    expect(runs[0]!.drops['node-down']).toBeGreaterThan(0)
    expect(runs[0]!.drops['backend-gone']).toBeGreaterThan(runs[1]!.drops['backend-gone'] ?? 0)
    expect(losses!.losses.map(({ cause }) => cause)).toContain('ingress-node-gone')
  })

  test('apply: a policy that is flipped on the way drops what comes to a node without a pod', async () => {
    const flip = SERVICE.replace('spec: {', 'spec: { externalTrafficPolicy: Local,')
    const deployment = daemonSet(PROBE)
      .replace('kind: DaemonSet', 'kind: Deployment')
      .replace('spec:\n', 'spec:\n  replicas: 1\n')
    const manifests = file('one-pod.yaml', [...NODES, deployment, SERVICE].join('\n---\n'))
    file('flip-service.yaml', flip)
    const path = file(
      'flip.yaml',
      'apiVersion: dpemu/v1\nkind: Timeline\nevents: [{ at: 40s, apply: flip-service.yaml }]\ntraffic: { service: default/web }\nloadBalancer: metallb-bgp\n',
    )
    const { runs } = await replayed(await generated('flip-trace', TRAFFIC, [manifests]), {
      manifests: [manifests],
      policies: ['as-is'],
      timeline: path,
    })
    expect(runs[0]!.connections.failed).toBeGreaterThan(0)
    expect(Object.keys(runs[0]!.drops)).toEqual(['no-local-endpoint'])
  })
})

describe('bad input', () => {
  const bad = (events: string): string => timeline(`bad-${events.length}.yaml`, events)

  test('an event after the end of the trace', async () => {
    const error = await refusal({ timeline: bad('  - { at: 5m, rollout: daemonset/web }') })
    expect(error.code).toBe('E_TIMELINE')
    expect(error.message).toMatch(/^at 300 s the trace is over; it lasts (8|9)\d\.\d+ s$/)
    expect(error.where).toContain('events[0]')
  })

  test('a workload and a node that are not there, with the nearest name', async () => {
    expect((await refusal({ timeline: bad('  - { at: 1s, rollout: daemonset/wen }') })).hint).toContain('daemonset/web')
    expect((await refusal({ timeline: bad('  - { at: 1s, drain: node-a }') })).message).toBe('there is no node node-a')
  })

  test('a file that is not there, or without a Timeline', async () => {
    expect((await refusal({ timeline: join(folder, 'nowhere.yaml') })).code).toBe('E_TIMELINE')
    expect((await refusal({ timeline: MANIFESTS })).message).toBe('there is no Timeline in it')
  })

  test('two of them among the manifests', async () => {
    const [one, two] = ['x.yaml', 'y.yaml'].map((name) => timeline(name, RESTART))
    expect((await refusal({ manifests: [MANIFESTS, one!, two!] })).message).toMatch(/^a second Timeline/)
  })

  test('an `apply` of a file that is not there', async () => {
    const error = await refusal({ timeline: bad('  - { at: 1s, apply: nothing-here.yaml }') })
    expect(error.code).toBe('E_TIMELINE')
    expect(error.message).toMatch(/cannot read the manifest: no such file: .*nothing-here\.yaml/)
    expect(error.where).toMatch(/document 1, events\[0\]/)
  })

  test('a scenario says so before a trace is written', async () => {
    const wrong = `${TRAFFIC}timeline: { events: [{ at: 2m, rollout: daemonset/web }] }\n`
    await expect(generated('wrong', wrong)).rejects.toThrow('at 120 s the scenario is over; it lasts 90 s')
  })

  test('--seeds and --placements draw traffic, `runs` of a Timeline its courses: not both', async () => {
    const options = { trace, manifests: [MANIFESTS], policies: ['cluster'] as const, proxyModes: [], workers: 1 }
    const all = { ...options, shards: 16, seed: null, model: null, timeline: timeline('draws.yaml', RESTART) }
    await expect(replayDraws(all, { seeds: 2, placements: 1 }, {})).rejects.toThrow('do not go with a Timeline')
  })

  test('a threshold on losses where there is no Timeline', async () => {
    const report = await run({})
    const threshold = parseThreshold('lost[policy=local].count == 0')
    expect(() => evaluateThresholds([threshold], report)).toThrow('this replay has no Timeline')
  })
})
