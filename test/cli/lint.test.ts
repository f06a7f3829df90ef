/** `dpemu lint`: what is in manifests, what is filled in, skipped and wrong, and the exit code that says so. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import { afterAll, expect, test } from 'vitest'
import { type LintReport, runLint } from '../../src/commands/lint.ts'
import { fakeIo } from './fake-io.ts'

const folder = mkdtempSync(join(tmpdir(), 'dpemu-lint-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const NODE = '{apiVersion: v1, kind: Node, metadata: {name: n1}}'
const WEB =
  '{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}}}'
const SERVICE =
  '{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}'
const POLICY = '{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p}, spec: {}}'

let count = 0
function linted(documents: readonly string[], strict = false): { code: number; text: string; json: LintReport } {
  const path = join(folder, `${count++}.yaml`)
  writeFileSync(path, documents.join('\n---\n'))
  const io = fakeIo()
  const code = runLint({ manifests: [path], strict, output: [] }, io)
  const data = fakeIo()
  expect(runLint({ manifests: [path], strict, output: ['json'] }, data)).toBe(code)
  return { code, text: io.written.stdout, json: JSON.parse(data.written.stdout) as LintReport }
}

test('manifests that are right: what is in them, what is filled in, and 0', () => {
  const { code, text, json } = linted([NODE, WEB, SERVICE])
  expect([code, json.faults]).toEqual([0, []])
  expect(json.objects).toEqual({ Deployment: 1, Node: 1, Service: 1 })
  expect(json.derived).toContainEqual({ object: 'Deployment default/web', what: '2 pods: 2 on n1' })
  expect(text).toContain('1 Deployment, 1 Node, 1 Service')
})

test.each<[string, string, string]>([
  ['a field that there is none of', SERVICE.replace('ports', 'sesionAffinity: ClientIP, ports'), 'W_UNKNOWN_FIELD'],
  ['a kind that there is none of', SERVICE.replace('Service', 'Sevice'), 'W_UNKNOWN_KIND'],
  ['a key that is given twice', SERVICE.replace('kind: Service', 'kind: Service, kind: Service'), 'W_DUPLICATE_KEY'],
  ['a Service without endpoints', SERVICE.replace('selector: {app: web}, ', ''), 'W_NO_ENDPOINTS'],
])('%s is a fault: 3', (_, document, fault) => {
  const { code, json, text } = linted([NODE, WEB, SERVICE.replace('name: web', 'name: other'), document])
  expect(code).toBe(3)
  expect(json.faults.map((one) => one.code)).toContain(fault)
  expect(text).toContain(`[${fault}]`)
})

test('a kind that is not modelled is counted and no fault, except with --strict', () => {
  const { code, json, text } = linted([NODE, WEB, SERVICE, POLICY])
  expect([code, json.skipped, json.faults]).toEqual([0, { CiliumNetworkPolicy: 1 }, []])
  expect(text).toContain('1 CiliumNetworkPolicy')
  expect(linted([NODE, WEB, SERVICE, POLICY], true).code).toBe(3)
})

test('the JSON is what its schema says', () => {
  const schema = readFileSync(fileURLToPath(new URL('../../schemas/lint.schema.json', import.meta.url)), 'utf8')
  const validate = new Ajv().compile(JSON.parse(schema))
  for (const documents of [[NODE, WEB, SERVICE, POLICY], [SERVICE.replace('selector', 'selectr')]]) {
    expect([validate(linted(documents).json), validate.errors]).toEqual([true, null])
  }
})

test('nothing to read at all is an error', () => {
  expect(() => linted(['# nothing'])).toThrow(expect.objectContaining({ code: 'E_MANIFEST_EMPTY', exitCode: 3 }))
})
