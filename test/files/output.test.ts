/** Outputs to regular files, links, pipes, devices and descriptors, and what signals leave behind. Devices are copies. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { runGenerate } from '../../src/commands/generate.ts'
import { openOutput, writeOutput, writeOutputNow } from '../../src/files/output.ts'
import { descriptorOf, fileIdentity, resolveOutput } from '../../src/files/target.ts'
import { inspectTrace } from '../../src/trace/inspect.ts'
import { fakeIo } from '../cli/fake-io.ts'

const BIN = fileURLToPath(new URL('../../bin/dpemu.js', import.meta.url))
const STOREFRONT = fileURLToPath(new URL('../../traces/two-plus-one/scenario.yaml', import.meta.url))
const isPosix = process.platform !== 'win32'
const isRoot = process.getuid?.() === 0
/** Longer than a pipe holds. */
const LONG = 'figures of a report\n'.repeat(20_000)

let root = ''
let folder = ''
let count = 0
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'dpemu-output-'))
})
beforeEach(() => {
  folder = join(root, String(count++))
  mkdirSync(folder)
})
afterAll(() => rmSync(root, { recursive: true }))

function at(name: string): string {
  return join(folder, name)
}

function modeOf(path: string): number {
  return statSync(path).mode & 0o7777
}

/** What a reader of a pipe gets, once it has begun to read. */
function reader(fifo: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const cat = spawn('cat', [fifo], { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    cat.stdout.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
    cat.once('error', reject)
    cat.once('close', () => resolve(text))
  })
}

describe('a regular file', () => {
  test('is replaced whole, and nothing stands beside it', () => {
    writeOutputNow(at('report.json'), 'one, which is longer')
    writeOutputNow(at('report.json'), 'two')
    expect(readFileSync(at('report.json'), 'utf8')).toBe('two')
    expect(readdirSync(folder)).toEqual(['report.json'])
  })

  test('is as it was until the end, and after an abort', () => {
    writeFileSync(at('trace'), 'old')
    for (const finish of ['abort', 'end'] as const) {
      const output = openOutput(at('trace'))
      output.write(Buffer.from('new'))
      expect(readFileSync(at('trace'), 'utf8')).toBe('old')
      output[finish]()
      output.abort()
      expect(readFileSync(at('trace'), 'utf8')).toBe(finish === 'end' ? 'new' : 'old')
      expect(readdirSync(folder)).toEqual(['trace'])
    }
  })

  test.skipIf(!isPosix).each([0o600, 0o640, 0o664])('keeps its mode: %o', (mode) => {
    writeFileSync(at('report.json'), '')
    chmodSync(at('report.json'), mode)
    const output = openOutput(at('report.json'))
    // Nobody may read the new one who could not read the old one.
    for (const name of readdirSync(folder)) expect(modeOf(at(name))).toBe(mode)
    output.end()
    expect(modeOf(at('report.json'))).toBe(mode)
  })

  test.skipIf(!isPosix)('that is new has the mode of any new file', () => {
    writeFileSync(at('any'), '')
    writeOutputNow(at('report.json'), 'x')
    expect(modeOf(at('report.json'))).toBe(modeOf(at('any')))
  })

  test.skipIf(!isRoot)('keeps its owner', () => {
    writeFileSync(at('report.json'), '')
    execFileSync('chown', ['65534:65534', at('report.json')])
    writeOutputNow(at('report.json'), 'x')
    expect([statSync(at('report.json')).uid, statSync(at('report.json')).gid]).toEqual([65534, 65534])
  })

  test('may have a name as long as names can be', () => {
    writeOutputNow(at('n'.repeat(255)), 'x')
    expect(readdirSync(folder)).toEqual(['n'.repeat(255)])
  })

  test.skipIf(!isRoot)('that is mounted, so that it cannot be renamed over, is written', () => {
    writeFileSync(at('host.json'), 'old and longer')
    writeFileSync(at('mounted.json'), '')
    if (spawnSync('mount', ['--bind', at('host.json'), at('mounted.json')]).status !== 0) return
    try {
      writeOutputNow(at('mounted.json'), 'new')
      expect(readFileSync(at('host.json'), 'utf8')).toBe('new')
      expect(readdirSync(folder).sort()).toEqual(['host.json', 'mounted.json'])
    } finally {
      execFileSync('umount', [at('mounted.json')])
    }
  })
})

describe('a link', () => {
  test.skipIf(!isPosix)('is followed, through folders and to what is not there yet', () => {
    mkdirSync(at('deep/inner'), { recursive: true })
    writeFileSync(at('deep/target.txt'), 'old')
    symlinkSync('deep/inner', at('way'))
    symlinkSync('way/../target.txt', at('link.json'))
    symlinkSync('deep/new.txt', at('dangling.json'))
    writeOutputNow(at('link.json'), 'new')
    writeOutputNow(at('dangling.json'), 'newer')
    expect(readFileSync(at('deep/target.txt'), 'utf8')).toBe('new')
    expect(readFileSync(at('deep/new.txt'), 'utf8')).toBe('newer')
    for (const name of ['link.json', 'dangling.json']) expect(lstatSync(at(name)).isSymbolicLink()).toBe(true)
  })

  test.skipIf(!isPosix)('in a circle is an error', () => {
    symlinkSync('b', at('a'))
    symlinkSync('a', at('b'))
    expect(() => openOutput(at('a'))).toThrow(/its links lead in a circle/)
  })
})

describe.skipIf(!isPosix)('a pipe', () => {
  test('gets all of it, however slow its reader, and stays a pipe', async () => {
    execFileSync('mkfifo', [at('fifo')])
    const written = writeOutput(at('fifo'), LONG)
    await sleep(50)
    expect(await reader(at('fifo'))).toBe(LONG)
    await written
    expect(lstatSync(at('fifo')).isFIFO()).toBe(true)
    expect(readdirSync(folder)).toEqual(['fifo'])
  })

  test('gets it from who waits where it stands', async () => {
    execFileSync('mkfifo', [at('fifo')])
    // Into a file: while this thread waits it cannot read.
    const copy = openSync(at('copy'), 'w')
    const cat = spawn('cat', [at('fifo')], { stdio: ['ignore', copy, 'inherit'] })
    const done = new Promise((resolve) => cat.once('close', resolve))
    writeOutputNow(at('fifo'), LONG)
    await done
    expect(readFileSync(at('copy'), 'utf8')).toBe(LONG)
  })

  test('whose reader goes away is no error', async () => {
    execFileSync('mkfifo', [at('fifo')])
    const cat = spawn('head', ['-c', '10', at('fifo')], { stdio: 'ignore' })
    await writeOutput(at('fifo'), LONG)
    if (cat.exitCode === null) await new Promise((resolve) => cat.once('exit', resolve))
  })

  test('that nobody reads can be given up', async () => {
    execFileSync('mkfifo', [at('fifo')])
    await expect(writeOutput(at('fifo'), LONG, AbortSignal.timeout(30))).rejects.toThrow()
  })

  test('takes a whole trace', async () => {
    execFileSync('mkfifo', [at('fifo')])
    const copy = openSync(at('copy'), 'w')
    const cat = spawn('cat', [at('fifo')], { stdio: ['ignore', copy, 'inherit'] })
    const done = new Promise((resolve) => cat.once('close', resolve))
    const options = { scenario: STOREFRONT, manifests: [], quiet: true }
    expect(await runGenerate({ ...options, output: at('fifo') }, fakeIo())).toBe(0)
    await done
    await runGenerate({ ...options, output: at('file') }, fakeIo())
    expect(readFileSync(at('copy')).equals(readFileSync(at('file')))).toBe(true)
    expect((await inspectTrace(at('copy'))).totals.packets).toBeGreaterThan(1000)
  })

  test('of the shell (process substitution) and standard output take a whole trace', () => {
    const script = `"${process.execPath}" "${BIN}" generate "${STOREFRONT}" -q -o >(cat > substituted) &&
      "${process.execPath}" "${BIN}" generate "${STOREFRONT}" -q -o - | cat > piped &&
      "${process.execPath}" "${BIN}" generate "${STOREFRONT}" -q -o - > redirected; sleep 0.2`
    const { stderr, status } = spawnSync('bash', ['-c', script], { cwd: folder, encoding: 'utf8' })
    expect([status, stderr]).toEqual([0, ''])
    expect(readdirSync(folder).sort()).toEqual(['piped', 'redirected', 'substituted'])
    const [piped, redirected, substituted] = readdirSync(folder)
      .sort()
      .map((name) => readFileSync(at(name)))
    expect(piped!.length).toBeGreaterThan(10_000)
    expect(piped!.equals(redirected!) && piped!.equals(substituted!)).toBe(true)
  })
})

describe.skipIf(!isRoot)('a device', () => {
  test('is written to and stays one: copies of null, full and zero', () => {
    // Some containers forbid devices outside their own.
    if (spawnSync('mknod', [at('null'), 'c', '1', '3']).status !== 0) return
    try {
      writeOutputNow(at('null'), LONG)
    } catch (error) {
      expect(String(error)).toContain('permission denied')
      return
    }
    execFileSync('mknod', [at('full'), 'c', '1', '7'])
    expect(() => writeOutputNow(at('full'), LONG)).toThrow(/cannot write .*full: the disk is full/)
    symlinkSync('null', at('link'))
    writeOutputNow(at('link'), LONG)
    for (const name of ['null', 'full']) expect(lstatSync(at(name)).isCharacterDevice()).toBe(true)
    expect(readdirSync(folder).sort()).toEqual(['full', 'link', 'null'])
  })
})

describe('what a name stands for', () => {
  test.each([
    ['/dev/stdout', 1],
    ['/dev/stderr', 2],
    ['/dev/fd/63', 63],
    ['/proc/self/fd/1', 1],
    [`/proc/${process.pid}/fd/7`, 7],
    ['/proc/1/fd/1', process.pid === 1 ? 1 : null],
    ['/dev/fd/x', null],
    ['/dev/fd', null],
    ['report.json', null],
  ])('%s: descriptor %s', (path, descriptor) => expect(descriptorOf(path)).toBe(descriptor))

  test('- is standard output', () => expect(resolveOutput('-')).toEqual({ kind: 'descriptor', descriptor: 1 }))

  test.skipIf(!isPosix)('one file by two names', () => {
    writeFileSync(at('a'), '')
    symlinkSync('a', at('b'))
    symlinkSync('missing', at('c'))
    expect(fileIdentity(resolveOutput(at('a')))).toBe(fileIdentity(resolveOutput(at('b'))))
    expect(fileIdentity(resolveOutput(at('missing')))).toBe(fileIdentity(resolveOutput(at('c'))))
    expect(fileIdentity(resolveOutput(at('a')))).not.toBe(fileIdentity(resolveOutput(at('missing'))))
  })
})

describe.skipIf(!isPosix)('a signal', () => {
  const slow = [
    'name: slow',
    'seed: 1',
    'manifests: [m.yaml]',
    'traffic:',
    '  - from: { external: { addresses: 100 } }',
    '    to: [{ service: web }]',
    '    arrivals: { rate: 100000, connections: 5000000 }',
    'duration: 1000s',
    '',
  ].join('\n')
  const web = [
    'apiVersion: v1',
    'kind: Service',
    'metadata: { name: web }',
    'spec: { type: LoadBalancer, selector: { app: web }, ports: [{ port: 80 }] }',
    '---',
    'apiVersion: v1',
    'kind: Pod',
    'metadata: { name: web, labels: { app: web } }',
    'spec: { containers: [{ name: web, image: web }] }',
    '',
  ].join('\n')

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s: exit code %i, and the file is as it was', async (signal, exitCode) => {
    writeFileSync(at('slow.yaml'), slow)
    writeFileSync(at('m.yaml'), web)
    writeFileSync(at('trace.msgpack'), 'old')
    const child: ChildProcess = spawn(process.execPath, [BIN, 'generate', 'slow.yaml', '-q', '-o', 'trace.msgpack'], {
      cwd: folder,
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    const ended = new Promise((resolve) => child.once('exit', (code) => resolve(code)))
    while (!readdirSync(folder).some((name) => name.startsWith('.dpemu-') && statSync(at(name)).size > 0))
      await sleep(20)
    child.kill(signal)
    expect(await ended).toBe(exitCode)
    expect(readdirSync(folder).sort()).toEqual(['m.yaml', 'slow.yaml', 'trace.msgpack'])
    expect(readFileSync(at('trace.msgpack'), 'utf8')).toBe('old')
  })
})

test('nothing is watched for once outputs are done', () => {
  const before = process.listenerCount('SIGTERM')
  const output = openOutput(at('x'))
  expect(process.listenerCount('SIGTERM')).toBe(before + 1)
  output.abort()
  expect(process.listenerCount('SIGTERM')).toBe(before)
  expect(existsSync(at('x'))).toBe(false)
})

test.skipIf(!isPosix)('a descriptor that the shell opened is written from where it stands', () => {
  writeFileSync(at('log'), 'before\n')
  const descriptor = openSync(at('log'), constants.O_RDWR | constants.O_APPEND)
  writeOutputNow(`/dev/fd/${descriptor}`, 'after\n')
  const bytes = Buffer.alloc(100)
  expect(bytes.toString('utf8', 0, readSync(descriptor, bytes, 0, 100, 0))).toBe('before\nafter\n')
})
