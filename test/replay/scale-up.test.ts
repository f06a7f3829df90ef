/** Pods that come while connections are open and get none of them: they count, and the report says when they came. */
import { describe, expect, test } from 'vitest'
import { renderText } from '../../src/report/text.ts'
import { replayed, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()

const workload = (name: string, replicas: number): object => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace: 'default' },
  spec: {
    replicas,
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'c', image: 'c' }] } },
  },
})
const LEDGER = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'ledger', namespace: 'default' },
  spec: { selector: { app: 'ledger' }, ports: [{ name: 'grpc', port: 50_051 }] },
}
const channels = (changes: readonly object[]): object => ({
  seed: 7,
  duration: '10s',
  traffic: [
    {
      name: 'channels',
      from: { pods: { workload: 'Deployment/callers' } },
      to: { service: 'ledger' },
      arrivals: { process: 'constant', connections: 24, rate: 12 },
      requests: 60,
      thinkTime: '2s',
    },
  ],
  ...(changes.length === 0 ? {} : { changes }),
})

async function scaled(changes: readonly object[]): ReturnType<typeof replayed> {
  const objects = [workload('ledger', 2), workload('callers', 4), LEDGER]
  const trace = await traceOf(folder, `scale-${changes.length}`, channels(changes), objects)
  return replayed(trace, { policies: ['as-is'] })
}

describe('channels that are open before a scale-up', () => {
  test('stay where they are; six pods share one fair share each, four of them have nothing', async () => {
    const report = await scaled([{ at: '60s', apply: workload('ledger', 6) }])
    const run = report.runs[0]!
    const counts = run.endpoints.map(({ connections }) => connections).sort((a, b) => b - a)
    expect(counts.slice(2)).toEqual([0, 0, 0, 0])
    expect(counts[0]! + counts[1]!).toBe(24)
    const [imbalance] = run.imbalance
    expect(imbalance).toMatchObject({ service: 'default/ledger:grpc', endpoints: 6 })
    expect(imbalance!.maxOverMean).toBeCloseTo(counts[0]! / 4, 10)
    expect(report.changes).toEqual([60])
    const text = renderText(report)
    expect(text).toContain('Share of connections: default/ledger:grpc (6 endpoints, fair share 16.7 %)')
    expect(text).toContain('the cluster changes after 60')
  })

  test('without a change nothing is said of one', async () => {
    const report = await scaled([])
    expect(report.changes).toEqual([])
    expect(renderText(report)).not.toContain('the cluster changes')
  })
})
