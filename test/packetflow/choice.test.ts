/**
 * How one endpoint of several is taken: uniformly under iptables and nftables, in turn under ipvs. Fixed seeds; the bound of
 * each chi-square test is the value that a fair choice exceeds once in a thousand.
 */
import { describe, expect, test } from 'vitest'
import { CLIENT, type Manifest, RULE_MODES, service, slice, stateful, world } from './support.ts'

const VIP = '172.30.0.41'
const LB = '1.2.3.4'
/** Chi-square, p = 0.001, by degrees of freedom. */
const BOUND: Readonly<Record<number, number>> = { 1: 10.83, 2: 13.82, 4: 18.47, 6: 22.46 }

function lines(count: number, from: (i: number) => string, to: string): Manifest[] {
  return Array.from({ length: count }, (_, i) => ({ id: `c${i}`, time: i / 100, from: from(i), to }))
}

function shares(objects: readonly Manifest[], list: readonly Manifest[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { explanation } of stateful(objects, list).values()) {
    const key = explanation.chosen ?? 'none'
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return counts
}

function chiSquare(counts: ReadonlyMap<string, number>, kinds: number): number {
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0)
  const expected = total / kinds
  const missing = (kinds - counts.size) * expected
  return missing + [...counts.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
}

describe.each(RULE_MODES)('%s is uniform', (mode) => {
  test.each([2, 3, 5, 7])('over %i endpoints, by source port', (kinds) => {
    const endpoints = Array.from({ length: kinds }, (_, i) => `10.0.1.${i + 1}@node2`)
    const objects = [...world(mode), service('svc1', { clusterIP: VIP }), slice('svc1', endpoints)]
    const counts = shares(
      objects,
      lines(1200, (i) => `10.0.0.2:${10000 + i}`, `${VIP}:80`),
    )
    expect(counts.size).toBe(kinds)
    expect(chiSquare(counts, kinds)).toBeLessThan(BOUND[kinds - 1]!)
  })

  test('over clients', () => {
    const objects = [
      ...world(mode),
      service('svc1', { clusterIP: VIP }),
      slice('svc1', ['10.0.1.1', '10.0.1.2', '10.0.1.3']),
    ]
    const counts = shares(
      objects,
      lines(1200, (i) => `10.1.${i >> 8}.${i & 255}:40000`, `${VIP}:80`),
    )
    expect(chiSquare(counts, 3)).toBeLessThan(BOUND[2]!)
  })

  test('over the local endpoints only, under Local', () => {
    const objects = [
      ...world(mode),
      service('svc1', { type: 'LoadBalancer', clusterIP: VIP, externalTrafficPolicy: 'Local' }, [LB]),
      slice('svc1', ['10.0.1.1@test-node', '10.0.1.2@test-node', '10.0.1.3@node2']),
    ]
    const counts = shares(
      objects,
      lines(1000, (i) => `${CLIENT}:${10000 + i}`, `${LB}:80`),
    )
    expect([...counts.keys()].sort()).toEqual(['10.0.1.1:80', '10.0.1.2:80'])
    expect(chiSquare(counts, 2)).toBeLessThan(BOUND[1]!)
  })
})

describe('ipvs takes them in turn', () => {
  const endpoints = ['10.0.1.1', '10.0.1.2', '10.0.1.3']
  const given = (config: Manifest = {}): Manifest[] => [
    ...world('ipvs', { config }),
    service('svc1', { clusterIP: VIP, externalIPs: ['192.168.99.22'] }),
    slice('svc1', endpoints),
  ]
  const order = (objects: readonly Manifest[], list: readonly Manifest[]): string[] =>
    [...stateful(objects, list).values()].map(({ explanation }) => explanation.chosen?.slice(7, 8) ?? '-')

  test('rr: exactly as often', () => {
    expect(
      order(
        given(),
        lines(6, (i) => `10.0.0.2:${10000 + i}`, `${VIP}:80`),
      ).join(''),
    ).toMatch(/^(123123|231231|312312)$/)
  })

  test('each virtual server has a rotation of its own', () => {
    const list = Array.from({ length: 6 }, (_, i) => ({
      id: `c${i}`,
      time: i,
      from: `10.0.0.2:${10000 + i}`,
      to: i % 2 === 0 ? `${VIP}:80` : '192.168.99.22:80',
    }))
    const found = order(given(), list)
    expect(found.filter((_, i) => i % 2 === 0)).toEqual(found.filter((_, i) => i % 2 === 1))
  })

  test('sh: one client, one endpoint', () => {
    const found = order(
      given({ ipvs: { scheduler: 'sh' } }),
      lines(20, (i) => `10.0.0.2:${10000 + i}`, `${VIP}:80`),
    )
    expect(new Set(found).size).toBe(1)
  })
})
