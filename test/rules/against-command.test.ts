/** `dpemu rules --against` as it is typed: exit codes, text, JSON by its schema, errors with their place. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import { afterAll, describe, expect, test } from 'vitest'
import { runRules } from '../../src/commands/rules.ts'
import { fakeIo } from '../cli/fake-io.ts'

const MANIFESTS = fileURLToPath(new URL('../../traces/two-plus-one/manifests', import.meta.url))
const SCHEMA = fileURLToPath(new URL('../../schemas/rules-against.schema.json', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'dpemu-against-'))
afterAll(() => rmSync(folder, { recursive: true }))

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function rules(
  more: { against?: string[]; output?: string[]; mode?: string; node?: string; quiet?: boolean },
  input = '',
): Ran {
  const io = fakeIo({}, input)
  const code = runRules({ manifests: [MANIFESTS], node: 'node-two', output: [], quiet: false, ...more }, io)
  return { code, ...io.written }
}

function saved(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

describe('rules --against', () => {
  test.each(['nftables', 'iptables', 'ipvs'])('%s: what rules prints is the same, and exits 0', (mode) => {
    const { stdout } = rules({ mode })
    const { code, stdout: said } = rules({ against: ['-'] }, stdout)
    expect(said).toContain(`dpemu rules --against: node node-two, ${mode}, standard input`)
    expect(said).toContain('The node does what the manifests say.')
    expect(code).toBe(0)
  })

  test('a difference exits 99, and says where, for whom and in which file', () => {
    const { stdout } = rules({ mode: 'iptables' })
    const path = saved('node.iptables', stdout.replaceAll('10.244.2.11', '10.244.2.99'))
    const { code, stdout: said } = rules({ against: [path] })
    expect(code).toBe(99)
    expect(said).toContain('endpoint-missing: endpoint 10.244.2.11:8080 gets nothing')
    expect(said).toContain(
      'endpoint-stale: endpoint 10.244.2.99:8080 gets connections: in no EndpointSlice of the Service, or not usable',
    )
    expect(said).toMatch(/at .*node\.iptables, line \d+/)
  })

  test('JSON by its schema, for what is the same and for what is not', () => {
    const validate = new Ajv({ strict: true, allowUnionTypes: true, allErrors: true }).compile(
      JSON.parse(readFileSync(SCHEMA, 'utf8')),
    )
    const { stdout } = rules({ mode: 'nftables' })
    for (const text of [stdout, stdout.replaceAll('10.244.2.11', '10.244.2.99')]) {
      const { code, stdout: json } = rules({ against: ['-'], output: ['json'] }, text)
      const document = JSON.parse(json)
      validate(document)
      expect(validate.errors ?? []).toEqual([])
      expect([document.same, code]).toEqual(document.differences.length === 0 ? [true, 0] : [false, 99])
    }
  })

  test('several files are one dump; quiet with a file says nothing', () => {
    const { stdout } = rules({ mode: 'ipvs' })
    const [first, second] = stdout.split('# ipset\n')
    const [sets, iptables] = second!.split('# iptables-restore\n')
    const paths = [
      saved('ipvs.txt', first!.replace('# ipvsadm\n', '')),
      saved('ipset.txt', sets!),
      saved('iptables.txt', iptables!),
    ]
    const out = join(folder, 'out.json')
    const ran = rules({ against: paths, output: [`json=${out}`], quiet: true })
    expect(ran).toEqual({ code: 0, stdout: '', stderr: '' })
    expect(JSON.parse(readFileSync(out, 'utf8')).files).toEqual(paths)
  })

  test.each<[string, Parameters<typeof rules>[0], string, object]>([
    ['a file that is not there', { against: ['/no/such/file'] }, '', { code: 'E_DUMP', exitCode: 2 }],
    [
      'a mode that the dump does not have',
      { against: ['-'], mode: 'ipvs' },
      '*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-A - [0:0]\nCOMMIT\n',
      { code: 'E_DUMP', message: 'there are rules of iptables mode, and none of ipvs mode' },
    ],
    [
      'a node that is not there',
      { against: ['-'], node: 'nobody' },
      '-A -t 10.96.0.1:443 -s rr\n',
      { code: 'E_NODE', exitCode: 2 },
    ],
    ['-o native', { against: ['-'], output: ['native'] }, '', { code: 'E_USAGE', exitCode: 2 }],
    [
      'what is no dump',
      { against: ['-'] },
      'hello\n',
      { code: 'E_DUMP', where: 'standard input, line 1', exitCode: 3 },
    ],
  ])('%s', (_name, more, input, error) => {
    expect(() => rules(more, input)).toThrow(expect.objectContaining(error))
  })
})
