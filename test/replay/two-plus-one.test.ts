/**
 * The question most people come with, on 100,000 connections: three pods, two of them on one node. What does each pod get
 * under Cluster and under Local, and what becomes of the client's address?
 */
import { beforeAll, describe, expect, it } from 'vitest'
import type { RunReport } from '../../src/report/types.ts'
import { bundledTrace, replayed, runOf, sumOf, temporaryFolder } from './support.ts'

const folder = temporaryFolder()
const POINT = 0.01
let cluster: RunReport
let local: RunReport

beforeAll(async () => {
  const report = await replayed(await bundledTrace(folder, 'two-plus-one'))
  cluster = runOf(report, 'cluster')
  local = runOf(report, 'local')
})

function near(actual: number, expected: number): void {
  expect(Math.abs(actual - expected), `${actual}, expected ${expected} within a point`).toBeLessThanOrEqual(POINT)
}

function shareOf(run: RunReport, pod: string): number {
  return run.endpoints.find((endpoint) => endpoint.pod === `default/${pod}`)!.share
}

/** Part of the connections that meets a pod on another node, were the node and the pod drawn independently. */
function expectedCrossing({ nodes, endpoints }: RunReport): number {
  const entered = sumOf(nodes, 'connections')
  const staying = nodes.map(({ node, connections }) => {
    const here = endpoints.filter((endpoint) => endpoint.node === node)
    return (connections / entered) * here.reduce((sum, { share }) => sum + share, 0)
  })
  return 1 - staying.reduce((sum, part) => sum + part, 0)
}

describe('two pods on one node, one on another, 100,000 connections through the load balancer', () => {
  it.each(['web-a', 'web-b', 'web-c'])('Cluster: %s gets a third', (pod) => near(shareOf(cluster, pod), 1 / 3))

  it.each([
    ['web-a', 0.25],
    ['web-b', 0.25],
    ['web-c', 0.5],
  ] as const)('Local: %s gets %d, for the load balancer knows nodes and not pods', (pod, share) =>
    near(shareOf(local, pod), share),
  )

  it('the load balancer shares out evenly over nodes under either policy', () => {
    for (const run of [cluster, local]) for (const { connections } of run.nodes) near(connections / 100_000, 1 / 2)
  })

  it('shares, endpoints and nodes add up to all connections', () => {
    for (const { connections, endpoints, nodes } of [cluster, local]) {
      expect(connections).toEqual({ attempted: 100_000, established: 100_000, failed: 0, broken: 0 })
      expect(endpoints.reduce((sum, endpoint) => sum + endpoint.connections, 0)).toBe(100_000)
      expect(endpoints.reduce((sum, endpoint) => sum + endpoint.share, 0)).toBeCloseTo(1, 12)
      expect(sumOf(nodes, 'connections')).toBe(100_000)
    }
  })

  it('Cluster masquerades all of them and loses every client address, Local none', () => {
    expect([cluster.masqueradedFraction, local.masqueradedFraction]).toEqual([1, 0])
    expect([cluster.clientIpPreservedFraction, local.clientIpPreservedFraction]).toEqual([0, 1])
    expect(sumOf(cluster.nodes, 'snatPortsPeak')).toBeGreaterThan(0)
    expect(sumOf(local.nodes, 'snatPortsPeak')).toBe(0)
  })

  it('Local never crosses nodes; Cluster does where the pod drawn is not on the node entered', () => {
    expect(local.crossNodeFraction).toBe(0)
    near(cluster.crossNodeFraction, expectedCrossing(cluster))
    // Half enter at node-two and leave it for web-c (1/3), half enter at node-one and leave it for the two others (2/3).
    near(cluster.crossNodeFraction, (1 / 2) * (1 / 3) + (1 / 2) * (2 / 3))
  })

  it('an extra hop costs time: Cluster is slower on the mean and at the top', () => {
    const [slow, fast] = [cluster.pathLatencyMicros, local.pathLatencyMicros]
    expect(slow.connectionSetup.mean).toBeGreaterThan(fast.connectionSetup.mean)
    expect(slow.packet.p99).toBeGreaterThan(fast.packet.p99)
    for (const { packet, firstPacket, connectionSetup } of [slow, fast]) {
      expect(packet.count).toBe(400_000)
      expect([firstPacket.count, connectionSetup.count]).toEqual([100_000, 100_000])
      expect(firstPacket.mean).toBeGreaterThan(packet.mean)
    }
  })

  it('Local is the uneven one', () => {
    expect(local.imbalance).toEqual([
      expect.objectContaining({ service: 'default/web:http', endpoints: 3, maxOverMean: expect.closeTo(1.5, 1) }),
    ])
    expect(cluster.imbalance[0].maxOverMean).toBeLessThan(1.03)
  })
})
