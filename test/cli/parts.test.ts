import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { commaList, wholeNumber } from '../../src/commands/arguments.ts'
import { bugFailure, failureOf } from '../../src/commands/failure.ts'
import { wantsColor, widthOf } from '../../src/commands/io.ts'
import { checkOutput, parseOutputs } from '../../src/commands/outputs.ts'
import { startProgress } from '../../src/commands/progress.ts'
import { warningPrinter } from '../../src/commands/warnings.ts'
import { UserError } from '../../src/errors.ts'
import { nearestName, suggestion } from '../../src/nearest.ts'
import { fakeIo } from './fake-io.ts'

const SEED = 20261122
const FORMATS = ['text', 'json', 'markdown'] as const

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dpemu-cli-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function usageOf(action: () => unknown): UserError {
  try {
    action()
  } catch (error) {
    expect(error).toBeInstanceOf(UserError)
    expect((error as UserError).exitCode).toBe(2)
    return error as UserError
  }
  throw new Error('nothing was refused')
}

describe('values of flags', () => {
  test.each([
    ['0', 0],
    ['7', 7],
    ['007', 7],
    ['64', 64],
  ])('--shards %s', (text, number) => {
    expect(wholeNumber('--shards', text, { min: 0, max: 64 })).toBe(number)
  })

  test.each(['', '-1', '65', '1.5', '1e3', '0x10', 'many', ' 1', '99999999999999999999'])(
    "--shards '%s' is refused",
    (text) => {
      expect(usageOf(() => wholeNumber('--shards', text, { min: 0, max: 64 })).message).toBe(
        `--shards must be a whole number from 0 to 64, not '${text}'`,
      )
    },
  )

  test('a comma list, repeated or not, in any case, each name once', () => {
    const known = ['cluster', 'local', 'as-is'] as const
    expect(commaList('--policy', ['Cluster,local', ' local'], known)).toEqual(['cluster', 'local'])
    expect(commaList('--policy', [], known)).toEqual([])
    expect(usageOf(() => commaList('--policy', ['lokal'], known)).hint).toBe('did you mean local?')
    expect(usageOf(() => commaList('--policy', ['local,'], known)).message).toBe("--policy does not know ''")
  })
})

describe('what was most likely meant', () => {
  test.each([
    ['polcy', 'policy'],
    ['POLICY', 'policy'],
    ['shard', 'shards'],
    ['modle', 'model'],
    ['xyzzy', null],
    ['', null],
  ])('%s', (typed, meant) => expect(nearestName(typed, ['policy', 'shards', 'model', 'threshold'])).toBe(meant))

  test('names that are empty are nobody’s, and none is made of them', () => {
    expect(nearestName('', ['', 'a'])).toBe(null)
    expect(suggestion('b', ['', 'shop/web'])).toBe('known: shop/web')
    expect(suggestion('', ['', ''])).toBe('')
  })

  test('a known name is its own nearest', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.stringMatching(/^[a-z]{1,12}$/), { minLength: 1 }), fc.nat(), (names, at) => {
        const name = names[at % names.length]!
        expect(nearestName(name, names)).toBe(name)
      }),
      { seed: SEED },
    )
  })
})

describe('-o', () => {
  test('formats, files and standard output', () => {
    const file = join(folder, 'a=b.json')
    expect(parseOutputs([], FORMATS)).toEqual([])
    expect(parseOutputs(['json'], FORMATS)).toEqual([{ format: 'json', file: null }])
    expect(parseOutputs(['markdown=-'], FORMATS)).toEqual([{ format: 'markdown', file: null }])
    expect(parseOutputs([`json=${file}`, 'text'], FORMATS)).toEqual([
      { format: 'json', file },
      { format: 'text', file: null },
    ])
  })

  test.each([
    [['jsn'], "no output format is called 'jsn'", 'did you mean json?'],
    [['json='], 'the file name is missing', ''],
    [['json', 'text'], '-o json and -o text would both go to standard output', 'write one to a file: -o text=FILE'],
    [['json=/no/such/folder/a.json'], 'cannot write /no/such/folder/a.json: its folder does not exist', ''],
    [['json=x.json', 'text=x.json'], 'two outputs would go to x.json', ''],
  ])('%j is refused', (values, message, hint) => {
    const refused = usageOf(() => parseOutputs(values, FORMATS))
    expect(refused.message).toContain(message)
    expect(refused.hint).toBe(hint)
  })

  test('a folder is no file', () => {
    expect(usageOf(() => checkOutput(folder)).message).toContain('it is a folder')
    expect(usageOf(() => checkOutput(`${folder}/`)).message).toContain('it is a folder')
  })

  test('standard output by its other names is standard output', () => {
    expect(parseOutputs(['json=/dev/stdout'], FORMATS)).toEqual([{ format: 'json', file: null }])
    expect(parseOutputs(['json=/proc/self/fd/1'], FORMATS)).toEqual([{ format: 'json', file: null }])
    expect(usageOf(() => parseOutputs(['text', 'json=/dev/fd/1'], FORMATS)).message).toContain(
      'would both go to standard output',
    )
  })

  test('two names of one file, and a file that the command reads', () => {
    const file = join(folder, 'one.json')
    writeFileSync(file, '')
    symlinkSync('one.json', join(folder, 'link.json'))
    const both = [`json=${file}`, `text=${join(folder, 'link.json')}`]
    expect(usageOf(() => parseOutputs(both, FORMATS)).message).toBe(
      `two outputs would go to ${join(folder, 'link.json')}`,
    )
    expect(usageOf(() => parseOutputs([`json=${file}`, `text=${folder}/./one.json`], FORMATS)).code).toBe('E_USAGE')
    expect(usageOf(() => parseOutputs([both[1]!], FORMATS, [file])).message).toContain('it is read by this command')
  })
})

describe('progress', () => {
  test.each([true, false])('nothing with --quiet, a terminal or not (%s)', (isTerminal) => {
    const io = fakeIo({ isTerminal })
    let clock = 0
    const progress = startProgress(io, 'replay', true, () => clock)
    clock = 60_000
    progress.update(1, 2)
    progress.clear()
    expect(io.written.stderr).toBe('')
  })

  test('in a log it is a line every ten seconds, and none for what takes less', () => {
    const io = fakeIo({ isTerminal: false })
    let clock = 0
    const progress = startProgress(io, 'replay', false, () => clock)
    for (clock = 0; clock <= 25_000; clock += 100) progress.update(clock, 50_000)
    progress.clear()
    expect(io.written.stderr).toBe(
      'dpemu: replay: 20 % after 10 s, 40 s left\ndpemu: replay: 40 % after 20 s, 30 s left\n',
    )
    const short = fakeIo({ isTerminal: false })
    const quick = startProgress(short, 'replay', false, () => clock)
    clock += 9999
    quick.update(1, 1)
    expect(short.written.stderr).toBe('')
  })

  test('is redrawn when the percentage changes, and taken away', () => {
    const io = fakeIo({ isTerminal: true })
    const progress = startProgress(io, 'replay', false)
    for (let done = 0; done <= 100_000; done++) progress.update(done, 100_000)
    progress.clear()
    const drawn = io.written.stderr.split('\r\u001b[2K')
    expect(drawn).toHaveLength(103)
    expect(drawn[51]).toMatch(/^replay █{15} {15} {2}50 %/)
    expect(drawn.at(-1)).toBe('')
    expect(io.written.stdout).toBe('')
  })

  test('a total that is not known yet is no crash', () => {
    const io = fakeIo({ isTerminal: true })
    startProgress(io, 'replay', false).update(5, 0)
    expect(io.written.stderr).toContain('  0 %')
  })
})

describe('the width of text', () => {
  test.each<[string, Record<string, string>, number | undefined, number | null]>([
    ['of the terminal', {}, 80, 80],
    ['COLUMNS wins', { COLUMNS: '72' }, 120, 72],
    ['COLUMNS counts where there is no terminal', { COLUMNS: '100' }, undefined, 100],
    ['nobody knows', {}, undefined, null],
    ['60 at least', {}, 40, 60],
    ['a terminal that does not say', {}, 0, null],
    ['COLUMNS that is no number', { COLUMNS: 'wide' }, 90, 90],
    ['COLUMNS of 0', { COLUMNS: '0' }, 90, 90],
  ])('%s', (_, env, columns, width) => expect(widthOf(env, columns)).toBe(width))
})

describe('warnings', () => {
  const warning = (message: string) => ({ code: 'W_X', where: 'web.yaml, document 2', message })

  test('each is said once, and at most a screen of them', () => {
    const io = fakeIo()
    const printer = warningPrinter(io, startProgress(io, 'x', true), false)
    for (let i = 0; i < 25; i++) {
      printer.print(warning(`field ${i}`))
      printer.print(warning(`field ${i}`))
    }
    printer.finish()
    const lines = io.written.stderr.trimEnd().split('\n')
    expect(lines).toHaveLength(21)
    expect(lines[0]).toBe('dpemu: warning: web.yaml, document 2: field 0 [W_X]')
    expect(lines[20]).toBe('dpemu: ... and 5 more warnings')
  })

  test('--quiet', () => {
    const io = fakeIo()
    const printer = warningPrinter(io, startProgress(io, 'x', true), true)
    printer.print(warning('field'))
    printer.finish()
    expect(io.written.stderr).toBe('')
  })
})

describe('failures', () => {
  test('what the user can mend: message, where, hint, and no stack', () => {
    const error = new UserError('E_TRACE_TRUNCATED', 'the trace ends in the middle of a block', {
      where: 'trace.msgpack, block 7, byte 81920',
      hint: 'copy it again',
    })
    expect(failureOf(error, [], '0.1.0')).toEqual({
      text: 'dpemu: error: the trace ends in the middle of a block [E_TRACE_TRUNCATED]\n  at trace.msgpack, block 7, byte 81920\n  hint: copy it again\n',
      exitCode: 3,
    })
    expect(failureOf(new UserError('E_USAGE', 'no', { exitCode: 2 }), [], '')).toEqual({
      text: 'dpemu: error: no [E_USAGE]\n',
      exitCode: 2,
    })
  })

  test('a bug of ours: version, Node, command and stack', () => {
    const { text, exitCode } = bugFailure(new TypeError('x is undefined'), ['replay', "it's here.msgpack"], '0.1.0')
    expect(exitCode).toBe(1)
    expect(text).toContain('this is a bug in dpemu')
    expect(text).toContain(`dpemu 0.1.0, Node ${process.version}`)
    expect(text).toContain("command: dpemu replay 'it'\\''s here.msgpack'")
    expect(text).toMatch(/TypeError: x is undefined\n +at /)
  })

  test.each([undefined, null, 'text', 42, { toString: () => 'odd' }])(
    'whatever is thrown is reported: %s',
    (thrown) => {
      expect(failureOf(thrown, [], '0.1.0').exitCode).toBe(1)
    },
  )
})

describe('colour', () => {
  test.each<[boolean, Record<string, string>, boolean]>([
    [true, {}, true],
    [false, {}, false],
    [true, { NO_COLOR: '1' }, false],
    [true, { NO_COLOR: '' }, true],
    [false, { FORCE_COLOR: '1' }, true],
    [false, { FORCE_COLOR: '' }, true],
    [true, { FORCE_COLOR: '0' }, false],
    [true, { FORCE_COLOR: '1', NO_COLOR: '1' }, false],
    [true, { TERM: 'dumb' }, false],
  ])('terminal %s with %j: %s', (isTerminal, env, color) => expect(wantsColor(isTerminal, env)).toBe(color))
})
