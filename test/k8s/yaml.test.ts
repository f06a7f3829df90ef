/** YAML and JSON as kubectl reads them: the expected values are what kubectl 1.32 makes of the same text. */
import { describe, expect, test } from 'vitest'
import { parseDocuments } from '../../src/k8s/yaml.ts'

function values(text: string, name = 'test.yaml'): unknown[] {
  return parseDocuments({ name, text }).map(({ value, problem }) => problem?.code ?? value)
}

describe('scalars', () => {
  test.each<[string, unknown]>([
    ['0120', 80],
    ['-010', -8],
    ['0o17', 15],
    ['0x1F', 31],
    ['0b11', 3],
    ['08', 8],
    ['0129', 129],
    ['010.5', 10.5],
    ['1_000', 1000],
    ['00', 0],
    ['+5', 5],
    ['1e3', 1000],
    ['0x', '0x'],
    ['_1', '_1'],
    ['1:30', '1:30'],
    ['1.10', 1.1],
    ['"0120"', '0120'],
    ['yes', true],
    ['OFF', false],
    ['~', null],
    ['2020-01-01', '2020-01-01'],
    ['!foo bar', 'bar'],
    ['!foo {a: b}', { a: 'b' }],
    ['!!int "7"', 7],
    ['!!set {a, b}', { a: null, b: null }],
    ['"a\n b"', 'a b'],
    ['[a\n,b]', ['a', 'b']],
    ['{"a":b}', { a: 'b' }],
    ['"\\/"', '/'],
  ])('q: %s', (text, value) => expect(values(`q: ${text}\n`)).toEqual([{ q: value }]))
})

describe('lines further left than YAML 1.2 allows', () => {
  test.each<[string, string, unknown]>([
    ['in single quotes', "a:\n  b: 'one\n  two'\n  c: 1\n", { a: { b: 'one two', c: 1 } }],
    [
      'in double quotes, with an empty line',
      'a:\n  b: "one\n\n  two \\" x\n  three"\n',
      { a: { b: 'one\ntwo " x three' } },
    ],
    ['in a list', "a:\n  - 'one\n  two'\n  - three\n", { a: ['one two', 'three'] }],
    ['in brackets', 'a:\n  b: [1,\n  2\n  ]\n', { a: { b: [1, 2] } }],
    [
      'behind a block of text with quotes in it',
      "a:\n  t: |\n    x: 'open\n  b: 'one\n  two'\n",
      { a: { t: "x: 'open\n", b: 'one two' } },
    ],
    [
      'several hundred times, as CustomResourceDefinitions have it',
      `a:\n${Array.from({ length: 300 }, (_, i) => `  k${i}: 'one\n  it''s two'\n`).join('')}`,
      { a: Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, "one it's two"])) },
    ],
  ])('%s', (_, text, value) => expect(values(text)).toEqual([value]))
})

describe('documents', () => {
  test.each<[string, string, unknown[]]>([
    ['comments and directives before the first', '%YAML 1.2\n# hi\n---\na: 1\n', [{ a: 1 }]],
    ['on the line of the separator', '--- {a: 1}\n--- # two\nb: 2\n', [{ a: 1 }, { b: 2 }]],
    ['a bad one between good ones', 'a: 1\n---\nb: [\n---\nc: 3', [{ a: 1 }, 'E_MANIFEST_YAML', { c: 3 }]],
    ['a separator inside a block of text', 'a: |\n  x\n  ---\n  y\n', [{ a: 'x\n---\ny\n' }]],
    ['windows line ends', 'a: 1\r\n---\r\nb: 2\r\n', [{ a: 1 }, { b: 2 }]],
    ['the end of a document', 'a: 1\n...\nrubbish: [\n---\nb: 2', [{ a: 1 }, { b: 2 }]],
    ['a byte order mark', '\uFEFFa: 1', [{ a: 1 }]],
    ['JSON objects in a row', '{"a":"}{"}\n{"b":{"c":["\\""]}}{"d":1}\n', [{ a: '}{' }, { b: { c: ['"'] } }, { d: 1 }]],
    ['JSON objects as documents', '{"a":1}\n---\n{"b":2}', [{ a: 1 }, { b: 2 }]],
    ['a flow map that begins like JSON', '{"a": b}', [{ a: 'b' }]],
    ['JSON that ends too early', '{"a":1}{"b":', ['E_MANIFEST_YAML']],
  ])('%s', (_, text, expected) => expect(values(text)).toEqual(expected))

  test('lines are those of the file', () => {
    const [, second] = parseDocuments({ name: 'w.yaml', text: '# one\na: 1\n---\nb:\n  - x\n y: 2\n' })
    expect(second!.problem!.where).toBe('w.yaml, document 2, line 6, column 2')
    const [json] = parseDocuments({ name: 'w.json', text: '{"a":1}\n{"b":\n x}' })
    expect(json!.problem!.code).toBe('E_MANIFEST_JSON')
  })

  test('a key that comes twice: the last one counts, with a warning', () => {
    const text = 'a: 1\n---\nm:\n  k: 1\n  k: 2\n'
    const [, second] = parseDocuments({ name: 'w.yaml', text })
    expect(second).toMatchObject({ value: { m: { k: 2 } }, problem: null })
    expect(second!.warnings).toEqual([
      {
        code: 'W_DUPLICATE_KEY',
        where: 'w.yaml, document 2, line 5',
        message: 'k is given twice in one map; the last one counts',
      },
    ])
    const merged = parseDocuments({ name: 'w.yaml', text: 'a: &a {k: 1}\nb: {<<: *a, k: 2}' })
    expect(merged).toMatchObject([{ value: { b: { k: 2 } }, warnings: [] }])
  })

  test('a template says so wherever in the file its braces are', () => {
    const [document] = parseDocuments({ name: 't.yaml', text: 'a: 1\n b: 2\nc: "{{ x }}"' })
    expect(document!.problem!.hint).toContain('helm template')
  })
})
