/** The built command line as a process: exit codes, streams and messages. `npm test` builds before it tests. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const BIN = fileURLToPath(new URL('../../bin/dpemu.js', import.meta.url))

function dpemu(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [BIN, ...args], { encoding: 'utf8', input: '' })
  return { status, stdout, stderr }
}

describe('wrong usage exits 2, says what is wrong and what was meant, and prints nothing else', () => {
  test.each<[string[], string]>([
    [['repla', 'x'], "dpemu: error: there is no command 'repla' [E_USAGE]\n  hint: did you mean replay?\n"],
    [
      ['replay', 'x', '--polcy', 'local'],
      'dpemu: error: replay has no flag --polcy [E_USAGE]\n  hint: did you mean --policy?\n',
    ],
    [['replay'], 'dpemu: error: replay needs <trace>, a trace file [E_USAGE]\n  hint: see dpemu replay --help\n'],
    [['replay', 'x', 'y'], "dpemu: error: replay does not expect 'y' [E_USAGE]\n  hint: see dpemu replay --help\n"],
    [['replay', 'x', '-f'], 'dpemu: error: -f needs a value [E_USAGE]\n  hint: see dpemu replay --help\n'],
    [
      ['generate', 'x'],
      'dpemu: error: generate needs -o TRACE, the file to write [E_USAGE]\n  hint: see dpemu generate --help\n',
    ],
    [
      ['replay', 'x', '-ojsn'],
      "dpemu: error: -o jsn: no output format is called 'jsn' [E_USAGE]\n  hint: did you mean json?\n",
    ],
  ])('dpemu %j', (args, stderr) => expect(dpemu(...args)).toEqual({ status: 2, stdout: '', stderr }))

  test('no command: the help, on standard error', () => {
    const { status, stdout, stderr } = dpemu()
    expect([status, stdout]).toEqual([2, ''])
    expect(stderr).toContain('dpemu replay <trace>')
    expect(stderr).toContain('dpemu: error: no command given')
  })
})

describe('help', () => {
  test('lists the commands there are', () => {
    const { status, stdout, stderr } = dpemu('--help')
    expect([status, stderr]).toEqual([0, ''])
    const listed = [...stdout.matchAll(/^ {2}dpemu (\S+)/gm)].map(([, name]) => name)
    expect(listed).toEqual([
      'replay',
      'rollout',
      'generate',
      'init',
      'inspect',
      'explain',
      'reach',
      'compare',
      'diff',
      'lint',
      'dig',
      'rules',
      'conntrack',
      'capacity',
      'merge',
      'bench',
      'completion',
      'man',
    ])
    expect(stdout).toContain('Exit codes: 0 fine; 1 an internal error')
  })

  test.each(['replay', 'generate', 'inspect', 'explain', 'dig', 'rules', 'conntrack', 'capacity', 'bench'])(
    'dpemu %s --help shows an example and loads no command',
    (command) => {
      const { status, stdout, stderr } = dpemu(command, '--help')
      expect([status, stderr]).toEqual([0, ''])
      expect(stdout).toContain(`Examples:\n  dpemu ${command} `)
    },
  )

  test('--version and completion', () => {
    expect(dpemu('--version').stdout).toMatch(
      /^\d+\.\d+\.\d+\nas Kubernetes 1\.31 to 1\.37, Linux 6\.18, CoreDNS 1\.14\.7, ingress-nginx 1\.12 and later\n$/,
    )
    for (const typed of [['-V'], ['version']]) expect(dpemu(...typed)).toEqual(dpemu('--version'))
  })

  test('help, help COMMAND and help metrics', () => {
    expect(dpemu('help')).toEqual(dpemu('--help'))
    expect(dpemu('help', 'capacity')).toEqual(dpemu('capacity', '--help'))
    const { status, stdout } = dpemu('help', 'metrics')
    expect(status).toBe(0)
    expect(stdout).toMatch(/^ {2}runs\[\*\]\.pathLatencyMicros\.packet\.p95 +µs$/m)
    expect(stdout).toMatch(/^ {2}snatFraction +0 to 1$/m)
    expect(dpemu('replay', '--help', 'metrics').stdout).toBe(stdout)
    expect(dpemu('help', 'capcity')).toEqual({
      status: 2,
      stdout: '',
      stderr: "dpemu: error: there is no help about 'capcity' [E_USAGE]\n  hint: did you mean capacity?\n",
    })
  })

  test('every metric that is listed can stand in a threshold', async () => {
    const { metricsOf } = await import('../../src/report/metrics.ts')
    const { parseExpression, REPLAY_SUBJECT } = await import('../../src/report/threshold.ts')
    const { CAPACITY_SUBJECT, OBJECTIVE_SUBJECT } = await import('../../src/report/capacity-fields.ts')
    for (const subject of [REPLAY_SUBJECT, CAPACITY_SUBJECT, OBJECTIVE_SUBJECT]) {
      const metrics = metricsOf(subject)
      expect(metrics.length).toBeGreaterThan(20)
      for (const { path } of metrics) {
        const named = path.replace('drops.NAME', 'drops.conntrack-full').replace('byStatus.NAME', 'byStatus.503')
        expect(() => parseExpression(`${named} < 1`, subject)).not.toThrow()
      }
    }
  })

  test('a line that names another command names one that exists', () => {
    const names = [...dpemu('--help').stdout.matchAll(/^ {2}dpemu (\S+)/gm)].map(([, name]) => name!)
    const folder = fileURLToPath(new URL('../../src/', import.meta.url))
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
    const named = files.flatMap((file) =>
      [...readFileSync(`${folder}${file}`, 'utf8').matchAll(/\bhint\b[^\n]*?\bdpemu ([a-z]+)/g)].map(
        ([, name]) => name!,
      ),
    )
    expect(named.length).toBeGreaterThan(0)
    expect(named.filter((name) => ![...names, 'help'].includes(name))).toEqual([])
  })
})

test('help is shown however it is asked for', () => {
  const { stdout } = dpemu('replay', '--help')
  expect(stdout).toContain('--threshold')
  for (const args of [
    ['replay', '-h'],
    ['replay', '-qh'],
    ['replay', 'x', '--help=true'],
  ]) {
    expect(dpemu(...args).stdout).toBe(stdout)
  }
})

test('what is copied into the command line is named with its licence', () => {
  const folder = fileURLToPath(new URL('../../dist/cli/', import.meta.url))
  const licences = readFileSync(`${folder}licenses.txt`, 'utf8')
  const { dependencies } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  // These two are loaded from where they are installed.
  const copied = Object.keys(dependencies).filter((name) => name !== 'piscina' && name !== 'benchmark')
  expect(copied.length).toBeGreaterThan(4)
  for (const name of copied) {
    expect(licences).toMatch(new RegExp(`^${name} ${dependencies[name]} \\(.+\\)\n\n\\S`, 'm'))
  }
})

test('the core is one module, with its constants written out', () => {
  const code = readFileSync(new URL('../../dist/native-free-core/index.js', import.meta.url), 'utf8')
  expect(code).not.toMatch(/^import /m)
  expect(code).toContain('function createDataplane(')
  // A declaration and an export at most: whatever else names them would read a cell of memory at every packet.
  for (const name of ['FLOW_CLIENT', 'FLOW_STATUS', 'ENTRY_STATE', 'ENTRY_EXPIRES', 'HISTOGRAM_SUM']) {
    expect([name, code.split(new RegExp(`\\b${name}\\b`)).length - 1 <= 2]).toEqual([name, true])
  }
})

test('a file that is no trace exits 3, says which, and reports nothing of it', () => {
  const { status, stdout, stderr } = dpemu('inspect', BIN)
  expect([status, stdout]).toEqual([3, ''])
  expect(stderr).toMatch(/^dpemu: error: .* \[E_TRACE_[A-Z_]+\]\n/)
  expect(stderr).toContain(BIN)
})

test('a reader that goes away is no error', () => {
  const shell = spawnSync('/bin/sh', ['-c', `"${process.execPath}" "${BIN}" completion | true; echo done`], {
    encoding: 'utf8',
  })
  expect([shell.stdout, shell.stderr]).toEqual(['done\n', ''])
})
