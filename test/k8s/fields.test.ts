import { execFileSync } from 'node:child_process'
import { describe, expect, it, test } from 'vitest'
import type { Service } from '../../src/k8s/types.ts'
import { load } from './helpers.ts'

const header = {
  Service: 'apiVersion: v1\nkind: Service\nmetadata: {name: web}\n',
  Deployment: 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n',
  Ingress: 'apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\n',
}
const template = 'template: {spec: {}}'

describe('unknown fields', () => {
  test.each([
    ['Service', 'spec: {sesionAffinity: ClientIP}', 'spec.sesionAffinity', 'spec.sessionAffinity'],
    ['Service', 'spec: {ports: [{port: 1, targetport: 2}]}', 'spec.ports[0].targetport', 'spec.ports[0].targetPort'],
    [
      'Service',
      'spec: {timeoutSeconds: 5}',
      'spec.timeoutSeconds',
      'spec.sessionAffinityConfig.clientIP.timeoutSeconds',
    ],
    ['Service', 'spec: {ports: [{port: 1, selector: {a: b}}]}', 'spec.ports[0].selector', 'spec.selector'],
    ['Service', 'spec: {}\nexternalTrafficPolicy: Local', 'externalTrafficPolicy', 'spec.externalTrafficPolicy'],
    ['Service', 'spec: {targetPort: 80}', 'spec.targetPort', 'spec.ports[].targetPort'],
    ['Deployment', `spec: {${template}, containers: []}`, 'spec.containers', 'spec.template.spec.containers'],
    ['Deployment', `spec: {${template}, replica: 2}`, 'spec.replica', 'spec.replicas'],
    ['Ingress', 'spec: {rules: [{host: a, paths: []}]}', 'spec.rules[0].paths', 'spec.rules[0].http.paths'],
  ] as const)('%s with %s', (kind, body, path, meant) => {
    const { warnings } = load(header[kind] + body)
    expect(warnings).toEqual([
      {
        code: 'W_UNKNOWN_FIELD',
        where: `test.yaml, document 1, ${path}`,
        message: `${path} is not a field of ${kind}; did you mean ${meant}?`,
      },
    ])
  })

  it('finds clientIP one level too high, and the API default stays', () => {
    const { objects, warnings } = load(
      `${header.Service}spec:\n  sessionAffinity: ClientIP\n  sessionAffinityConfig:\n  clientIP:\n    timeoutSeconds: 1800\n`,
    )
    expect(warnings.map(({ message }) => message)).toEqual([
      'spec.clientIP is not a field of Service; did you mean spec.sessionAffinityConfig.clientIP?',
    ])
    expect((objects[0] as Service).spec.sessionAffinityConfig).toBeUndefined()
  })

  it('says nothing of a name that is like none', () => {
    expect(load(`${header.Service}spec: {zzzzzzz: 1}`).warnings[0]!.message).toBe(
      'spec.zzzzzzz is not a field of Service',
    )
  })

  it('knows fields newer than the OpenAPI document, and does not look into maps that users fill', () => {
    const text = `${header.Service}spec: {trafficDistribution: PreferClose, selector: {anything: x}}\nstatus: {loadBalancer: {ingress: [{ip: 1.2.3.4, ipMode: Proxy}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s}
addressType: IPv4
endpoints: [{addresses: [1.2.3.4], hints: {forNodes: [{name: n}]}}]
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: kubernetes}
spec: {cidrs: [10.0.0.0/16]}`
    expect(load(text).warnings).toEqual([])
  })

  it('lists a few of many alike and counts the rest', () => {
    const ports = Array.from({ length: 20 }, (_, i) => `{name: p${i}, port: ${i + 1}, targetport: 1}`)
    const { warnings } = load(`${header.Service}spec: {ports: [${ports}]}`)
    expect(warnings).toHaveLength(6)
    expect(warnings[5]!.message).toMatch(/^15 more like the one at test.yaml, document 1, spec.ports\[0\].targetport$/)
  })
})

it('has a field table that is up to date with its generator', () => {
  expect(() => execFileSync(process.execPath, ['scripts/k8s-fields.mjs', '--check'], { stdio: 'pipe' })).not.toThrow()
})
