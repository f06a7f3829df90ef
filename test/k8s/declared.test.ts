/** A targetPort that no pod declares: said where all of them declare others, and never where they declare nothing. */
import { expect, test } from 'vitest'
import { clusterOf } from './helpers.ts'

function warnings(target: string, containers: string, more = ''): string[] {
  const cluster = clusterOf(`
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80${target}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: ${containers}${more}}}}
`)
  return cluster.warnings.map(({ code, where }) => `${code} ${where.split(' (')[0]}`)
}

const TOLD = ['W_PORT_NOT_DECLARED Service default/web']
test.each([
  ['the port of the Service, where pods have another', '', '[{name: c, ports: [{containerPort: 8080}]}]', '', TOLD],
  ['the right one', ', targetPort: 8080', '[{name: c, ports: [{containerPort: 8080}]}]', '', []],
  ['a name', ', targetPort: http', '[{name: c, ports: [{name: http, containerPort: 8080}]}]', '', []],
  [
    'of the other protocol',
    ', targetPort: 8080',
    '[{name: c, ports: [{containerPort: 8080, protocol: UDP}]}]',
    '',
    TOLD,
  ],
  ['pods that declare nothing', '', '[{name: c}]', '', []],
  [
    'another container of theirs has it',
    '',
    '[{name: c, ports: [{containerPort: 1}]}, {name: d, ports: [{containerPort: 80}]}]',
    '',
    [],
  ],
  [
    'on the host network everything on the node could listen',
    '',
    '[{name: c, ports: [{containerPort: 8080}]}]',
    ', hostNetwork: true',
    [],
  ],
])('%s', (_words, target, containers, more, expected) => {
  expect(warnings(target, containers, more)).toEqual(expected)
})
