/** The cluster that the rows about the dataplane share: two nodes, a web Service with a pod on each, a UDP Service, a caller. */
import { expect } from 'vitest'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { type ClusterSpec, clusterOf, type EndpointSpec, type ServiceSpec } from './cluster.ts'
import { FLAGS, type FlagName, Lab, type LabOptions } from './harness.ts'

export const CLIENT = '198.51.100.7'
export const OTHER = '198.51.100.8'
export const POD_A = '10.1.0.5'
export const POD_B = '10.1.1.5'
export const CALLER = '10.1.0.77'

export const VIP = '203.0.113.1:80/tcp'
export const CLUSTER_IP = '10.96.0.10:80/tcp'
export const NODE_A = '192.168.0.1:30080/tcp'
export const NODE_B = '192.168.0.2:30080/tcp'
export const UDP_A = '192.168.0.1:30053/udp'

export const onA: EndpointSpec = { address: POD_A, node: 'a' }
export const onB: EndpointSpec = { address: POD_B, node: 'b' }

export function web(changes: Partial<ServiceSpec> = {}): ServiceSpec {
  return {
    name: 'web',
    clusterIP: '10.96.0.10',
    port: 80,
    targetPort: 8080,
    nodePort: 30080,
    balancer: ['203.0.113.1'],
    endpoints: [onA, onB],
    ...changes,
  }
}

export const dns: ServiceSpec = {
  name: 'dns',
  clusterIP: '10.96.0.11',
  port: 53,
  nodePort: 30053,
  protocol: 'UDP',
  endpoints: [
    { address: '10.1.0.6', node: 'a' },
    { address: '10.1.0.7', node: 'a' },
    { address: '10.1.0.8', node: 'a' },
    { address: '10.1.0.9', node: 'a' },
  ],
}

export function cluster(service: Partial<ServiceSpec> = {}, more: Partial<ClusterSpec> = {}): Cluster {
  return clusterOf({ nodes: 2, services: [web(service), dns], pods: { [CALLER]: 'a' }, ...more })
}

export function lab(
  service: Partial<ServiceSpec> = {},
  options: LabOptions = {},
  more: Partial<ClusterSpec> = {},
): Lab {
  return new Lab(cluster(service, more), [VIP, CLUSTER_IP, NODE_A, NODE_B, UDP_A], {
    clients: [CLIENT, OTHER],
    ...options,
  })
}

export type Who = 'client' | 'server'

/** Sends one packet and says what happened to it. */
export function send(on: Lab, connection: number, atMs: number, from: Who, flag: FlagName, length = 52): string {
  return on.send({ connection, atMs, from, flags: FLAGS[flag], length })
}

/** A handshake; every packet must pass. */
export function handshake(on: Lab, connection: number, atMs: number): void {
  expect(send(on, connection, atMs, 'client', 'syn')).toBe('accept')
  expect(send(on, connection, atMs, 'server', 'synack')).toBe('accept')
  expect(send(on, connection, atMs, 'client', 'ack')).toBe('accept')
}

/** A close from the client's side, to TIME_WAIT. */
export function close(on: Lab, connection: number, atMs: number): void {
  for (const [from, flag] of [
    ['client', 'fin'],
    ['server', 'ack'],
    ['server', 'fin'],
    ['client', 'ack'],
  ] as const) {
    expect(send(on, connection, atMs, from, flag)).toBe('accept')
  }
}
