/** A table beside manifests: whose entries they are, which lead nowhere, what room is left. */
import { describe, expect, test } from 'vitest'
import { judgeTable, type TableReport } from '../../src/conntrack/against.ts'
import { parseTable } from '../../src/conntrack/lines.ts'
import { tableText } from '../../src/conntrack/text.ts'
import { clusterOf } from '../core/cluster.ts'

const CLUSTER = clusterOf({
  nodes: 2,
  pods: { '10.1.0.77': 'a' },
  services: [
    {
      name: 'web',
      targetPort: 8080,
      nodePort: 30080,
      balancer: ['203.0.113.1'],
      endpoints: [
        { address: '10.1.0.5', node: 'a' },
        { address: '10.1.1.5', node: 'b' },
        { address: '10.1.1.6', node: 'b', ready: false, serving: true, terminating: true },
      ],
    },
    {
      name: 'dns',
      clusterIP: '10.96.0.11',
      protocol: 'UDP',
      port: 53,
      endpoints: [{ address: '10.1.0.6', node: 'a' }],
    },
  ],
})

function tcp(dst: string, dport: number, reply: string, sport: number, state = 'ESTABLISHED', seconds = 100): string {
  return `tcp      6 ${seconds} ${state} src=10.1.0.77 dst=${dst} sport=40000 dport=${dport} src=${reply} dst=10.1.0.77 sport=${sport} dport=40000 [ASSURED] mark=0 use=1\n`
}

function judge(text: string, more: { node?: string; max?: number; rate?: number } = {}): TableReport {
  return judgeTable(CLUSTER, parseTable(text, 't'), {
    files: ['t'],
    node: more.node ?? null,
    max: more.max ?? null,
    ratePerSecond: more.rate ?? null,
  })
}

describe('an entry belongs to the Service that was dialled', () => {
  test.each<[string, string, object]>([
    ['cluster IP', tcp('10.96.0.10', 80, '10.1.0.5', 8080), { service: 'default/web:80', endpointGone: 0 }],
    ['load balancer', tcp('203.0.113.1', 80, '10.1.1.5', 8080), { service: 'default/web:80', endpointGone: 0 }],
    ['node port', tcp('192.168.0.1', 30080, '10.1.1.5', 8080), { service: 'default/web:80', endpointGone: 0 }],
    ['a pod that is gone', tcp('10.96.0.10', 80, '10.1.1.99', 8080), { endpointGone: 1 }],
    ['a pod that is there, on another port', tcp('10.96.0.10', 80, '10.1.0.5', 9090), { endpointGone: 1 }],
    ['a pod that drains', tcp('10.96.0.10', 80, '10.1.1.6', 8080), { endpointGone: 0, draining: 1 }],
    ['never translated', tcp('10.96.0.10', 80, '10.96.0.10', 80, 'SYN_SENT'), { untranslated: 1, endpointGone: 0 }],
  ])('%s', (_name, line, expected) => {
    const { services, others } = judge(line)
    expect(services).toHaveLength(1)
    expect(services[0]).toMatchObject(expected)
    expect(others).toEqual({})
  })

  test.each<[string, string, string]>([
    ['a pod, dialled directly', tcp('10.1.0.5', 8080, '10.1.0.5', 8080), 'to a pod'],
    ['a pod to the world', tcp('192.0.2.1', 443, '192.0.2.1', 443), 'from a pod'],
    ['a Service that is gone', tcp('10.96.0.99', 80, '10.1.0.5', 8080), 'translated, no such Service'],
    ['TCP to a UDP port', tcp('10.96.0.11', 53, '10.96.0.11', 53), 'from a pod'],
    [
      'ssh to the node',
      tcp('192.168.0.1', 22, '192.168.0.1', 22).replaceAll('10.1.0.77', '198.51.100.1'),
      'of the node',
    ],
    [
      'one node to another',
      tcp('192.168.0.2', 6443, '192.168.0.2', 6443).replaceAll('10.1.0.77', '198.51.100.1'),
      'of another node',
    ],
  ])('no Service: %s', (_name, line, kind) => {
    expect(judge(line, { node: 'a' }).others).toEqual({ [kind]: 1 })
  })

  test('another node’s node port is no business of this one', () => {
    const line = tcp('192.168.0.2', 30080, '192.168.0.2', 30080)
    expect(judge(line).services).toHaveLength(1)
    expect(judge(line, { node: 'a' }).services).toHaveLength(0)
  })
})

test('endpoints that are gone, most entries first, with the time that the last has left', () => {
  const { gone } = judge(
    tcp('10.96.0.10', 80, '10.1.1.98', 8080, 'TIME_WAIT', 30) +
      tcp('10.96.0.10', 80, '10.1.1.99', 8080, 'ESTABLISHED', 80_000) +
      tcp('203.0.113.1', 80, '10.1.1.99', 8080, 'CLOSE_WAIT', 900),
  )
  expect(gone).toEqual([
    {
      service: 'default/web:80',
      endpoint: '10.1.1.99:8080',
      protocol: 'tcp',
      entries: 2,
      byState: { 'tcp CLOSE_WAIT': 1, 'tcp ESTABLISHED': 1 },
      longestSeconds: 80_000,
    },
    {
      service: 'default/web:80',
      endpoint: '10.1.1.98:8080',
      protocol: 'tcp',
      entries: 1,
      byState: { 'tcp TIME_WAIT': 1 },
      longestSeconds: 30,
    },
  ])
})

describe('room', () => {
  test('connections that are closed stay for two minutes: 500 a second take 60,000 entries', () => {
    const { room, max } = judge(tcp('10.96.0.10', 80, '10.1.0.5', 8080), { node: 'a', rate: 500 })
    expect(max).toBe(131_072)
    expect(room[0]).toMatchObject({ seconds: 120, entries: 60_000, left: 131_072 - 1 - 60_000, fullAfterSeconds: null })
  })

  test('where they do not fit: how long it takes', () => {
    const { room } = judge('', { max: 1000, rate: 100 })
    expect(room[0]).toMatchObject({ entries: 12_000, left: -11_000, fullAfterSeconds: 10 })
  })

  test('TIME_WAIT says how many were closed a second', () => {
    const closed = Array.from({ length: 240 }, () => tcp('10.96.0.10', 80, '10.1.0.5', 8080, 'TIME_WAIT')).join('')
    expect(judge(closed).closedPerSecond).toBe(2)
  })
})

test('the text names who fills the table', () => {
  const text = tableText(
    judge(tcp('10.96.0.10', 80, '10.1.1.99', 8080) + tcp('192.0.2.1', 443, '192.0.2.1', 443), { node: 'a', rate: 10 }),
  )
  expect(text).toContain('2 entries of 131,072 (nf_conntrack_max)')
  expect(text).toMatch(/default\/web:80 +1 +50\.0 % +1 to endpoints that are gone/)
  expect(text).toMatch(/no Service: from a pod +1 +50\.0 %/)
  expect(text).toContain('10.1.1.99:8080/tcp of default/web:80: 1 (tcp ESTABLISHED 1), the last for 100 s more')
  expect(text).toContain('Room at 10 connections a second more')
})
