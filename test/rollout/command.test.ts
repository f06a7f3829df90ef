/** `dpemu rollout` from the command line to the report. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { afterAll, describe, expect, test } from 'vitest'
import { type RolloutOptions, runRollout } from '../../src/commands/rollout.ts'
import { UserError } from '../../src/errors.ts'
import type { RolloutReport } from '../../src/rollout/report.ts'
import { generateTrace } from '../../src/trace/generate.ts'
import { inspectTrace } from '../../src/trace/inspect.ts'
import { fakeIo } from '../cli/fake-io.ts'

const FOLDER = mkdtempSync(join(tmpdir(), 'rollout-'))
afterAll(() => rmSync(FOLDER, { recursive: true }))

function file(name: string, text: string): string {
  const path = join(FOLDER, name)
  writeFileSync(path, text)
  return path
}

const WEB = file(
  'web.yaml',
  `apiVersion: apps/v1
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
          readinessProbe: { httpGet: { path: /, port: 8080 }, periodSeconds: 2 }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { type: LoadBalancer, selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
`,
)

const QUICK = { runs: '12', rate: '50/s' }

async function run(options: Partial<RolloutOptions>): Promise<{ code: number; stdout: string; stderr: string }> {
  const io = fakeIo()
  const code = await runRollout(
    { manifests: [WEB], safe: false, threshold: [], output: [], quiet: false, ...QUICK, ...options },
    io,
  )
  return { code, ...io.written }
}

async function refusal(options: Partial<RolloutOptions>): Promise<UserError> {
  try {
    await run(options)
  } catch (error) {
    if (error instanceof UserError) return error
    throw error
  }
  throw new Error('it was not refused')
}

const timeline = (text: string): string =>
  file(`timeline-${text.length}-${text.charCodeAt(10)}.yaml`, `apiVersion: dpemu/v1\nkind: Timeline\n${text}`)

describe('--safe where a readinessProbe is missing', () => {
  const BARE = file('bare.yaml', readFileSync(WEB, 'utf8').replace(/ *readinessProbe.*\n/, ''))

  test('finds the probe first, then the hook: together they lose nothing', async () => {
    const options = { manifests: [BARE], workload: 'daemonset/web', loadBalancer: 'gke-l4', safe: true }
    const { stdout } = await run({ ...options, output: ['json'] })
    const { safe, losses } = JSON.parse(stdout) as RolloutReport
    expect(losses.map(({ cause }) => cause)).toContain('not-listening-yet')
    for (const one of safe!) {
      expect([one.readinessPeriodSeconds, one.leaves]).toEqual([10, 0])
      expect(one.preStopSeconds).toBeGreaterThanOrEqual(0)
      expect(one.because).toMatch(/a readinessProbe keeps new pods out until they listen$/)
    }
    const { stdout: text } = await run(options)
    expect(text.replace(/\s+/g, ' ')).toMatch(
      /With a readinessProbe every 10 s a preStop of \d+ s .* makes Cluster zero/,
    )
  })

  test('where there is one none is missing', async () => {
    const { stdout } = await run({ workload: 'ds/web', loadBalancer: 'gke-l4', safe: true, output: ['json'] })
    expect((JSON.parse(stdout) as RolloutReport).safe!.map((one) => one.readinessPeriodSeconds)).toEqual([null, null])
  })
})

describe('a restart', () => {
  test('in short: what each policy loses, why, and what helps', async () => {
    const { stdout, code } = await run({ workload: 'daemonset/web', loadBalancer: 'gke-l4', safe: true })
    expect(code).toBe(0)
    const story = stdout.replace(/\s+/g, ' ')
    expect(story).toMatch(
      /Cluster loses [\d.]+ of [\d,]+ connections \([<\d.]+ %\), all refused: a node's rules still name a pod that has stopped\./,
    )
    expect(story).toMatch(/Local loses \d+ of [\d,]+ connections/)
    expect(story).toMatch(
      /A preStop of 1 s with a grace period of 30 s makes Cluster zero, a preStop of 7 s with a grace period of 30 s makes Local zero/,
    )
    expect(story).toContain(
      'one a connection (requests)'.replace(
        'one a connection (requests)',
        'requests of 40 ms, one a connection (requests)',
      ),
    )
    expect(stdout).toContain('What preStop costs and saves')
    expect(stdout).toMatch(/balancer → node-1 \(Local\) +█+x+/)
  })

  test('as JSON, which fits its schema', async () => {
    const { stdout } = await run({ workload: 'ds/web', output: ['json'], safe: true, threshold: ['runs > 0'] })
    const schema = new URL('../../schemas/rollout.schema.json', import.meta.url)
    const validate = new Ajv({ strict: true, allowUnionTypes: true }).compile(JSON.parse(readFileSync(schema, 'utf8')))
    const report = JSON.parse(stdout) as RolloutReport
    validate(report)
    expect(validate.errors ?? []).toEqual([])
    expect(report.target).toBe('DaemonSet default/web')
    const sum = (policy: string, outcome: string): number =>
      report.losses
        .filter((one) => one.policy === policy && one.outcome === outcome)
        .reduce((total, one) => total + one.count, 0)
    for (const policy of ['cluster', 'local']) {
      expect(sum(policy, 'lost')).toBeCloseTo(report.lost.find((one) => one.policy === policy)!.count, 1)
      expect(sum(policy, 'delayed')).toBeCloseTo(report.delayed.find((one) => one.policy === policy)!.count, 1)
    }
  })

  test('the same seed gives the same bytes, another one others', async () => {
    const [one, two, other] = await Promise.all(
      ['1', '1', '2'].map(async (seed) => (await run({ workload: 'ds/web', seed, output: ['json'] })).stdout),
    )
    expect(one).toBe(two)
    expect(one).not.toBe(other)
  })

  test('thresholds decide about the exit code', async () => {
    const failing = await run({ workload: 'ds/web', threshold: ['lost[policy=local].count == 0'] })
    expect(failing.code).toBe(99)
    expect(failing.stdout).toContain('✗ lost[policy=local].count == 0')
    expect((await run({ workload: 'ds/web', threshold: ['gaps[policy=cluster].p95Seconds < 10s'] })).code).toBe(0)
  })

  test('each lost connection can be told', async () => {
    const { stdout } = await run({ workload: 'ds/web', output: ['json'] })
    const { told } = (JSON.parse(stdout) as RolloutReport).firstRun
    const stale = told.find(({ cause, policy }) => cause === 'stale-rules' && policy === 'cluster')!
    expect(stale.story.join('\n')).toMatch(
      /is deleted.*\n.*stops accepting.*\n[\s\S]*a connection comes in by node .*\n[\s\S]*the rules of node .* follow, 1\d\d ms later/,
    )
  })
})

describe('a Timeline', () => {
  test('its events take place where no workload is named', async () => {
    const path = timeline('events: [{ at: 5s, drain: node-2, then: delete }, { at: 1m, fail: node-1, back: 2m }]')
    const { stdout } = await run({ timeline: path, output: ['json'] })
    const { events } = (JSON.parse(stdout) as RolloutReport).firstRun
    expect(
      events.filter(({ what }) => /^node/.test(what)).map(({ atSeconds, what }) => `${atSeconds} ${what}`),
    ).toEqual(expect.arrayContaining(['5 node node-2 is drained', '60 node node-1 fails', '180 node node-1 is back']))
  })

  test('may stand among the manifests, and other commands say that it does nothing there', async () => {
    const path = timeline('loadBalancer: azure\nevents: [{ at: 5s, delete: ds/web, pods: 1 }]')
    const { stdout, stderr } = await run({ manifests: [WEB, path] })
    expect(stdout).toContain('by load balancer azure')
    expect(stderr).not.toContain('Timeline')
    const { lint } = await import('../../src/commands/lint.ts')
    expect(lint([WEB, path], () => '').warnings.map(({ message }) => message)).toContainEqual(
      expect.stringContaining('its events take place in `dpemu rollout`, `dpemu replay` and `dpemu explain --at` only'),
    )
  })

  test.each([
    ['an unknown field', 'events: [{ at: 5s, drian: node-1 }]', /no such field/, /drain/, 'events[0].drian'],
    ['an unknown node', 'events: [{ at: 5s, drain: nod-1 }]', /no node nod-1/, /node-1/, 'events[0]'],
    ['an unknown workload', 'events: [{ at: 5s, rollout: ds/wep }]', /no ds\/wep/, /daemonset\/web/, 'events[0]'],
    ['an unknown pod', 'events: [{ at: 5s, crash: wepp }]', /no pod wepp/, /./, 'events[0]'],
    [
      'an unknown profile',
      'loadBalancer: gke-l5\nevents: [{ at: 5s, drain: node-1 }]',
      /no such profile/,
      /gke-l4/,
      'loadBalancer',
    ],
    [
      'two verbs',
      'events: [{ at: 5s, drain: node-1, fail: node-1 }]',
      /expected one of drain and fail/,
      /^$/,
      'events[0]',
    ],
    ['no verb', 'events: [{ at: 5s }]', /expected one of rollout/, /^$/, 'events[0]'],
    ['a time that is none', 'events: [{ at: soon, drain: node-1 }]', /expected a time/, /^$/, 'events[0].at'],
    [
      'an unready that never ends',
      'events: [{ at: 5s, unready: ds/web, for: 20s, every: 10s }]',
      /more than `for`/,
      /^$/,
      'events[0].every',
    ],
    [
      'a field of another verb',
      'events: [{ at: 5s, scale: ds/web, to: 3, back: 4s }]',
      /no such field/,
      /^.*$/,
      'events[0].back',
    ],
    [
      'settings of a workload that there is none of',
      'workloads: { ds/web2: { startup: 3s } }\nevents: [{ at: 5s, drain: node-1 }]',
      /no ds\/web2/,
      /web/,
      'workloads',
    ],
    [
      'an event beyond its end',
      'duration: 10s\nevents: [{ at: 20s, drain: node-1 }]',
      /beyond the end/,
      /^$/,
      'events[0]',
    ],
    [
      'a node that fails while it is down',
      'events: [{ at: 5s, fail: node-1, back: 60s }, { at: 20s, fail: node-1 }]',
      /is down already/,
      /^$/,
      'events[1]',
    ],
  ])('%s is refused, with its place', async (_what, text, message, hint, where) => {
    const error = await refusal({ timeline: timeline(text) })
    expect(error.code).toBe('E_TIMELINE')
    expect(error.exitCode).toBe(3)
    expect(error.message).toMatch(message)
    expect(error.hint).toMatch(hint)
    expect(error.where).toContain(`document 1, ${where}`)
  })

  test('a pod that no workload makes is refused, and said how it is followed', async () => {
    const alone = file(
      'alone.yaml',
      '{ apiVersion: v1, kind: Pod, metadata: { name: alone, labels: { app: alone } }, spec: { containers: [{ name: c, image: c }] } }',
    )
    const text = timeline('events: [{ at: 5s, crash: pod/default/alone }]')
    const error = await refusal({ timeline: text, manifests: [WEB, alone] })
    expect(error).toMatchObject({ code: 'E_TIMELINE', hint: expect.stringContaining('Deployment') })
    expect(error.message).toContain('nothing makes pod default/alone')
  })

  test('two of them are one too many', async () => {
    const one = file('one.yaml', 'apiVersion: dpemu/v1\nkind: Timeline\n')
    const two = file('two.yaml', 'apiVersion: dpemu/v1\nkind: Timeline\n')
    expect((await refusal({ workload: 'ds/web', manifests: [WEB, one, two] })).message).toContain('a second Timeline')
  })
})

describe('wrong usage', () => {
  test.each([
    [{}, /no workload to restart/],
    [{ workload: 'web' }, /names no workload/],
    [{ workload: 'ds/wbe' }, /there is no ds\/wbe/],
    [{ workload: 'ds/web', rate: 'fast' }, /--rate/],
    [{ workload: 'ds/web', loadBalancer: 'gke' }, /--load-balancer does not know/],
    [{ workload: 'ds/web', controlPlane: 'huge' }, /--control-plane does not know/],
    [{ workload: 'ds/web', kubeVersion: '2.0' }, /--kube-version/],
    [{ workload: 'ds/web', startup: 'soon' }, /--startup/],
    [{ workload: 'ds/web', threshold: ['lots == 0'] }, /lots/],
  ])('%o', async (options, message) => {
    const error = await refusal(options)
    expect(error.exitCode).toBe(2)
    expect(error.message).toMatch(message)
  })
})

describe('what is assumed or wrong is said', () => {
  test('a preStop beyond the grace period', async () => {
    const text = readFileSync(WEB, 'utf8').replace(
      'readinessProbe:',
      'lifecycle: { preStop: { sleep: { seconds: 40 } } }\n          readinessProbe:',
    )
    const { stderr } = await run({ workload: 'ds/web', manifests: [file('long.yaml', text)] })
    expect(stderr).toContain('its preStop takes 40 s and terminationGracePeriodSeconds is 30: the hook is cut off')
  })

  test('a load balancer that nothing names', async () => {
    expect((await run({ workload: 'ds/web' })).stdout.replace(/\s+/g, ' ')).toContain(
      'load balancer gke-l4, since nothing says which (loadBalancer)',
    )
  })
})

describe('a trace of connections', () => {
  const SCENARIO = file(
    'scenario.yaml',
    `name: shop
seed: 4
duration: 30s
manifests: [web.yaml]
traffic:
  - name: shoppers
    from: { external: { addresses: 50 } }
    to: { service: web }
    arrivals: { process: poisson, connections: 1200 }
    requests: 0
    rtt: 10ms
    close: client-rst
`,
  )

  test('gives the times at which they arrive, the same in every run', async () => {
    const trace = join(FOLDER, 'shop.msgpack')
    await generateTrace({ scenarioPath: SCENARIO, output: trace })
    const { stdout } = await run({ workload: 'ds/web', rate: undefined, trace, output: ['json'] })
    const report = JSON.parse(stdout) as RolloutReport
    const { connections } = inspectTrace(trace).totals
    expect(report.offered.map(({ count }) => count)).toEqual([connections, connections])
    expect(report.lost[1]!.count).toBeGreaterThan(0)
  })

  test('and has to last until the last event', async () => {
    const trace = join(FOLDER, 'shop.msgpack')
    const error = await refusal({
      rate: undefined,
      trace,
      timeline: timeline('events: [{ at: 5m, rollout: daemonset/web }]'),
    })
    expect(error.message).toContain('the trace is over; it lasts')
  })
})

describe('advice that fits', () => {
  const RECREATED = file(
    'recreated.yaml',
    readFileSync(WEB, 'utf8')
      .replace('kind: DaemonSet', 'kind: Deployment')
      .replace('spec:\n  selector', 'spec:\n  strategy: { rollingUpdate: { maxUnavailable: 1 } }\n  selector'),
  )

  test('one replica that may be unavailable: no pod at all for a time, and what keeps one', async () => {
    const { stdout } = await run({ workload: 'deploy/web', manifests: [RECREATED], loadBalancer: 'gke-l4' })
    const story = stdout.replace(/\s+/g, ' ')
    expect(story).toMatch(
      /Cluster loses [\d,]+ of [\d,]+ connections \([\d.]+ %\), [\d,]+ of them refused: no pod of the Service can be used at all\./,
    )
    expect(story).toContain('more replicas, or maxSurge 1 and maxUnavailable 0, keep one')
  })

  test('clients inside of the cluster: the policy has no part in it', async () => {
    const inside = file('inside.yaml', readFileSync(WEB, 'utf8').replace('type: LoadBalancer, ', ''))
    const { stdout } = await run({ workload: 'ds/web', manifests: [inside] })
    expect(stdout.replace(/\s+/g, ' ')).toMatch(
      /Cluster, and Local alike, loses .* Every sender knows of a deletion after 2 s/,
    )
  })

  test('a node that dies: no preStop is offered', async () => {
    const { stdout } = await run({
      timeline: timeline('events: [{ at: 5s, fail: node-1 }]\nduration: 60s\nloadBalancer: gke-l4'),
    })
    expect(stdout).not.toContain('with a preStop')
    expect(stdout.replace(/\s+/g, ' ')).toContain('No sender was behind: what is lost has another cause')
  })
})
