/** KERNEL §2.8: rule changes never touch entries; what is established goes on, what is new meets the new rules. */
import { describe, expect, test } from 'vitest'
import type { ServiceSpec } from '../core/cluster.ts'
import type { Lab } from '../core/harness.ts'
import { CALLER, CLIENT, cluster, lab, NODE_A, onB, POD_A, POD_B, send } from '../core/web.ts'
import { HANDSHAKE, pass } from './node.ts'

const CONNECTIONS = 30
/** The pods keep running when no Service names them any more. */
const RUNNING = { pods: { [CALLER]: 'a', [POD_A]: 'a', [POD_B]: 'b' } }

function thirty(on: Lab): number[] {
  return Array.from({ length: CONNECTIONS }, (_, i) => {
    const connection = on.connect(CLIENT, NODE_A, 40_000 + i)
    pass(on, connection, i, ...HANDSHAKE)
    return connection
  })
}

describe.each(['nftables', 'iptables'] as const)('in %s', (mode) => {
  test.each<[string, Partial<ServiceSpec>, Partial<ServiceSpec>, string]>([
    ['one endpoint of two is removed', {}, { endpoints: [onB] }, 'accept'],
    [
      'the Service is switched to Local, no endpoint on this node',
      { endpoints: [onB] },
      { external: 'Local', endpoints: [onB] },
      'no-local-endpoint',
    ],
    ['the last endpoint is removed', {}, { endpoints: [] }, 'no-endpoint'],
    [
      'the last local endpoint is removed under Local',
      { external: 'Local' },
      { external: 'Local', endpoints: [onB] },
      'no-local-endpoint',
    ],
  ])('KERNEL 2.8: 30 of 30 established connections survive when %s', (_words, before, after, meets) => {
    const on = lab(before, { mode }, RUNNING)
    const connections = thirty(on)
    const entries = on.conntrack()
    const served = connections.map((connection) => on.deliveredTo(connection))
    on.change(cluster(after, RUNNING), 1000)
    expect(on.conntrack()).toEqual(entries)
    for (const connection of connections) {
      pass(on, connection, 2000, ['client', 'data'], ['server', 'data'], ['client', 'ack'])
    }
    expect(connections.map((connection) => on.deliveredTo(connection))).toEqual(served)
    expect(send(on, on.connect(CLIENT, NODE_A, 50_000), 3000, 'client', 'syn')).toBe(meets)
  })

  test('… and the same connections when the Service itself is deleted', () => {
    const on = lab({}, { mode }, RUNNING)
    const connections = thirty(on)
    on.change({ ...cluster({}, RUNNING), services: [], slices: [] }, 1000)
    for (const connection of connections) pass(on, connection, 2000, ['client', 'data'], ['server', 'ack'])
    expect(send(on, on.connect(CLIENT, NODE_A, 50_000), 3000, 'client', 'syn')).toBe('no-service')
  })
})
