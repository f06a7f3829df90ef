/**
 * What the command does with what it cannot use: the exit code, what it says, and that it says nothing else. Standard
 * output stays empty and no file appears, not even a part of one.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { openTrace } from '../../src/trace/read.ts'
import { cluster, service, stream } from './cluster.ts'
import { DPEMU, dpemu, replayed, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()
const outputs = join(folder, 'outputs')
let trace: string
let bytes: Buffer

beforeAll(async () => {
  mkdirSync(outputs)
  trace = await traceOf(folder, 'good', { seed: 3, duration: '10s', traffic: [stream({ rate: 100 })] }, cluster())
  bytes = readFileSync(trace)
})

function file(name: string, content: Buffer | string): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

/** Run `dpemu replay` with every kind of output asked for. */
function refused(args: readonly string[]): { code: number | null; stderr: string } {
  const { code, stdout, stderr } = dpemu([
    'replay',
    ...args,
    '-o',
    `json=${join(outputs, 'report.json')}`,
    '-o',
    `markdown=${join(outputs, 'report.md')}`,
    '-o',
    'text',
  ])
  expect(stdout).toBe('')
  expect(readdirSync(outputs)).toEqual([])
  expect(stderr).not.toMatch(/internal error|\n +at .*\.js:\d+/)
  return { code, stderr }
}

function flipped(at: number, bit = 0): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] ^= 1 << bit
  return copy
}

describe('a trace that cannot be used: exit 3', () => {
  it('cut in the middle: names the block and the byte', () => {
    const { code, stderr } = refused([file('cut.msgpack', bytes.subarray(0, bytes.length >> 1))])
    expect(stderr).toMatch(
      /error: the trace is cut in block \d+ \(\w+, lane \d+, window \d+\), which begins at byte \d+/,
    )
    expect(stderr).toContain(`cut.msgpack: byte ${bytes.length >> 1}`)
    expect(stderr).toContain('[E_TRACE_TRUNCATED]')
    expect(code).toBe(3)
  })

  it('one byte short', () => {
    const { code, stderr } = refused([file('short.msgpack', bytes.subarray(0, -1))])
    expect(stderr).toContain('[E_TRACE_TRUNCATED]')
    expect(code).toBe(3)
  })

  it.each(['1', '2', '7'])(
    'one bit flipped in a packet block: the %s workers find the block and its byte',
    (workers) => {
      const { index, close } = locate()
      const block = index.kind.lastIndexOf(1)
      const path = file('flipped.msgpack', flipped(index.offset[block] + (index.size[block] >> 1)))
      close()
      const { code, stderr } = refused([path, '--workers', workers])
      expect(stderr).toContain('error: the trace is damaged: the checksum does not match [E_TRACE_CORRUPT]')
      expect(stderr).toContain(`flipped.msgpack: block ${block + 1} (packets, lane`)
      expect(stderr).toContain(`at byte ${index.offset[block]}`)
      expect(code).toBe(3)
    },
  )

  it('one bit flipped in the header', () => {
    const { code, stderr } = refused([file('header.msgpack', flipped(200))])
    expect(stderr).toContain('error: the header is damaged: its checksum does not match [E_TRACE_CORRUPT]')
    expect(stderr).toContain('header.msgpack: header at byte 0')
    expect(code).toBe(3)
  })

  it('empty', () => {
    const { code, stderr } = refused([file('empty.msgpack', '')])
    expect(stderr).toContain('error: the file is empty [E_TRACE_EMPTY]')
    expect(code).toBe(3)
  })

  it.each([
    ['a capture', Buffer.from('d4c3b2a1020004000000000000000000ffff000001000000', 'hex')],
    ['YAML', 'apiVersion: v1\nkind: Service\n'],
    ['JSON', '{"schemaVersion":1}'],
    ['zeros', Buffer.alloc(4096)],
  ])('something else: %s', (_, content) => {
    const { code, stderr } = refused([file('foreign', content)])
    expect(stderr).toContain('error: this is not a dpemu trace [E_TRACE_FOREIGN]')
    expect(code).toBe(3)
  })

  it('of a later version', () => {
    const copy = Buffer.from(bytes)
    copy[copy.indexOf('version') + 'version'.length] = 2
    const { code, stderr } = refused([file('future.msgpack', copy)])
    expect(stderr).toContain('error: the trace has format version 2; this dpemu reads version 1 [E_TRACE_VERSION]')
    expect(stderr).toMatch(/hint: use a newer dpemu/)
    expect(code).toBe(3)
  })

  it.each([
    ['missing.msgpack', 'no such file'],
    ['.', 'a trace is a file, this is a folder'],
  ])('%s: %s', (name, what) => {
    const { code, stderr } = refused([join(folder, name)])
    expect(stderr).toContain(`error: cannot read the trace: ${what} [E_TRACE_NOT_FOUND]`)
    expect(code).toBe(3)
  })

  it('any bit of any byte: replayed is refused with a trace error, never with another and never with a report', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(7), async (at, bit) => {
        const path = file('any.msgpack', flipped(at, bit))
        const outcome = await replayed(path, { policies: ['as-is'] }).then(
          () => 'a report',
          (error: { code?: string }) => error.code ?? String(error),
        )
        expect(outcome, `byte ${at}, bit ${bit}`).toMatch(/^E_TRACE_(CORRUPT|TRUNCATED|FOREIGN|VERSION)$/)
      }),
      { seed: 1, numRuns: 25 },
    )
  })
})

describe('manifests that cannot be used: exit 3', () => {
  it('a port out of range: names file, document and field', () => {
    const [web, ...rest] = [...cluster()].reverse()
    const bad = { ...web, spec: { ...web.spec, ports: [{ name: 'http', port: 80_000, targetPort: 8080 }] } }
    const path = file('bad.yaml', [...rest, bad].map((object) => JSON.stringify(object)).join('\n---\n'))
    const { code, stderr } = refused([trace, '-f', path])
    expect(stderr).toContain(
      'spec.ports[0].port of Service default/web is 80000; expected a whole number from 1 to 65535',
    )
    expect(stderr).toContain(`bad.yaml, document ${rest.length + 1}, spec.ports[0].port`)
    expect(code).toBe(3)
  })

  it('no such file', () => {
    const { code, stderr } = refused([trace, '-f', join(folder, 'nowhere.yaml')])
    expect(stderr).toContain('error: no such file or folder [E_MANIFEST_MISSING]')
    expect(stderr).toContain('nowhere.yaml')
    expect(code).toBe(3)
  })

  it('not YAML', () => {
    const { code, stderr } = refused([trace, '-f', file('broken.yaml', 'kind: [Service\n')])
    expect(stderr).toContain('broken.yaml')
    expect(code).toBe(3)
  })

  it('a model with a constant that there is not', () => {
    const { code, stderr } = refused([trace, '--model', file('model.yaml', 'conntrackMaximum: 5\n')])
    expect(stderr).toContain('error: "conntrackMaximum" is not a constant of the model [E_MODEL]')
    expect(stderr).toContain('conntrackMax')
    expect(code).toBe(3)
  })
})

describe('wrong usage: exit 2', () => {
  it.each([
    [['--speed', '3'], 'replay has no flag --speed'],
    [['--polcy', 'local'], 'did you mean --policy?'],
    [['--policy', 'lokal'], "--policy does not know 'lokal'"],
    [['--proxy-mode', 'ebpf'], "--proxy-mode does not know 'ebpf'"],
    [['--threshold', 'connections.failed'], '--threshold'],
    [['--threshold', 'connections.faild == 0'], 'faild'],
    [['--threshold', 'runs[policy=as-is].connections.failed == 0'], '--threshold'],
    [['--workers', 'many'], "--workers must be a whole number from 1 to 256, not 'many'"],
    [['--shards', '5'], '--shards must be a power of two up to 16, not 5'],
    [['-o', 'json=/nowhere/report.json'], 'cannot write /nowhere/report.json: its folder does not exist'],
  ])('%j', (args, message) => {
    const { code, stderr } = refused([trace, ...args])
    expect(stderr).toContain(message)
    expect(code).toBe(2)
  })

  it('no trace named', () => {
    const { code, stderr } = refused([])
    expect(stderr).toContain('replay needs <trace>')
    expect(code).toBe(2)
  })
})

describe('thresholds', () => {
  it('one that fails: exit 99, and the report is there all the same', () => {
    const { code, stdout, stderr } = dpemu([
      'replay',
      trace,
      '-o',
      'json',
      '--threshold',
      'connections.failed == 0',
      '--threshold',
      'runs[policy=cluster].clientIpPreservedFraction == 1',
    ])
    expect(JSON.parse(stdout)).toMatchObject({ schemaVersion: 1, kind: 'replay', trace: { name: 'good' } })
    expect(stderr).toContain('✓ connections.failed == 0')
    expect(stderr).toContain('✗ runs[policy=cluster].clientIpPreservedFraction == 1')
    expect(code).toBe(99)
  })

  it('all hold: exit 0', () => {
    const { code } = dpemu(['replay', trace, '--threshold', 'runs[policy=local].clientIpPreservedFraction == 1'])
    expect(code).toBe(0)
  })
})

describe('Ctrl-C', () => {
  let long: string
  let manifests: string
  beforeAll(async () => {
    // Ten million packets for one worker and nine runs: seconds of work on any machine.
    const busy = { requests: 40_000, requestBytes: 100, responseBytes: 100, thinkTime: '1ms' }
    const scenario = { seed: 1, connections: 80, duration: '60s', traffic: [stream({ rate: 100 }, busy)] }
    long = await traceOf(folder, 'long', scenario, cluster())
    // A field that nobody knows: its warning tells that the plan is made and the workers are about to start.
    const odd = service({ colour: 'red' })
    manifests = file('odd.json', JSON.stringify({ kind: 'List', items: [...cluster().slice(0, -1), odd] }))
  })

  it.each([0, 400])('%i ms after the workers were called: exit 130, no output, no part of a file', async (delay) => {
    const many = ['--policy', 'cluster,local,as-is', '--proxy-mode', 'nftables,iptables,ipvs', '--workers', '1']
    const child = spawn(
      process.execPath,
      [DPEMU, 'replay', long, '-f', manifests, ...many, '-o', `json=${join(outputs, 'report.json')}`, '-o', 'text'],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    )
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
    })
    const ended = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
      child.on('close', (code, signal) => resolve({ code, signal }))
    })
    await new Promise<void>((resolve) => {
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text
        resolve()
      })
    })
    await sleep(delay)
    child.kill('SIGINT')
    expect(await ended).toEqual({ code: 130, signal: null })
    expect(stdout).toBe('')
    expect(stderr).toContain('spec.colour is not a field of Service')
    expect(stderr).not.toMatch(/error/)
    expect(readdirSync(outputs)).toEqual([])
  })
})

function locate(): { index: ReturnType<typeof openTrace>['index']; close: () => void } {
  const opened = openTrace(trace)
  return { index: opened.index, close: () => opened.close() }
}
