/** `dpemu explain` run in this process, on a small shop: objects and lines in files of a folder that goes away. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ExplainOptions, runExplain } from '../../src/commands/explain.ts'
import type { UserError } from '../../src/errors.ts'
import type { Explanation } from '../../src/explain/types.ts'
import { fakeIo } from '../cli/fake-io.ts'

const folder = mkdtempSync(join(tmpdir(), 'dpemu-explain-'))
// Files of one process share this module: the folder goes with the process.
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))

export const SHOP = `
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDR: 10.244.2.0/24}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.20
  externalTrafficPolicy: Local
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30080}
  - {name: metrics, port: 9090, targetPort: 9090, nodePort: 30090}
status: {loadBalancer: {ingress: [{ip: 198.51.100.10}]}}
---
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: shop}
spec:
  clusterIP: 10.96.0.53
  selector: {app: web}
  ports: [{name: dns, port: 53, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: sql, port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {clusterIP: None, selector: {app: nobody}, ports: [{port: 1}]}
---
apiVersion: v1
kind: Service
metadata: {name: billing, namespace: shop}
spec: {type: ExternalName, externalName: api.billing.example}
---
apiVersion: v1
kind: Service
metadata: {name: cache, namespace: default}
spec: {clusterIP: 10.96.0.30, ports: [{port: 6379}]}
---
{apiVersion: v1, kind: Pod, metadata: {name: client, namespace: shop}, spec: {nodeName: n1}, status: {podIP: 10.244.1.9}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web-1, namespace: shop, labels: {app: web}}, spec: {nodeName: n1, containers: [{name: c, ports: [{name: admin, containerPort: 9999}]}]}, status: {podIP: 10.244.1.5}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web-2, namespace: shop, labels: {app: web}}, spec: {nodeName: n2}, status: {podIP: 10.244.2.5}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db-0, namespace: shop, labels: {app: db}}, spec: {nodeName: n1}, status: {podIP: 10.244.1.7}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db-1, namespace: shop, labels: {app: db}}, spec: {nodeName: n2}, status: {podIP: 10.244.2.7}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: shop}
spec:
  ingressClassName: nginx
  rules:
  - host: shop.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
      - {path: /broken, pathType: Prefix, backend: {service: {name: empty, port: {number: 1}}}}
`

let files = 0

export function file(text: string, extension = 'yaml'): string {
  const path = join(folder, `f${files++}.${extension}`)
  writeFileSync(path, text)
  return path
}

const shop = file(SHOP)

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export function explain(options: Partial<ExplainOptions>, input = ''): Ran {
  const io = fakeIo({}, input)
  const code = runExplain({ manifests: [shop], stateful: false, output: [], quiet: true, ...options }, io)
  return { code, ...io.written }
}

export function one(options: Partial<ExplainOptions>): Explanation {
  return JSON.parse(explain({ ...options, output: ['json'] }).stdout) as Explanation
}

/** Lines given as objects, or as text where they are to be broken. */
export function lines(rows: readonly (object | string)[], options: Partial<ExplainOptions> = {}): Explanation[] {
  const text = rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n')
  const { stdout } = explain({ packets: '-', ...options }, text)
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Explanation)
}

/** What a user sees of a failure: `E_USAGE 2 message @where (hint)`. */
export function failure(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    const { code, exitCode, message, where, hint } = error as UserError
    return `${code} ${exitCode} ${message}${where === '' ? '' : ` @${where}`}${hint === '' ? '' : ` (${hint})`}`
  }
  return 'no failure'
}

export function detail({ steps }: Explanation, stage: string): string {
  return steps
    .filter((step) => step.stage === stage)
    .map((step) => step.detail)
    .join('\n')
}
