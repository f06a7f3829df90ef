/** No damaged file may be read as if it were whole, and none may fail with anything but a UserError. */
import { closeSync, mkdirSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { REQUESTS_BLOCK, UNKNOWN_BYTES } from '../../src/trace/format.ts'
import { openTrace } from '../../src/trace/read.ts'
import { verifyTrace } from '../../src/trace/verify.ts'
import { contentWith, temporaryFolder, writeRows } from './support.ts'

const folder = temporaryFolder()
const whole = join(folder, 'whole.msgpack')
const damaged = join(folder, 'damaged.msgpack')
const connections = Array.from({ length: 6 }, (_, i) => ({
  client: 1 + (i % 3),
  destination: 0,
  sourcePort: 50_000 + i,
}))
const rows = Array.from({ length: 30 }, (_, i) => ({
  connection: i % 6,
  tick: i * 1000,
  flags: i & 0x97,
  length: 40 + i,
  // Packets of clients begin requests, some of a size that is not known.
  ...(i & 0x80 || i % 4 === 1 ? {} : { asks: [i % 2, 10 * i, i % 3 === 0 ? UNKNOWN_BYTES : i] as const }),
}))
const requests = ['/', '/cart'].map(
  (path) => ({ host: 'web.example.com', path, method: 'GET', scheme: 'http' }) as const,
)
writeRows(whole, { ...contentWith(3), requests }, connections, rows, 12)
const bytes = readFileSync(whole)

/** The error of reading these bytes whole, or undefined when nothing is wrong with them. */
function errorOf(content: Uint8Array): UserError | undefined {
  writeFileSync(damaged, content)
  return errorOfDamaged()
}

function errorOfDamaged(): UserError | undefined {
  try {
    verifyTrace(damaged)
    return undefined
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    expect(error.code).toMatch(/^E_TRACE_/)
    expect(error.exitCode).toBe(3)
    return error
  }
}

describe('a damaged trace', () => {
  it('is whole to begin with', () => {
    expect(errorOf(bytes)).toBeUndefined()
  })

  it('cut at any byte is refused, and says where', { timeout: 60_000 }, () => {
    writeFileSync(damaged, bytes)
    for (let length = bytes.length - 1; length >= 0; length--) {
      truncateSync(damaged, length)
      const error = errorOfDamaged()
      expect(error, `cut at ${length}`).toBeDefined()
      if (length === 0) expect(error!.code).toBe('E_TRACE_EMPTY')
      else if (length === 1) expect(error!.code).toBe('E_TRACE_FOREIGN')
      else expect(error!.code, `cut at ${length}`).toBe('E_TRACE_TRUNCATED')
    }
  })

  it('with any bit flipped is refused', { timeout: 60_000 }, () => {
    writeFileSync(damaged, bytes)
    const file = openSync(damaged, 'r+')
    for (let at = 0; at < bytes.length; at++) {
      for (let bit = at % 2; bit < 8; bit += 2) {
        writeSync(file, Uint8Array.of(bytes[at] ^ (1 << bit)), 0, 1, at)
        expect(errorOfDamaged(), `bit ${bit} of byte ${at}`).toBeDefined()
      }
      writeSync(file, bytes, at, 1, at)
    }
    closeSync(file)
    expect(errorOfDamaged()).toBeUndefined()
  })

  it('with bytes changed, put in or taken out anywhere is refused', { timeout: 60_000 }, () => {
    const change = fc.record({
      at: fc.nat(bytes.length - 1),
      remove: fc.nat(20),
      insert: fc.uint8Array({ maxLength: 20 }),
    })
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
        let content: Buffer = bytes
        for (const { at, remove, insert } of changes) {
          content = Buffer.concat([content.subarray(0, at), insert, content.subarray(at + remove)])
        }
        if (!content.equals(bytes)) expect(errorOf(content)).toBeDefined()
      }),
      { seed: 3, numRuns: 700 },
    )
  })

  it('of nothing but garbage is no trace', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 300 }), (garbage) => {
        expect(errorOf(garbage)!.code).toBe('E_TRACE_FOREIGN')
      }),
      { seed: 4, numRuns: 300 },
    )
  })

  it('with garbage behind its first fields is refused', () => {
    const beginning = bytes.subarray(0, bytes.indexOf('version') + 8)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (garbage) => {
        expect(errorOf(Buffer.concat([beginning, garbage]))).toBeDefined()
      }),
      { seed: 5, numRuns: 500 },
    )
  })
})

describe('what the message says', () => {
  const trace = openTrace(whole)
  const { index } = trace
  trace.close()
  const block = index.kind.indexOf(1)
  const name = `block ${block + 1} (packets, lane ${index.lane[block]}, window ${index.window[block]})`

  it('a damaged column names block, kind, lane, window and byte offset', () => {
    const flipped = Buffer.from(bytes)
    flipped[index.offset[block] + index.size[block] - 1] ^= 4
    const error = errorOf(flipped)!
    expect(error.code).toBe('E_TRACE_CORRUPT')
    expect(error.where).toBe(`${damaged}: ${name} at byte ${index.offset[block]}`)
    expect(error.message).toContain('checksum')
  })

  it('a cut in a requests block names it', () => {
    const last = index.kind.indexOf(REQUESTS_BLOCK)
    expect(last).toBeGreaterThan(0)
    const error = errorOf(bytes.subarray(0, index.offset[last] + index.size[last] - 1))!
    expect(error.message).toContain(
      `block ${last + 1} (requests, lane ${index.lane[last]}, window ${index.window[last]})`,
    )
  })

  it('a cut names the block that is cut and where the file ends', () => {
    const length = index.offset[block] + index.size[block] - 3
    const error = errorOf(bytes.subarray(0, length))!
    expect(error.message).toBe(`the trace is cut in ${name}, which begins at byte ${index.offset[block]}`)
    expect(error.where).toBe(`${damaged}: byte ${length}`)
  })

  it('a cut between two blocks says that index and trailer are missing', () => {
    expect(errorOf(bytes.subarray(0, index.offset[block]))!.message).toBe(
      `the trace ends after object ${block}, without its index and trailer`,
    )
  })

  it('a cut header says so', () => {
    expect(errorOf(bytes.subarray(0, index.offset[0] - 1))!.message).toContain('cut in the header')
  })

  it('a later version is told from damage', () => {
    const later = Buffer.from(bytes)
    later[bytes.indexOf('version') + 7] = 2
    const error = errorOf(later)!
    expect(error.code).toBe('E_TRACE_VERSION')
    expect(error.message).toContain('version 2')
  })

  it.each([
    ['a pcap file', Buffer.from('d4c3b2a1020004000000000000000000', 'hex')],
    ['text', Buffer.from('kind: Service\n')],
    ['other MessagePack', Buffer.from('82a161a162a163a164', 'hex')],
  ])('%s is no trace', (_, content) => {
    expect(errorOf(content)!.code).toBe('E_TRACE_FOREIGN')
  })

  it('a file that is not there, and a folder, are wrong usage', () => {
    const subfolder = join(folder, 'sub')
    mkdirSync(subfolder)
    for (const path of [join(folder, 'nothing.msgpack'), subfolder]) {
      expect(() => openTrace(path)).toThrow(expect.objectContaining({ code: 'E_TRACE_NOT_FOUND', exitCode: 3 }))
    }
  })
})
