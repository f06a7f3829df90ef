/** The scenarios in traces/: each can be generated again, and its trace holds what its README says. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { formatInspection } from '../../src/commands/inspect-text.ts'
import { generateTrace } from '../../src/trace/generate.ts'
import { inspectTrace } from '../../src/trace/inspect.ts'
import { temporaryFolder } from './support.ts'

const folder = temporaryFolder()
const traces = join(import.meta.dirname, '..', '..', 'traces')
const scenarios = readdirSync(traces).filter((name) => existsSync(join(traces, name, 'scenario.yaml')))
const python = spawnSync('python3', ['--version']).status === 0 ? 'python3' : null
if (python === null) console.log('read_trace.py is not tested: there is no python3')

const inspections = new Map<string, ReturnType<typeof inspectTrace>>()
for (const name of scenarios) {
  const output = join(folder, `${name}.msgpack`)
  const { warnings } = await generateTrace({ scenarioPath: join(traces, name, 'scenario.yaml'), output })
  if (warnings.length > 0) throw new Error(`${name}: ${JSON.stringify(warnings)}`)
  inspections.set(name, inspectTrace(output))
}

describe.each(scenarios)('%s', (name) => {
  const generated = join(folder, `${name}.msgpack`)
  const inspection = inspections.get(name)!

  it('is what its scenario and manifests give', () => {
    const committed = join(traces, name, 'trace.msgpack')
    expect(inspection.name).toBe(name)
    expect(inspection.totals.packets).toBeGreaterThan(0)
    // A trace may be left out for its size. Where it is there and differs, `dpemu generate` makes it anew.
    if (existsSync(committed)) expect(readFileSync(committed).equals(readFileSync(generated)), committed).toBe(true)
  })

  it.skipIf(python === null)('reads the same in Python', () => {
    const run = spawnSync(python!, [join(traces, 'read_trace.py'), generated], { encoding: 'utf8' })
    expect(run.stderr).toBe('')
    const read = JSON.parse(run.stdout) as {
      name: string
      connections: number
      requests: number
      totals: Record<string, { packets: number; bytes: number }>
    }
    const sum = (direction: string) =>
      Object.entries(read.totals)
        .filter(([key]) => key.endsWith(direction))
        .reduce((all, [, { packets, bytes }]) => ({ packets: all.packets + packets, bytes: all.bytes + bytes }), {
          packets: 0,
          bytes: 0,
        })
    expect(read.name).toBe(name)
    expect(read.connections).toBe(inspection.totals.connections)
    expect(read.requests).toBe(inspection.requests.count)
    expect({ original: sum(' original'), reply: sum(' reply') }).toEqual(inspection.directions)
  })

  it('is inspected as a whole', () => {
    const { totals, protocols, destinations, directions, packetBytes, connectionPackets } = inspection
    const sum = (rows: readonly { packets: number }[]) => rows.reduce((all, row) => all + row.packets, 0)
    expect(sum(protocols)).toBe(totals.packets)
    expect(sum(destinations)).toBe(totals.packets)
    expect(directions.original.packets + directions.reply.packets).toBe(totals.packets)
    expect(packetBytes.count).toBe(totals.packets)
    expect(connectionPackets.count).toBe(totals.connections)
    expect(connectionPackets.mean * connectionPackets.count).toBeCloseTo(totals.packets, 3)
    const text = formatInspection(inspection)
    for (const { service, name, ingress } of destinations) expect(text).toContain(name ?? ingress ?? service)
    expect(text.split('\n').every((line) => line === line.trimEnd())).toBe(true)
  })
})

describe('what the READMEs promise', () => {
  it('two-plus-one has 100,000 connections', () => {
    expect(inspections.get('two-plus-one')!.totals.connections).toBe(100_000)
  })

  it('affinity-1800 goes on for more than an hour and has connections of an hour', () => {
    const { totals, connectionPackets } = inspections.get('affinity-1800')!
    expect(totals.durationSeconds).toBeGreaterThan(4000)
    expect(connectionPackets.max).toBeGreaterThan(300)
  })

  it('storefront has about 100,000 packets from outside and inside', () => {
    const { totals, destinations } = inspections.get('storefront')!
    expect(totals.packets).toBeGreaterThan(80_000)
    expect(new Set(destinations.map(({ to }) => to))).toEqual(new Set(['loadBalancerIP', 'clusterIP']))
  })

  it.each(['ingress-hosts', 'ingress-paths', 'ingress-ways'])(
    '%s has 2,000 connections and some 6,000 requests',
    (name) => {
      const { totals, requests, destinations } = inspections.get(name)!
      expect(totals.connections).toBe(2000)
      expect(requests.count).toBeGreaterThan(5800)
      expect(requests.count).toBeLessThan(6200)
      expect(destinations.map(({ to }) => to)).toEqual(['ingress'])
    },
  )

  it('docs/trace-format.md shows the Python reader as it is', () => {
    const reader = readFileSync(join(traces, 'read_trace.py'), 'utf8')
    expect(readFileSync(join(traces, '../docs/trace-format.md'), 'utf8')).toContain(`\`\`\`python\n${reader}\`\`\``)
  })
})
