/**
 * One database, broken in the ways in which people break it: what `explain` says of the connection to mysql-0.mysql, whole.
 *
 * `npx vitest run test/verdicts -u` writes the files anew; what is read in the diff is whether the cause is named.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { runExplain } from '../../src/commands/explain.ts'
import { fakeIo } from '../cli/fake-io.ts'

const HERE = import.meta.dirname
const folder = mkdtempSync(join(tmpdir(), 'dpemu-verdicts-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const NOT_READY = `
---
apiVersion: v1
kind: Pod
metadata: { name: mysql-0, labels: { app: mysql } }
spec: { hostname: mysql-0, subdomain: mysql, nodeName: node-a, containers: [{ name: m, ports: [{ containerPort: 3306 }] }] }
status: { phase: Running, podIP: 10.244.0.55, podIPs: [{ ip: 10.244.0.55 }], conditions: [{ type: Ready, status: "False" }] }
`

/** What is wrong, how the manifests say it, and where the client and the destination differ. */
const ROWS: readonly [string, (text: string) => string, { from?: string; to?: string }?][] = [
  ['nothing is wrong', (text) => text],
  [
    'serviceName is that of another Service',
    (text) => text.replace('serviceName: mysql', 'serviceName: mysql-headless'),
  ],
  [
    'the client is in another namespace',
    (text) => text.replace('namespace: default }', 'namespace: apps }'),
    { from: 'apps/my-app' },
  ],
  [
    'the client is on its node network',
    (text) =>
      text.replace(
        'spec: { containers: [{ name: my-app }] }',
        'spec: { hostNetwork: true, containers: [{ name: my-app }] }',
      ),
  ],
  ['the pod is not ready', (text) => text + NOT_READY],
  [
    'the targetPort is one that no container declares',
    (text) => text.replace('port: 3306 }]', 'port: 3306, targetPort: 3307 }]').replace('  clusterIP: None\n', ''),
    { to: 'mysql:3306' },
  ],
  ['the port is wrong', (text) => text, { to: 'mysql-0.mysql:3307' }],
  ['the Service selects nothing', (text) => text.replace('selector: { app: mysql }\n', 'selector: { app: mysqld }\n')],
]

test.each(ROWS)('%s', async (name, change, { from = 'default/my-app', to = 'mysql-0.mysql:3306' } = {}) => {
  const whole = readFileSync(join(HERE, 'my/cluster.yaml'), 'utf8')
  const file = join(folder, 'cluster.yaml')
  writeFileSync(file, change(whole))
  if (name !== 'nothing is wrong' && name !== 'the port is wrong') expect(change(whole)).not.toBe(whole)
  const io = fakeIo()
  const code = await runExplain({ manifests: [file], from, to, output: [], stateful: false, quiet: true }, io)
  expect(code).toBe(0)
  const golden = join(HERE, 'golden', `mysql, ${name}.txt`.replaceAll(' ', '-').replace(',', ''))
  await expect(io.written.stdout).toMatchFileSnapshot(golden)
})
