/** What a trace embeds of manifests: enough for the same cluster, and nothing that is nobody's business. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { parseManifests } from '../../src/k8s/load.ts'
import { reduce } from './helpers.ts'

const folder = fileURLToPath(new URL('manifests/', import.meta.url))
const files = readdirSync(folder, { recursive: true })
  .map(String)
  .filter((name) => name.endsWith('.yaml'))

/** The cluster without where each object was written, and without annotations that nobody reads. */
function clusterOf(manifests: readonly { name: string; text: string }[]): string {
  const drop = new Set(['origin', 'annotations', 'warnings'])
  return JSON.stringify(deriveCluster(parseManifests(manifests).objects), (key, value) =>
    drop.has(key) ? undefined : value,
  )
}

test.each(files)('%s gives the same cluster, whole or reduced, and reduced again the same objects', (name) => {
  const whole = [{ name, text: readFileSync(join(folder, name), 'utf8') }]
  const reduced = reduce(whole)
  expect(clusterOf(reduced)).toBe(clusterOf(whole))
  const items = (files: typeof reduced): unknown => files.map(({ text }) => JSON.parse(text))
  expect(items(reduce(reduced))).toEqual(items(reduced))
})

test('a ReplicationController is the same, reduced and reduced again', () => {
  const controller = {
    apiVersion: 'v1',
    kind: 'ReplicationController',
    metadata: { name: 'web' },
    spec: { replicas: 2, selector: { app: 'web' }, template: { metadata: { labels: { app: 'web' } }, spec: {} } },
  }
  const whole = [{ name: 'a.json', text: JSON.stringify(controller) }]
  expect(clusterOf(reduce(reduce(whole)))).toBe(clusterOf(whole))
})

test('secrets, environment, commands and what kubectl applied last are left out', () => {
  const text = `
apiVersion: v1
kind: Secret
metadata: { name: s }
data: { k: HIDDEN }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: c }
data: { k: HIDDEN }
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations: { kubectl.kubernetes.io/last-applied-configuration: HIDDEN, example.com/note: HIDDEN }
spec:
  template:
    metadata: { labels: { app: web }, annotations: { checksum/config: HIDDEN } }
    spec:
      containers:
        - { name: web, image: web, env: [{ name: P, value: HIDDEN }], command: [HIDDEN], args: [--db-password, HIDDEN] }
`
  const [file] = reduce([{ name: 'a.yaml', text }])
  expect(file!.text).toContain('"app":"web"')
  expect(file!.text).not.toContain('HIDDEN')
})
