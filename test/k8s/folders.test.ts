/** Folders as people have them: objects among charts, kustomizations, patches and other files. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { type ParsedManifests, parseManifests, readManifestFiles, requireObjects } from '../../src/k8s/load.ts'
import { failure } from './helpers.ts'

const root = mkdtempSync(join(tmpdir(), 'dpemu-folders-'))
afterAll(() => rmSync(root, { recursive: true }))
let folders = 0

/** A folder with these files, read as `-f FOLDER`; in what comes out its path is `k8s`. */
function read(files: Readonly<Record<string, string>>, named = 'k8s'): ParsedManifests {
  const folder = join(root, String(folders++))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, 'k8s', name)), { recursive: true })
    writeFileSync(join(folder, 'k8s', name), text)
  }
  const found = readManifestFiles([join(folder, named)])
  return parseManifests(found.map((file) => ({ ...file, name: file.name.slice(folder.length + 1) })))
}

function told({ warnings }: ParsedManifests): string[] {
  return warnings.map(({ code, where, message }) => `${code} ${where === '' ? '' : `${where}: `}${message}`)
}

function names({ objects }: ParsedManifests): string[] {
  return objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`)
}

const service = (name: string, port: unknown = 80): string =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}}\nspec: {ports: [{port: ${port}}]}\n`

describe('what is no object is passed over', () => {
  test.each<[string, Record<string, string>, string[]]>([
    [
      'the values of a chart that is not there',
      { 'values.yaml': 'replicas: 3' },
      ['W_PASSED_OVER k8s/values.yaml holds no Kubernetes object and is passed over'],
    ],
    [
      'dashboards, packages, builds',
      {
        'dashboard.json': '{"title": "x", "panels": []}',
        'package.json': '{"name": "x"}',
        'cloudbuild.yaml': 'steps: [{name: a}]',
        'list.json': '[1]',
        'sub/deep/notes.yml': 'just text',
      },
      [
        'W_PASSED_OVER 5 files (k8s/cloudbuild.yaml, k8s/dashboard.json, k8s/list.json and 2 more) hold no Kubernetes object and are passed over',
      ],
    ],
    [
      'empty files',
      { 'empty.yaml': '# nothing\n---\n' },
      ['W_PASSED_OVER k8s/empty.yaml holds no Kubernetes object and is passed over'],
    ],
    [
      'a chart with its templates',
      {
        'chart/Chart.yaml': 'name: x\nversion: 1.0.0\napiVersion: v2',
        'chart/values.yaml': 'a: 1',
        'chart/templates/a.yaml': 'kind: Service\nmetadata: {name: "{{ .Release.Name }}"}\napiVersion: v1',
        'chart/templates/b.yaml': '{{- if .Values.b }}\nkind: X\n{{- end }}',
        'chart/charts/sub/Chart.yaml': 'name: sub',
      },
      [
        'W_NOT_MODELLED k8s/chart is a Helm chart, which only Helm can render: 5 files passed over; render it and give the output: helm template k8s/chart | dpemu ... -f -',
      ],
    ],
    [
      'templates without a chart',
      {
        'a.yaml': '{{ if x }}\nkind: {{ y }}\n',
        'b.yaml': 'apiVersion: v1\nkind: Service\nmetadata: {name: "{{ n }}"}',
      },
      ['W_PASSED_OVER 2 files (k8s/a.yaml, k8s/b.yaml) are templates ({{ }}) and passed over: render first'],
    ],
    ['a kustomization without kind that only lists files', { 'kustomization.yaml': 'resources: [web.yaml]' }, []],
    [
      'a kustomization that changes names, and its patches',
      {
        'prod/kustomization.yml':
          'namePrefix: prod-\nresources: [../web.yaml]\npatches: [{path: p.yaml}]\npatchesStrategicMerge: [q.yaml]',
        'prod/p.yaml': 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}',
        'prod/q.yaml': 'apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: NodePort}',
      },
      [
        'W_NOT_MODELLED k8s/prod is a kustomization: what it changes (names, namespaces, replicas, patches) is not applied; build it and give the output: kubectl kustomize k8s/prod | dpemu ... -f -',
      ],
    ],
    [
      'the overlay is the one to build, not its base',
      {
        'base/kustomization.yaml': 'namespace: a\nresources: []',
        'over/kustomization.yaml': 'namespace: b\nresources: [../base]',
      },
      [
        'W_NOT_MODELLED 2 folders (k8s/over, k8s/base) are kustomizations: what they change (names, namespaces, replicas, patches) is not applied; build one and give the output: kubectl kustomize k8s/over | dpemu ... -f -',
      ],
    ],
  ])('%s', (_, files, warnings) => {
    const parsed = read({ ...files, 'web.yaml': service('web') })
    expect(names(parsed)).toEqual(['Service web'])
    expect(told(parsed)).toEqual(warnings)
  })

  test('a chart’s manifests without templates are objects, and so are texts with {{ }} inside', () => {
    const parsed = read({
      'Chart.yaml': 'name: x',
      'templates/web.yaml': service('web'),
      'alerts.yaml':
        'apiVersion: v1\nkind: Namespace\nmetadata: {name: a, annotations: {note: "{{ $labels.pod }} is down"}}',
    })
    expect(names(parsed)).toEqual(['Namespace a', 'Service web'])
  })
})

describe('what is wrong in a folder is left out, and the rest is taken', () => {
  test.each<[string, string, string[], string]>([
    [
      'a document that is no YAML',
      `${service('a')}---\nkind: [\n---\n${service('b')}`,
      ['Service a', 'Service b'],
      'W_LEFT_OUT k8s/x.yaml, document 2, line 7, column 1: left out: not valid YAML: unexpected end of the stream within a flow collection',
    ],
    [
      'an object that the API server would refuse',
      `${service('a')}---\n${service('b', '"eighty"')}`,
      ['Service a'],
      'W_LEFT_OUT k8s/x.yaml, document 2, spec.ports[0].port: left out: spec.ports[0].port of Service b is "eighty"; expected a whole number from 1 to 65535',
    ],
    [
      'a document without kind among objects',
      `${service('a')}---\nreplicas: 3\n`,
      ['Service a'],
      'W_LEFT_OUT k8s/x.yaml, document 2: left out: kind is missing; expected a Kubernetes object with apiVersion and kind',
    ],
    [
      'an item of a list',
      `kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: x}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: n}}`,
      ['Namespace n'],
      'W_LEFT_OUT k8s/x.yaml, document 1, items[0].spec.type: left out: spec.type of Service a is "x"; expected ClusterIP, NodePort, LoadBalancer or ExternalName',
    ],
  ])('%s', (_, text, kept, warning) => {
    const parsed = read({ 'x.yaml': text })
    expect(names(parsed)).toEqual(kept)
    expect(told(parsed)).toEqual([warning])
    const named = failure(() => parseManifests([{ name: 'x.yaml', text }]))
    expect(named, 'the same file, named').toMatchObject({ exitCode: 3 })
    expect(warning).toContain(`left out: ${named.message}`)
  })
})

describe('nothing at all is an error', () => {
  const empty = (files: Record<string, string>, named?: string) =>
    failure(() => requireObjects(read(files, named), ['k8s']))

  test.each<[string, Record<string, string>, string, string]>([
    ['only other files', { 'values.yaml': 'a: 1' }, 'no Kubernetes object in it', ''],
    [
      'only a chart',
      { 'Chart.yaml': 'name: x', 'templates/a.yaml': '{{ x }}' },
      'no Kubernetes object in it',
      'render it and give the output: helm template k8s | dpemu ... -f -',
    ],
    [
      'only a kustomization',
      { 'kustomization.yaml': 'resources: [https://example.com/base]' },
      'no Kubernetes object in it',
      'build it and give the output: kubectl kustomize k8s | dpemu ... -f -',
    ],
    [
      'only what no packet meets',
      { 'a.yaml': 'kind: Secret\napiVersion: v1\n---\nkind: Role\napiVersion: rbac.authorization.k8s.io/v1' },
      'no object in it is of a kind that is read, only Secret, Role',
      '',
    ],
  ])('%s', (_, files, message, hint) => {
    expect(empty(files)).toMatchObject({ code: 'E_MANIFEST_EMPTY', exitCode: 3, where: 'k8s', message, hint })
  })

  test('a single object that is wrong: the error that it has when it is named', () => {
    expect(empty({ 'web.yaml': service('web', 0) })).toMatchObject({ code: 'E_MANIFEST_FIELD' })
  })

  test.each([
    ['kustomization.yaml', 'resources: [a.yaml]', 'kubectl kustomize'],
    ['Chart.yaml', 'name: x', 'helm template'],
    ['values.yaml', 'a: 1', ''],
  ])('%s that is named itself', (name, text, hint) => {
    const error = failure(() => parseManifests([{ name: `k8s/${name}`, text }]))
    expect(error).toMatchObject({ code: 'E_MANIFEST_KIND', exitCode: 3 })
    expect(error.hint).toContain(hint)
  })
})
