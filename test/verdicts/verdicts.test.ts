/**
 * "In short", whole, of the decisions that people have to make: flip a shop to Local, affinity behind NAT, and the bundled scenarios.
 *
 * The sentences are what a decision is made by, so they are held word for word: `npx vitest run test/verdicts -u` writes the files anew, and
 * the diff is read as advice.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { conclude } from '../../src/report/conclusion.ts'
import { generateTrace } from '../../src/trace/generate.ts'
import { ROOT, replayed, temporaryFolder } from '../replay/support.ts'

const folder = temporaryFolder()
const HERE = join(ROOT, 'test/verdicts')
const traces = join(ROOT, 'traces')

/** name, scenario, and what it is replayed with. */
const CASES: readonly [string, string, object][] = [
  ['shop', join(HERE, 'shop/scenario.yaml'), {}],
  ['shop with pods as queues', join(HERE, 'shop/scenario.yaml'), { model: join(HERE, 'shop/model.yaml') }],
  ['affinity behind NAT', join(HERE, 'nat/s.yaml'), {}],
  ['workloads that do not all fit', join(HERE, 'sched/scenario.yaml'), {}],
  [
    'an Ingress by two ways',
    join(HERE, 'ing/known-host.yaml'),
    { ingressPaths: ['instance', 'ip'], policies: ['as-is'] },
  ],
  ['an Ingress under both policies', join(HERE, 'ing/known-host.yaml'), {}],
  ['an Ingress that does not know the host', join(HERE, 'ing/unknown-host.yaml'), {}],
  ...readdirSync(traces)
    .filter((name) => existsSync(join(traces, name, 'scenario.yaml')))
    .map((name): [string, string, object] => [
      name,
      join(traces, name, 'scenario.yaml'),
      name === 'hot-pod'
        ? { model: join(traces, 'hot-pod/model.yaml') }
        : name === 'ingress-ways'
          ? { ingressPaths: ['instance', 'ip', 'proxy'], policies: ['as-is'] }
          : {},
    ]),
]

test.each(CASES)('%s', async (name, scenarioPath, options) => {
  const output = join(folder, `${name.replaceAll(' ', '-')}.msgpack`)
  await generateTrace({ scenarioPath, output })
  const report = await replayed(output, options)
  const sentences = conclude(report)
  await expect(`${sentences.join('\n')}\n`).toMatchFileSnapshot(
    join(HERE, 'golden', `${name.replaceAll(' ', '-')}.txt`),
  )
})
