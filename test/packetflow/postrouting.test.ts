/**
 * Masquerade by where a translated packet really goes: host network of the node itself, of another node, and outside the pods' range.
 *
 * Source: netfilter's hooks (a packet to a local address takes INPUT, which POSTROUTING is no part of; measured on Linux 6.18 with
 * kube-proxy's mark: a process on the node sees the client, a pod sees the bridge); flannel-io/flannel#964 and #1702 for the plugin.
 */
import { describe, expect, test } from 'vitest'
import { CLIENT, explainAll, type Manifest, MODES, node, row, rows, service, slice } from './support.ts'

const VIP = '172.30.0.41'
const LB = '1.2.3.4'
const POD = '10.244.1.9'

function cluster(mode: string, endpoints: string[], spec: Manifest = {}): Manifest[] {
  return [
    node('n1', ['192.168.0.1'], {}, ['10.244.1.0/24']),
    node('n2', ['192.168.0.2'], {}, ['10.244.2.0/24']),
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'client', namespace: 'ns1' },
      spec: { nodeName: 'n1' },
      status: { podIP: POD, podIPs: [{ ip: POD }] },
    },
    {
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      mode,
      detectLocalMode: 'ClusterCIDR',
      clusterCIDR: '10.244.0.0/16',
    },
    service('web', { type: 'LoadBalancer', clusterIP: VIP, ...spec }, [LB]),
    slice('web', endpoints),
  ]
}

const at = (name: string) => ({ node: name })

describe.each(MODES)('mode %s', (mode) => {
  describe("an endpoint on the node's own network is delivered by INPUT", () => {
    rows(cluster(mode, ['192.168.0.1@n1']), [
      row('outside to the load balancer, mark or not', CLIENT, `${LB}:80`, 'dnat 192.168.0.1:80', at('n1')),
      row('outside to the node port', CLIENT, '192.168.0.1:3001', 'dnat 192.168.0.1:80', at('n1')),
      row('outside to the cluster IP', CLIENT, `${VIP}:80`, 'dnat 192.168.0.1:80', at('n1')),
      row('a pod of the node', POD, `${VIP}:80`, 'dnat 192.168.0.1:80', at('n1')),
      row('outside, on another node: forwarded', CLIENT, `${LB}:80`, 'dnat 192.168.0.1:80 masq', at('n2')),
    ])
  })
  describe("the node's own packets to it pass OUTPUT and POSTROUTING", () => {
    rows(cluster(mode, ['192.168.0.1@n1']), [
      row('hairpin over the loopback interface', '192.168.0.1', `${VIP}:80`, 'dnat 192.168.0.1:80 masq', at('n1')),
    ])
  })
  describe('pods’ packets out of the pods’ range: the network plugin, by the endpoint', () => {
    rows(cluster(mode, ['192.168.0.2@n2']), [
      row("another node's host network", POD, `${VIP}:80`, 'dnat 192.168.0.2:80 masq', at('n1')),
    ])
    rows(cluster(mode, ['192.0.2.19']), [
      row('a database outside', POD, `${VIP}:80`, 'dnat 192.0.2.19:80 masq', at('n1')),
    ])
    rows(cluster(mode, ['10.244.2.5@n2']), [
      row('a pod of another node', POD, `${VIP}:80`, 'dnat 10.244.2.5:80', at('n1')),
    ])
  })
})

function answer(endpoints: string[], from: string, to: string) {
  return explainAll(cluster('iptables', endpoints), [{ from, to, protocol: 'TCP', node: 'n1' }])[0]!
}

function detail(endpoints: string[], from: string, to: string, stage: string): string {
  return answer(endpoints, from, to).explanation.steps.find((step) => step.stage === stage)!.detail
}

describe('in words', () => {
  test('whom the process sees, and why the mark has no effect', () => {
    expect(detail(['192.168.0.1@n1'], CLIENT, `${LB}:80`, 'deliver')).toBe(`sees the client as ${CLIENT}`)
    expect(detail(['192.168.0.1@n1'], CLIENT, `${LB}:80`, 'masquerade')).toContain('never passes POSTROUTING')
  })
  test('one of each: who is masqueraded and who is not', () => {
    const text = detail(['192.168.0.1@n1', '192.168.0.2@n2'], CLIENT, `${LB}:80`, 'masquerade')
    expect(text).toContain('yes, as 192.168.0.1 towards 192.168.0.2:80')
    expect(text).toContain('not towards 192.168.0.1:80')
  })
  test('the plugin and the range that are assumed', () => {
    const text = detail(['192.0.2.19'], POD, `${VIP}:80`, 'masquerade')
    expect(text).toBe(
      'yes, as 192.168.0.1: by the network plugin and not by kube-proxy: pod traffic that leaves the pod range 10.244.0.0/16, as flannel and kindnet do',
    )
  })
})
