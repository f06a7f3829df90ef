/** The built command on a real search: `npm test` builds first. */
import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { CapacityReport } from '../../src/report/capacity-types.ts'
import { DPEMU, dpemu, temporaryFolder } from '../replay/support.ts'

/** Entries of a node's table, and seconds that an entry lives after its connection was closed (TIME_WAIT). */
const CONNTRACK_MAX = 3000
const TIME_WAIT = 120

const folder = temporaryFolder()
const scenario = join(folder, 's.yaml')
const model = join(folder, 'model.yaml')
beforeAll(() => {
  writeFileSync(
    join(folder, 'web.yaml'),
    `
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec: { replicas: 3, template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: web }] } } }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { type: LoadBalancer, selector: { app: web }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
`,
  )
  writeFileSync(
    scenario,
    JSON.stringify({
      name: 'little',
      seed: 3,
      duration: '60s',
      manifests: ['web.yaml'],
      traffic: [
        {
          from: { external: { addresses: 3000 } },
          to: { service: 'web' },
          arrivals: { process: 'constant', rate: 40 },
          rtt: '1ms',
        },
      ],
    }),
  )
  writeFileSync(model, `conntrackMax: ${CONNTRACK_MAX}\n`)
})

function search(...more: string[]): CapacityReport {
  const args = [
    'capacity',
    scenario,
    '--model',
    model,
    '--connections',
    '15000',
    '--objective',
    'conntrackFraction < 80%',
    '-q',
    '-ojson',
    '--state',
    'none',
  ]
  const { code, stdout, stderr } = dpemu([...args, ...more])
  expect([code, stderr]).toEqual([0, ''])
  return JSON.parse(stdout) as CapacityReport
}

test('the knee of a small conntrack table is where Little’s law says, by policy', () => {
  const { cells } = search('--tolerance', '4%')
  // Under Local a third of the connections is in each node's table. Under Cluster a node also has those of the third
  // that goes to its pod and came in elsewhere: two in three of them.
  const entriesPerConnection = { local: 1 / 3, cluster: 1 / 3 + (1 / 3) * (2 / 3) }
  for (const cell of cells) {
    const shares = entriesPerConnection[cell.policy as 'local' | 'cluster']
    const predicted = (0.8 * CONNTRACK_MAX) / (shares * TIME_WAIT)
    // The fullest of three tables at its fullest is a few percent above the mean.
    expect(cell.knee!.connectionsPerSecond! / predicted).toBeGreaterThan(0.88)
    expect(cell.knee!.failsAtConnectionsPerSecond! / predicted).toBeLessThan(1.04)
    expect(cell.broke).toMatchObject([
      { objective: 'conntrackFraction < 80%', service: 'default/web:http', serviceShare: 1 },
    ])
    expect(cell.broke[0]!.node).toMatch(/^node-[123]$/)
    expect(cell.run!.settled).toBe(true)
  }
})

test('a sweep over nodes, with any number of workers: the same bytes', () => {
  const sweep = ['-Pnodes=2..4:2', '-L', 'policy=local']
  const one = search(...sweep, '--workers', '1')
  expect(search(...sweep, '--workers', '2')).toEqual(one)
  expect(one.cells.map(({ name }) => name)).toEqual(['nodes=2, policy=local', 'nodes=4, policy=local'])
  const [two, four] = one.cells.map(({ run }) => run!.figures.conntrackFraction)
  // Three pods on four nodes still share the entries among three.
  expect(two! / four!).toBeGreaterThan(1.3)
})

test('Ctrl-C: 130, finished runs are kept, no trace stays', async () => {
  const cwd = join(folder, 'work')
  const temporary = join(folder, 'tmp')
  mkdirSync(cwd)
  mkdirSync(temporary)
  const args = [
    'capacity',
    scenario,
    '--connections',
    '20000',
    '-P',
    'seed=1..40',
    '--policy',
    'local',
    '-o',
    'json=out.json',
  ]
  const child = spawn(process.execPath, [DPEMU, ...args], {
    cwd,
    env: { ...process.env, TMPDIR: temporary },
    stdio: 'ignore',
  })
  const states = (): string[] =>
    readdirSync(cwd).filter((name) => /^capacity\.little\.[\da-f]{12}\.state\.json$/.test(name))
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  while (states().length === 0 && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 20))
  child.kill('SIGINT')
  expect(await ended).toBe(130)
  expect(readdirSync(temporary)).toEqual([])
  expect(readdirSync(cwd)).toEqual(states())
  const { runs } = JSON.parse(readFileSync(join(cwd, states()[0]!), 'utf8')) as { runs: object }
  expect(Object.keys(runs).length).toBeGreaterThan(0)
  expect(Object.keys(runs).length).toBeLessThan(40)
})

describe('wrong usage', () => {
  test('what only the traffic planner sees names its cell', () => {
    const { code, stdout, stderr } = dpemu([
      'capacity',
      scenario,
      '-L',
      'traffic[0].to[0].service=web,wob',
      '--state',
      'none',
      '--policy',
      'local',
    ])
    expect([code, stdout]).toEqual([3, ''])
    expect(stderr).toContain('there is no Service default/wob')
    expect(stderr).toContain('with traffic[0].to[0].service=wob, policy=local')
  })
})
