/** Whatever a Timeline says: it is refused with its place, or it runs to its end and every connection has one fate. */
import { expect, test } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { Random } from '../../src/random.ts'
import { countRuns } from '../../src/rollout/runs.ts'
import { frontOf } from '../../src/rollout/scene.ts'
import { surveySite } from '../../src/rollout/site.ts'
import { parseTimeline } from '../../src/rollout/timeline.ts'
import { objectsOf } from './fixture.ts'

const VERBS = ['rollout', 'scale', 'delete', 'crash', 'unready', 'drain', 'fail', 'taint', 'stop', 'shutdown', 'apply']
const TARGETS = ['deployment/web', 'deploy/web', 'p1', 'pod/p2', 'a', 'b', 'kube-proxy', 'ds/web', '', 7, null, [], {}]
const TIMES = ['0s', '5s', '30s', 10, '1m', 'soon', -3, '500ms', null, 1e12]
const WORDS = [
  'never',
  'all',
  '50%',
  2,
  0,
  -1,
  true,
  'cluster-autoscaler',
  'delete',
  'c',
  '10s',
  { min: '1s', max: '3s' },
  'gke-l4',
]
const FIELDS = [
  'to',
  'pods',
  'for',
  'every',
  'times',
  'then',
  'after',
  'timeout',
  'back',
  'as',
  'node',
  'force',
  'startup',
  'patch',
  'set',
  'odd',
]

function timelineOf(random: Random): Record<string, unknown> {
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!
  const events = Array.from({ length: random.below(6) }, () => {
    const verb = pick(VERBS)
    const event: Record<string, unknown> = { at: pick(TIMES), [verb]: pick(TARGETS) }
    for (let i = random.below(4); i > 0; i--) event[pick(FIELDS)] = pick(WORDS)
    // Half of them as they should be, so that runs are reached.
    if (random.below(2) === 0) {
      const sound: Record<string, unknown>[] = [
        { at: pick(['1s', '5s', '20s']), rollout: 'deployment/web' },
        { at: pick(['1s', '5s', '20s']), scale: 'deployment/web', to: random.below(6) },
        { at: '9s', delete: 'deployment/web', pods: pick([1, '50%', 'all']), force: random.below(2) === 0 },
        { at: '9s', crash: 'deployment/web', pods: 'all' },
        { at: '2s', unready: 'deployment/web', pods: 'all', for: '5s', every: '9s', times: 3 },
        Object.fromEntries([
          ['at', '15s'],
          ['drain', pick(['a', 'b'])],
          ['then', 'delete'],
        ]),
        { at: pick(['3s', '33s']), fail: pick(['a', 'b', 'c']), back: pick(['10s', '400s']) },
        { at: '12s', taint: 'c', as: 'cluster-autoscaler' },
        { at: '4s', stop: 'kube-proxy', node: 'a', for: '20s' },
      ]
      return pick(sound)
    }
    return event
  })
  const document: Record<string, unknown> = { apiVersion: 'dpemu/v1', kind: 'Timeline', events }
  if (random.below(3) === 0)
    document['loadBalancer'] = pick(['gke-l4', 'aws-nlb', 'gke-neg', 'metallb-l2', 'metallb-bgp', 'aws-nlb-ip', 'x', 3])
  if (random.below(3) === 0)
    document['controlPlane'] = pick(['ideal', 'busy-100', 'iptables-5k', { sync: '2s' }, { slice: 'x' }])
  if (random.below(4) === 0)
    document['clients'] = pick([{ synRetries: 0 }, { connectTimeout: '3s' }, { dns: 'never' }, { dns: {} }])
  if (random.below(4) === 0) document['duration'] = pick(['30s', '2m', '1s'])
  if (random.below(8) === 0) document[pick(['traffic', 'workloads', 'odd', 'kubeVersion', 'runs'])] = pick(WORDS)
  return document
}

test('300 random Timelines', () => {
  const random = new Random(11, 'timelines')
  const objects = objectsOf({ replicas: 3, on: ['a', 'b', 'c'] })
  let ran = 0
  for (let i = 0; i < 300; i++) {
    const document = timelineOf(random)
    const story = JSON.stringify(document)
    try {
      const timeline = parseTimeline(document, 'fuzz.yaml, document 1')
      const site = surveySite(objects, timeline, null, 34)
      const fronts = site.services.map((service) => frontOf(site, timeline, service))
      if (fronts.length === 0) continue
      const { policies, endMs } = countRuns({ site, timeline, fronts, perSecond: 5, seed: i, runs: 1 })
      expect(Number.isFinite(endMs), story).toBe(true)
      for (const { offered, lost, delayed, losses } of policies) {
        const counted = [...losses.values()].reduce((sum, { counts }) => sum + counts[0]!, 0)
        expect(counted, story).toBe(lost[0]! + delayed[0]!)
        expect(lost[0]! + delayed[0]!, story).toBeLessThanOrEqual(offered[0]!)
      }
      ran++
    } catch (error) {
      if (!(error instanceof UserError)) throw new Error(`${story}: ${(error as Error).stack}`)
      expect(error.where, story).toMatch(/^fuzz\.yaml, document 1/)
    }
  }
  expect(ran).toBeGreaterThan(40)
})
