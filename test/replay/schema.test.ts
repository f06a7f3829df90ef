/** Real reports against the published JSON Schema, and what `replay` makes of manifests that nobody wrote for it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv, type ValidateFunction } from 'ajv'
import { load, loadAll } from 'js-yaml'
import { beforeAll, describe, expect, it } from 'vitest'
import { renderJson } from '../../src/report/json.ts'
import { cluster, NODES, PODS, stream } from './cluster.ts'
import { bundledTrace, dpemu, manifestFile, ROOT, replayed, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()
const EVERYTHING = {
  policies: ['cluster', 'local', 'as-is'],
  proxyModes: ['nftables', 'iptables', 'ipvs'],
} as const
let validate: ValidateFunction

beforeAll(() => {
  const schema = readFileSync(join(ROOT, 'schemas', 'replay.schema.json'), 'utf8')
  validate = new Ajv({ strict: true, allowUnionTypes: true, allErrors: true }).compile(JSON.parse(schema))
})

function fits(text: string): void {
  validate(JSON.parse(text))
  expect(validate.errors ?? []).toEqual([])
}

describe('replay -o json fits schemas/replay.schema.json', () => {
  it.each(['storefront', 'affinity-1800', 'two-plus-one'])('%s, every policy and proxy mode', async (name) => {
    const { given: _, ...report } = await replayed(await bundledTrace(folder, name), EVERYTHING)
    expect(report.runs).toHaveLength(9)
    fits(renderJson(report))
  })

  it('a report of nothing but failures and warnings', async () => {
    const scenario = { seed: 2, duration: '5s', traffic: [stream({ rate: 20 })] }
    const trace = await traceOf(folder, 'failing', scenario, cluster())
    const { given, ...report } = await replayed(trace, {
      ...EVERYTHING,
      manifests: [manifestFile(folder, 'gone', [...NODES, ...PODS])],
    })
    expect(given).not.toEqual([])
    expect(report.runs.every(({ connections }) => connections.established === 0)).toBe(true)
    fits(renderJson(report))
  })

  it('as the command prints it, with the schema version first and nothing else on standard output', async () => {
    const { code, stdout } = dpemu(['replay', await bundledTrace(folder, 'affinity-1800'), '-o', 'json'])
    expect(code).toBe(0)
    expect(stdout.startsWith('{\n  "schemaVersion": 1,\n')).toBe(true)
    fits(stdout)
  })
})

interface Service {
  readonly kind?: string
  readonly metadata: { readonly name: string; readonly namespace?: string }
  readonly spec: { readonly type?: string; readonly externalIPs?: readonly string[] }
}

describe('Online Boutique, its manifests unchanged', () => {
  const manifests = join(ROOT, 'traces', 'storefront', 'manifests', 'online-boutique.yaml')

  it('--policy as-is replays: one Service is reachable from outside, and that one would be compared', async () => {
    // What its manifests say, read without dpemu.
    const reachable = (loadAll(readFileSync(manifests, 'utf8')) as (Service | null)[])
      .filter((object) => object !== null)
      .filter(({ kind }) => kind === 'Service')
      .filter(({ spec }) => spec.type === 'LoadBalancer' || spec.type === 'NodePort' || spec.externalIPs !== undefined)
      .map(({ metadata }) => `${metadata.namespace ?? 'default'}/${metadata.name}`)
    expect(reachable).toEqual(['default/frontend-external'])

    const trace = await bundledTrace(folder, 'storefront')
    const { comparedServices, runs } = await replayed(trace, { policies: ['as-is'] })
    expect(comparedServices).toEqual(reachable)
    expect(runs.map(({ policy }) => policy)).toEqual(['as-is'])
    expect(runs[0].connections.failed).toBe(0)
    const services = new Set(runs[0].endpoints.map(({ service }) => service.split(':')[0]))
    const dialled = JSON.stringify(load(readFileSync(join(ROOT, 'traces', 'storefront', 'scenario.yaml'), 'utf8')))
    for (const service of services) expect(dialled).toContain(`"service":"${service.replace('default/', '')}"`)
    expect(services.size).toBe(11)
  })
})
