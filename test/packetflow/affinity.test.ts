/**
 * ClientIP affinity over time, statement by statement.
 *
 * Source: pkg/proxy/{iptables,nftables,ipvs}/proxier.go, net/netfilter/xt_recent.c, net/netfilter/ipvs/ip_vs_core.c; the
 * sequences 01, 04 and 05 were worked out from that source and are kept in the shape they were written down in.
 */
import { describe, expect, test } from 'vitest'
import type { Answer } from '../../src/explain/types.ts'
import { chosen, type Manifest, MODES, RULE_MODES, service, slice, stateful, world } from './support.ts'

const VIP = '172.30.0.41'
const LB = '1.2.3.4'
const EXTERNAL = '192.168.99.22'
const THREE = ['10.0.1.1@test-node', '10.0.1.2@node2', '10.0.1.3@node3']
/** Not a multiple of three, so that a rotation over three endpoints does not look like memory. */
const CLIENTS = 11
const TIMEOUT = 600

const affinity = (timeoutSeconds: number): Manifest => ({
  sessionAffinity: 'ClientIP',
  sessionAffinityConfig: { clientIP: { timeoutSeconds } },
})

function given(mode: (typeof MODES)[number], spec: Manifest = {}, endpoints: readonly string[] = THREE): Manifest[] {
  return [
    ...world(mode),
    service('svc1', { type: 'LoadBalancer', clusterIP: VIP, externalIPs: [EXTERNAL], ...affinity(TIMEOUT), ...spec }, [
      LB,
    ]),
    slice('svc1', endpoints),
  ]
}

/** Several clients do the same, so that an endpoint met again by chance does not pass for affinity. */
function each(make: (client: string, key: string) => Manifest[]): Manifest[] {
  return Array.from({ length: CLIENTS }, (_, i) => make(`10.0.0.${i + 2}`, `k${i}`)).flat()
}

function inTime(lines: readonly Manifest[]): Manifest[] {
  return [...lines].sort((a, b) => Number(a['time']) - Number(b['time']))
}

/** Pairs of choices of each client at two of its steps. */
function pairs(answers: ReadonlyMap<unknown, Answer>, a: string, b: string): [string, string][] {
  return Array.from({ length: CLIENTS }, (_, i) => [chosen(answers, `k${i}-${a}`), chosen(answers, `k${i}-${b}`)])
}

function same(list: readonly [string, string][]): number {
  return list.filter(([a, b]) => a === b).length
}

const connect = (
  key: string,
  step: string,
  time: number,
  client: string,
  port: number,
  to = `${VIP}:80`,
): Manifest => ({
  id: `${key}-${step}`,
  time,
  from: `${client}:${port}`,
  to,
})

describe.each(MODES)('%s', (mode) => {
  test('a client keeps its endpoint, whatever its port; another chooses for itself', () => {
    const answers = stateful(
      given(mode),
      inTime(each((client, key) => [1, 2, 3].map((n) => connect(key, `s${n}`, n, client, 40000 + n)))),
    )
    expect(same(pairs(answers, 's1', 's2'))).toBe(CLIENTS)
    expect(same(pairs(answers, 's1', 's3'))).toBe(CLIENTS)
    expect(new Set(Array.from({ length: CLIENTS }, (_, i) => chosen(answers, `k${i}-s1`))).size).toBeGreaterThan(1)
  })

  test('the second just inside the timeout is in, well past it is out', () => {
    const answers = stateful(
      given(mode),
      inTime(
        each((client, key) => [
          connect(key, 'first', 0, client, 40000),
          connect(key, 'inside', TIMEOUT - 1, client, 40001),
          connect(key, 'past', 3 * TIMEOUT, client, 40002),
        ]),
      ),
    )
    expect(same(pairs(answers, 'first', 'inside'))).toBe(CLIENTS)
    expect(same(pairs(answers, 'first', 'past'))).toBeLessThan(CLIENTS)
  })

  test('endpoints of another service port are another matter', () => {
    const ports = [
      { name: 'a', port: 80, protocol: 'TCP' },
      { name: 'b', port: 81, protocol: 'TCP' },
    ]
    const answers = stateful(
      [
        ...world(mode),
        service('svc1', { clusterIP: VIP, ports, ...affinity(TIMEOUT) }),
        slice(
          'svc1',
          THREE,
          ports.map(({ name }) => ({ name, port: 8080 })),
        ),
      ],
      inTime(
        each((client, key) => [
          connect(key, 'a', 0, client, 40000),
          connect(key, 'b', 1, client, 40001, `${VIP}:81`),
          connect(key, 'b2', 2, client, 40002, `${VIP}:81`),
        ]),
      ),
    )
    if (mode !== 'ipvs') expect(same(pairs(answers, 'a', 'b'))).toBeLessThan(CLIENTS)
    expect(same(pairs(answers, 'b', 'b2'))).toBe(CLIENTS)
  })

  test('sessionAffinity None: no memory', () => {
    const answers = stateful(
      given(mode, { sessionAffinity: 'None' }),
      inTime(each((client, key) => [1, 2].map((n) => connect(key, `s${n}`, n, client, 40000 + n)))),
    )
    expect(same(pairs(answers, 's1', 's2'))).toBeLessThan(CLIENTS)
    expect(
      [...answers.values()].some(({ explanation }) => explanation.steps.some(({ stage }) => stage === 'affinity')),
    ).toBe(false)
  })

  test('an endpoint that goes is chosen no more; when it comes back, old state is gone', () => {
    const first = stateful(given(mode), inTime(each((client, key) => [connect(key, 's1', 0, client, 40000)])))
    const victim = chosen(first, 'k0-s1')
    const address = victim.replace(/:80$/, '')
    const left = THREE.filter((one) => !one.startsWith(`${address}@`))
    const answers = stateful(
      given(mode),
      inTime([
        ...each((client, key) => [
          connect(key, 's1', 0, client, 40000),
          connect(key, 's2', 20, client, 40001),
          connect(key, 's3', 40, client, 40002),
        ]),
        { time: 10, apply: slice('svc1', left) },
        { time: 30, apply: slice('svc1', THREE) },
      ]),
    )
    for (const [s1, s2] of pairs(answers, 's1', 's2')) {
      expect(s2).not.toBe(victim)
      if (s1 !== victim) expect(s2).toBe(s1)
    }
    // Whoever had to choose again stays with the new choice although the old endpoint is back.
    expect(same(pairs(answers, 's2', 's3'))).toBe(CLIENTS)
  })

  test('an endpoint that is unready counts as gone', () => {
    const unready = ['10.0.1.1@test-node unready', '10.0.1.2@node2', '10.0.1.3@node3']
    const answers = stateful(
      given(mode),
      inTime([
        ...each((client, key) => [connect(key, 's1', 0, client, 40000), connect(key, 's2', 20, client, 40001)]),
        { time: 10, apply: slice('svc1', unready) },
      ]),
    )
    expect(pairs(answers, 's1', 's2').some(([s1]) => s1 === '10.0.1.1:80')).toBe(true)
    for (const [s1, s2] of pairs(answers, 's1', 's2')) {
      if (s1 === '10.0.1.1:80') expect(s2).not.toBe(s1)
      else expect(s2).toBe(s1)
    }
  })

  test('nodes do not share it', () => {
    const answers = stateful(
      given(mode),
      inTime(
        each((client, key) => [
          { ...connect(key, 's1', 0, client, 40000), node: 'test-node' },
          { ...connect(key, 's2', 1, client, 40001), node: 'node2' },
          { ...connect(key, 's3', 2, client, 40002), node: 'node2' },
        ]),
      ),
    )
    if (mode !== 'ipvs') expect(same(pairs(answers, 's1', 's2'))).toBeLessThan(CLIENTS)
    expect(same(pairs(answers, 's2', 's3'))).toBe(CLIENTS)
  })

  test('the key is the source that the node sees, in steps that say so', () => {
    const answers = stateful(given(mode), [
      connect('k', 's1', 0, '10.0.0.2', 40000),
      connect('k', 's2', 1, '10.0.0.2', 40001),
    ])
    const step = (id: string): string | undefined =>
      answers.get(id)?.explanation.steps.find(({ stage }) => stage === 'affinity')?.detail
    expect(step('k-s1')).toContain(
      `sessionAffinity: ClientIP of Service ns1/svc1 (timeoutSeconds ${TIMEOUT}): miss, 10.0.0.2`,
    )
    expect(step('k-s2')).toContain('hit, 10.0.0.2 is bound')
    expect(step('k-s2')).toContain(
      mode === 'ipvs' ? 'for this virtual server (172.30.0.41:80)' : 'for this port of the Service',
    )
  })
})

describe.each(RULE_MODES)('%s', (mode) => {
  test('01: every new connection renews the timeout', () => {
    const answers = stateful(
      given(mode, affinity(1800)),
      inTime(
        each((client, key) => [
          connect(key, 's1', 0, client, 40000),
          connect(key, 's2', 1500, client, 40001),
          connect(key, 's3', 3000, client, 40002),
          connect(key, 's4', 3000 + 1799, client, 40003),
        ]),
      ),
    )
    expect(same(pairs(answers, 's1', 's2'))).toBe(CLIENTS)
    expect(same(pairs(answers, 's1', 's3'))).toBe(CLIENTS)
    expect(same(pairs(answers, 's1', 's4'))).toBe(CLIENTS)
  })

  test('packets of an established connection do not', () => {
    const answers = stateful(
      given(mode),
      inTime(
        each((client, key) => [
          ...Array.from({ length: 9 }, (_, i) => connect(key, i === 0 ? 's1' : `data${i}`, i * 200, client, 40000)),
          connect(key, 's2', 1700, client, 40001),
        ]),
      ),
    )
    expect(same(pairs(answers, 's1', 'data8'))).toBe(CLIENTS)
    expect(same(pairs(answers, 's1', 's2'))).toBeLessThan(CLIENTS)
  })

  test('all frontends of a service port share it', () => {
    const answers = stateful(
      given(mode),
      inTime(
        each((client, key) =>
          [`${VIP}:80`, `${LB}:80`, `${EXTERNAL}:80`, '192.168.0.2:3001'].map((to, n) =>
            connect(key, `s${n}`, n, client, 40000 + n, to),
          ),
        ),
      ),
    )
    for (const step of ['s1', 's2', 's3']) expect(same(pairs(answers, 's0', step))).toBe(CLIENTS)
  })

  test('under Local the local lists count: an endpoint elsewhere does not bind an external client', () => {
    const objects = given(mode, { externalTrafficPolicy: 'Local' }, [
      '10.0.1.1@test-node',
      '10.0.1.2@test-node',
      '10.0.1.3@node2',
    ])
    const lines = Array.from({ length: CLIENTS }, (_, i) => [
      connect(`k${i}`, 'in', 0, `203.0.113.${i + 2}`, 40000),
      connect(`k${i}`, 'out', 1, `203.0.113.${i + 2}`, 40001, `${LB}:80`),
      connect(`k${i}`, 'again', 2, `203.0.113.${i + 2}`, 40002, `${LB}:80`),
    ]).flat()
    const answers = stateful(objects, inTime(lines))
    for (const [inside, outside] of pairs(answers, 'in', 'out')) {
      expect(outside).not.toBe('10.0.1.3:80')
      if (inside !== '10.0.1.3:80') expect(outside).toBe(inside)
    }
    expect(pairs(answers, 'in', 'out').some(([inside]) => inside === '10.0.1.3:80')).toBe(true)
    expect(same(pairs(answers, 'out', 'again'))).toBe(CLIENTS)
  })
})

describe('a list of iptables holds 100 clients', () => {
  const crowd = (count: number): Manifest[] =>
    Array.from({ length: count }, (_, i) => ({
      id: `o${i}`,
      time: 1,
      from: `10.1.${i >> 8}.${i & 255}:40000`,
      to: `${VIP}:80`,
    }))
  const run = (mode: 'iptables' | 'nftables', count: number): number => {
    const answers = stateful(
      given(mode),
      inTime([
        ...each((client, key) => [connect(key, 's1', 0, client, 40000), connect(key, 's2', 2, client, 40001)]),
        ...crowd(count),
      ]),
    )
    return same(pairs(answers, 's1', 's2'))
  }
  test('600 other clients push the first ones out', () => expect(run('iptables', 600)).toBeLessThan(CLIENTS))
  test('60 do not', () => expect(run('iptables', 60)).toBe(CLIENTS))
  test('nftables sets have no such limit', () => expect(run('nftables', 600)).toBe(CLIENTS))
})

describe('ipvs keeps a template for each virtual server', () => {
  test('frontends do not share it', () => {
    // The rotation of the second virtual server begins anew, so one client in three would agree by chance at most.
    const answers = stateful(
      given('ipvs'),
      inTime(
        each((client, key) => [
          connect(key, 'vip', Number(key.slice(1)), client, 40000),
          connect(key, 'lb', 100 - Number(key.slice(1)), client, 40001, `${LB}:80`),
          connect(key, 'lb2', 200, client, 40002, `${LB}:80`),
        ]),
      ),
    )
    expect(same(pairs(answers, 'vip', 'lb'))).toBeLessThan(CLIENTS)
    expect(same(pairs(answers, 'lb', 'lb2'))).toBe(CLIENTS)
  })
})

test('the default timeout is 10800 s', () => {
  const answers = stateful(
    given('nftables', { sessionAffinityConfig: null }),
    inTime(
      each((client, key) => [
        connect(key, 's1', 0, client, 40000),
        connect(key, 's2', 10_799, client, 40001),
        connect(key, 's3', 40_000, client, 40002),
      ]),
    ),
  )
  expect(same(pairs(answers, 's1', 's2'))).toBe(CLIENTS)
  expect(same(pairs(answers, 's1', 's3'))).toBeLessThan(CLIENTS)
})
