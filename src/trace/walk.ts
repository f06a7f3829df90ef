/**
 * Diagnosis of a trace whose end is not as it should be: walks the objects from the start and says where it stops.
 *
 * Cost: reads the lengths and steps over the columns, so a large file takes milliseconds for each thousand blocks.
 */
import { readSync } from 'node:fs'
import { UserError } from '../errors.ts'
import { BLOCK_KINDS, TRAILER_BYTES } from './format.ts'
import { type ByteSource, CUT, NOT_PLAIN, skipObject, unpackObject } from './msgpack.ts'

const PIECE_BYTES = 4096
/** The fields of a block that come before its columns fit in this many bytes. */
const BLOCK_HEAD_BYTES = 256

/** A file's bytes, read in pieces as they are asked for. */
class FileSource implements ByteSource {
  readonly end: number
  private readonly file: number
  private readonly piece: Buffer = Buffer.alloc(PIECE_BYTES)
  private start = 0
  private length = 0

  constructor(file: number, end: number) {
    this.file = file
    this.end = end
  }

  at(position: number): number {
    if (position < this.start || position >= this.start + this.length) {
      this.start = position
      this.length = readSync(this.file, this.piece, 0, PIECE_BYTES, position)
    }
    return this.piece[position - this.start]!
  }
}

/** The error for a trace without a usable trailer: which block is cut or damaged, and at which byte. */
export function diagnoseEnd(file: number, path: string, size: number): UserError {
  const source = new FileSource(file, size)
  let position = 0
  let object = 0
  for (; position < size; object++) {
    const next = skipObject(source, position)
    const what = object === 0 ? 'the header' : nameBlock(file, position, size, object)
    if (next === CUT) {
      return new UserError('E_TRACE_TRUNCATED', `the trace is cut in ${what}, which begins at byte ${position}`, {
        where: `${path}: byte ${size}`,
        hint: 'copy or generate the trace again; nothing of it was used',
      })
    }
    if (next === NOT_PLAIN) {
      return new UserError('E_TRACE_CORRUPT', `${what} is damaged: it is not plain MessagePack`, {
        where: `${path}: block ${object} at byte ${position}`,
      })
    }
    position = next
  }
  if (object > 2 && size >= TRAILER_BYTES) {
    const tail = Buffer.alloc(TRAILER_BYTES)
    readSync(file, tail, 0, TRAILER_BYTES, size - TRAILER_BYTES)
    if (tail[0] === 0xcf) {
      return new UserError('E_TRACE_CORRUPT', 'the trailer does not lead to the index', {
        where: `${path}: byte ${size - TRAILER_BYTES}`,
      })
    }
  }
  return new UserError(
    'E_TRACE_TRUNCATED',
    `the trace ends after object ${object - 1}, without its index and trailer`,
    {
      where: `${path}: byte ${size}`,
      hint: 'copy or generate the trace again; nothing of it was used',
    },
  )
}

/** `block 17 (packets, lane 3, window 2)` as far as the fields before the columns can still be read. */
function nameBlock(file: number, position: number, size: number, object: number): string {
  const head = Buffer.alloc(Math.min(BLOCK_HEAD_BYTES, size - position))
  readSync(file, head, 0, head.length, position)
  const fields: Record<string, unknown> = {}
  const source: ByteSource = { end: head.length, at: (i) => head[i]! }
  // The map's own head is one byte for up to 15 entries, which is what every block of version 1 has.
  for (let at = 1; at < head.length; ) {
    const valueAt = skipObject(source, at)
    const next = valueAt < 0 ? CUT : skipObject(source, valueAt)
    if (next < 0) break
    const key = unpackObject(head.subarray(at, valueAt))
    if (typeof key === 'string') fields[key] = unpackObject(head.subarray(valueAt, next))
    at = next
  }
  const { kind, lane, window } = fields
  if (kind === 'index') return 'the index'
  if (typeof kind !== 'string' || !BLOCK_KINDS.includes(kind)) return `block ${object}`
  return `block ${object} (${kind}, lane ${String(lane)}, window ${String(window)})`
}
