/** The model file: every constant can be set, and nothing else. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DEFAULT_MODEL, describeModel, parseModel, readModel } from '../../src/compile/model.ts'
import { UserError } from '../../src/errors.ts'

function failure(text: string): UserError {
  try {
    parseModel(text, 'model.yaml')
  } catch (error) {
    if (error instanceof UserError) return error
    throw error
  }
  throw new Error('no error')
}

test('an empty file is the default model', () => {
  expect(parseModel('', 'model.yaml')).toEqual(DEFAULT_MODEL)
  expect(parseModel('# nothing but a comment\n', 'model.yaml')).toEqual(DEFAULT_MODEL)
  expect(parseModel('---\n', 'model.yaml')).toEqual(DEFAULT_MODEL)
})

test('what is written replaces the default, and the report names the file as its source', () => {
  const model = parseModel('tcpLoose: 0\nsameZoneNanos: 1.5\n', 'model.yaml')
  expect(model.tcpLoose).toBe(0)
  expect(model.sameZoneNanos).toBe(1.5)
  expect(model.establishedNanos).toBe(DEFAULT_MODEL.establishedNanos)
  const described = describeModel(model, 'model.yaml')
  expect(described.find(({ name }) => name === 'tcpLoose')).toMatchObject({ value: 0, source: 'model.yaml' })
  expect(described.find(({ name }) => name === 'udpSeconds')?.source).toContain('nf_conntrack')
})

test('every constant has a unit and a source, and its default lies within its own range', () => {
  for (const { name, value, unit, source } of describeModel(DEFAULT_MODEL, null)) {
    expect(unit, name).not.toBe('')
    expect(source, name).not.toBe('')
    expect(parseModel(`${name}: ${value}`, 'model.yaml')[name as 'tcpLoose']).toBe(value)
  }
})

describe('errors name file, constant and what is allowed', () => {
  test.each([
    ['an unknown name', 'tcpLose: 0', '"tcpLose" is not a constant of the model'],
    ['a value out of range', 'tcpLoose: 2', 'tcpLoose is 2, must be a number from 0 to 1'],
    ['a text for a number', 'tcpLoose: "1"', 'tcpLoose is "1", must be a number from 0 to 1'],
    ['not a number', 'udpSeconds: .nan', 'udpSeconds is null, must be a number from 1 to 2000000'],
    ['no time at all', 'udpSeconds: 0', 'udpSeconds is 0, must be a number from 1 to 2000000'],
    ['nothing', 'udpSeconds:', 'udpSeconds is null, must be a number from 1 to 2000000'],
    ['a list', '- udpSeconds', 'a model file holds lines of name: number'],
    ['two documents', 'tcpLoose: 0\n---\ntcpLoose: 1', 'a model file holds lines of name: number'],
    ['a bare word', 'fast', 'a model file holds lines of name: number'],
    ['a name of Object.prototype', 'toString: 1', '"toString" is not a constant of the model'],
  ])('%s', (_words, text, message) => {
    expect(failure(text)).toMatchObject({ code: 'E_MODEL', where: 'model.yaml', exitCode: 3, message })
  })

  test('the hint to an unknown name lists the known ones', () => {
    expect(failure('speed: 1').hint).toContain('udpStreamSeconds')
  })

  test('text that is no YAML', () => {
    const error = failure('a: [1')
    expect(error).toMatchObject({ code: 'E_MODEL', where: 'model.yaml' })
    expect(error.message).toMatch(/^not YAML: /)
    expect(error.message).not.toContain('\n')
  })

  test('a file that is not there', () => {
    const path = join(fileURLToPath(import.meta.url), '..', 'no-such-model.yaml')
    expect(() => readModel(path)).toThrow(expect.objectContaining({ code: 'E_MODEL', where: path }))
  })

  test('no text makes it throw anything but a UserError', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          parseModel(text, 'model.yaml')
        } catch (error) {
          expect(error).toBeInstanceOf(UserError)
        }
      }),
      { seed: 20_272, numRuns: 300 },
    )
  })
})
