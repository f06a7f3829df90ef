/** What a report says that it was made from: the same digest for the same traffic and the same objects, another for others. */
import { beforeAll, expect, it } from 'vitest'
import type { InputsReport } from '../../src/report/types.ts'
import { CLIENTS, cluster, NODES, PODS, service, stream } from './cluster.ts'
import { manifestFile, type options, replayed, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()
const SCENARIO = { seed: 9, duration: '2s', traffic: [stream({ rate: 50 })] }
let trace: string
let own: InputsReport

beforeAll(async () => {
  trace = await traceOf(folder, 'own', SCENARIO, cluster())
  own = await inputs({})
})

async function inputs(change: Parameters<typeof options>[1], path = trace): Promise<InputsReport> {
  return (await replayed(path, { policies: ['as-is'], ...change })).inputs
}

it('the same objects in another file and another order are the same manifests', async () => {
  const objects = [service(), ...CLIENTS, ...PODS, ...NODES]
  expect(await inputs({ manifests: [manifestFile(folder, 'turned', objects)] })).toEqual(own)
})

it('what packets do not hang on does not count: environment, probes', async () => {
  const [first, ...others] = PODS
  const containers = [{ name: 'web', image: 'registry.example/web:1', env: [{ name: 'A', value: '1' }] }]
  const pods = [{ ...first!, spec: { ...first!.spec, containers } }, ...others]
  expect(
    await inputs({ manifests: [manifestFile(folder, 'env', [...NODES, ...pods, ...CLIENTS, service()])] }),
  ).toEqual(own)
})

it('a Service that is another way makes other manifests, under the same trace', async () => {
  const manifests = [manifestFile(folder, 'local', cluster(service({ externalTrafficPolicy: 'Local' })))]
  const { manifests: digest, ...rest } = await inputs({ manifests })
  expect(digest).not.toBe(own.manifests)
  expect(rest).toEqual({ trace: own.trace, seed: own.seed })
})

it('another seed of the traffic is another trace; of the replay, another seed alone', async () => {
  const other = await inputs({}, await traceOf(folder, 'own', { ...SCENARIO, seed: 10 }, cluster()))
  expect([other.manifests, other.seed]).toEqual([own.manifests, 10])
  expect(other.trace).not.toBe(own.trace)
  const again = await traceOf(folder, 'own', SCENARIO, cluster())
  expect(await inputs({ seed: 4 }, again)).toEqual({ ...own, seed: 4 })
})
