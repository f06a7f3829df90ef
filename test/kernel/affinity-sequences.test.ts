/**
 * ClientIP affinity over time, as kube-proxy's rules have it: sequences of new connections of one pod, timeout 1800 s.
 *
 * Each sequence is run for many seeds, so that "the same endpoint" is no chance and a free choice is seen to be free.
 * Source: derived from kubernetes/kubernetes pkg/proxy/{nftables,iptables}/proxier.go (the affinity sets and `recent`
 * lists of the endpoint chains, writeServiceToEndpointRules), by reading; affinity-*.json of a conformance collection.
 */
import { describe, expect, test } from 'vitest'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { clusterOf } from '../core/cluster.ts'
import { Lab } from '../core/harness.ts'
import { send } from '../core/web.ts'
import { expectShare } from './node.ts'

const POD = '10.0.0.2'
const HOSTS = ['10.0.1.1', '10.0.1.2', '10.0.1.3']
const HTTP = '172.30.0.41:80/tcp'
const HTTPS = '172.30.0.41:443/tcp'
const SEEDS = 120

/** A Service of two ports with an endpoint on each of three nodes. */
function svc1(hosts: readonly string[]): Cluster {
  const cluster = clusterOf({
    nodes: 3,
    pods: { [POD]: 'a' },
    services: [
      {
        name: 'svc1',
        type: 'LoadBalancer',
        clusterIP: '172.30.0.41',
        balancer: ['1.2.3.4'],
        affinitySeconds: 1800,
        endpoints: hosts.map((address) => ({ address, node: 'abc'[HOSTS.indexOf(address)] })),
      },
    ],
  })
  const port = { protocol: 'TCP' as const }
  return {
    ...cluster,
    clusterCidrs: ['10.0.0.0/8'],
    serviceCidrs: ['172.30.0.0/16'],
    services: cluster.services.map((service) => ({
      ...service,
      ports: [
        { ...port, name: 'http', port: 80, targetPort: 80, nodePort: 30080 },
        { ...port, name: 'https', port: 443, targetPort: 8443, nodePort: 0 },
      ],
    })),
    slices: cluster.slices.map((slice) => ({
      ...slice,
      ports: [
        { ...port, name: 'http', port: 80 },
        { ...port, name: 'https', port: 8443 },
      ],
    })),
  }
}

type Step =
  /** A new connection; `same`: must go to the endpoint of an earlier step, else it is free. */
  | { readonly id: string; readonly at: number; readonly to: string; readonly same?: string }
  /** The endpoint of an earlier step goes, or comes back. */
  | { readonly at: number; readonly remove: string }
  | { readonly at: number; readonly restore: string }

interface Sequence {
  readonly steps: readonly Step[]
  /** Pairs of steps that are independent: equal in this share of all runs. */
  readonly chance: readonly (readonly [string, string, number])[]
}

const SEQUENCES: Readonly<Record<string, Sequence>> = {
  'every new connection renews the timeout': {
    // 2400 is more than 1800 after s1 but less than 1800 after s2; s4 comes 1900 s after s3.
    steps: [
      { id: 's1', at: 0, to: HTTP },
      { id: 's2', at: 1200, to: HTTP, same: 's1' },
      { id: 's3', at: 2400, to: HTTP, same: 's1' },
      { id: 's4', at: 4300, to: HTTP },
    ],
    chance: [['s1', 's4', 1 / 3]],
  },
  'two ports of one Service have separate affinity': {
    steps: [
      { id: 's1', at: 0, to: HTTP },
      { id: 's2', at: 1, to: HTTPS },
      { id: 's3', at: 2, to: HTTP, same: 's1' },
      { id: 's4', at: 3, to: HTTPS, same: 's2' },
    ],
    chance: [['s1', 's2', 1 / 3]],
  },
  'the affine endpoint is removed, then back': {
    steps: [
      { id: 's1', at: 0, to: HTTP },
      { at: 10, remove: 's1' },
      { id: 's2', at: 20, to: HTTP },
      { at: 30, restore: 's1' },
      { id: 's3', at: 40, to: HTTP, same: 's2' },
    ],
    chance: [['s1', 's2', 0]],
  },
}

/** @returns step → host of the endpoint chosen */
function run({ steps }: Sequence, mode: 'nftables' | 'iptables', seed: number): Map<string, string> {
  const chosen = new Map<string, string>()
  const on = new Lab(svc1(HOSTS), [HTTP, HTTPS], { mode, seed, durationMs: 7_200_000, connections: 64, entries: 64 })
  steps.forEach((step, i) => {
    const atMs = step.at * 1000
    if ('remove' in step) {
      on.change(svc1(HOSTS.filter((host) => host !== chosen.get(step.remove))), atMs)
    } else if ('restore' in step) {
      on.change(svc1(HOSTS), atMs)
    } else {
      const connection = on.connect(POD, step.to, 40_000 + i)
      expect(send(on, connection, atMs, 'client', 'syn')).toBe('accept')
      const [host, port] = on.endpoint(connection).split(':')
      expect(port).toBe(step.to === HTTPS ? '8443' : '80')
      if (step.same !== undefined) expect(host, `${step.id}, seed ${seed}`).toBe(chosen.get(step.same))
      chosen.set(step.id, host)
    }
  })
  return chosen
}

describe.each(['nftables', 'iptables'] as const)('in %s', (mode) => {
  test.each(Object.entries(SEQUENCES))('%s', (_words, sequence) => {
    const runs = Array.from({ length: SEEDS }, (_, seed) => run(sequence, mode, seed))
    for (const host of HOSTS) {
      expectShare(runs.filter((chosen) => chosen.get('s1') === host).length, SEEDS, 1 / 3)
    }
    for (const [one, other, share] of sequence.chance) {
      expectShare(runs.filter((chosen) => chosen.get(one) === chosen.get(other)).length, SEEDS, share)
    }
  })
})
