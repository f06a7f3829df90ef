/**
 * MessagePack, the plain part of it: maps, arrays, strings, bin, numbers, booleans and nil.
 *
 * msgpackr packs and unpacks. Bytes from a file go through `skipObject` first: it finds where an object ends and
 * refuses extension types, so that nothing but plain data reaches the unpacker and no length leads out of the buffer.
 * `msgpackr/pack` is the entry without the optional native add-on.
 */
import { Packr } from 'msgpackr/pack'
import { Unpackr } from 'msgpackr/unpack'

const packr = new Packr({ useRecords: false, variableMapSize: true })
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })

/** The bytes of an object; only valid until the next call. `bin` is written for Buffers. */
export function packObject(value: unknown): Buffer {
  return packr.pack(value)
}

/**
 * The object in exactly these bytes, which `skipObject` has passed. Its `bin` values are views of them.
 *
 * @returns undefined when the lengths are right but a value is none that an object can have, as a map for a key
 */
export function unpackObject(bytes: Uint8Array): unknown {
  try {
    return unpackr.unpack(bytes)
  } catch {
    return undefined
  }
}

/** An unsigned integer as MessagePack writes it, for values that would otherwise become a float. */
export function integer(value: number): number | bigint {
  return value > 0xffff_ffff ? BigInt(value) : value
}

/** Something with bytes: a buffer, or a file read piece by piece. */
export interface ByteSource {
  /** Where the bytes end. */
  readonly end: number
  /** The byte at a position below `end`. */
  at(position: number): number
}

export class BufferSource implements ByteSource {
  end = 0
  private bytes: Uint8Array = new Uint8Array(0)

  /** Look at the first `end` bytes of a buffer from now on. */
  reset(bytes: Uint8Array, end: number): this {
    this.bytes = bytes
    this.end = end
    return this
  }

  at(position: number): number {
    return this.bytes[position]!
  }
}

/** The object goes on past the end of the bytes. */
export const CUT = -1
/** A byte that is no plain MessagePack: an extension type or the unused 0xc1. */
export const NOT_PLAIN = -2

/**
 * Where the object at `position` ends, or CUT, or NOT_PLAIN. Reads only lengths: strings and bin are stepped over.
 * Cost: one step for each value inside; no recursion, so that nesting cannot exhaust the stack.
 */
export function skipObject(source: ByteSource, position: number): number {
  const end = source.end
  let pending = 1
  let at = position
  while (pending > 0) {
    // Every value takes a byte at least: a length that promises more than there is ends here, not in a long loop.
    if (at >= end || pending > end - at) return CUT
    pending--
    const token = source.at(at++)
    let payload = 0
    if (token < 0x80 || token >= 0xe0) continue
    if (token < 0x90) pending += (token & 0x0f) * 2
    else if (token < 0xa0) pending += token & 0x0f
    else if (token < 0xc0) payload = token & 0x1f
    else {
      const width = LENGTH_WIDTH[token - 0xc0]!
      if (width === EXTENSION) return NOT_PLAIN
      if (width >= 0) {
        if (at + width > end) return CUT
        const length = lengthAt(source, at, width)
        at += width
        if (token === 0xde || token === 0xdf) pending += length * 2
        else if (token === 0xdc || token === 0xdd) pending += length
        else payload = length
      } else payload = -width
    }
    at += payload
    if (at > end) return CUT
  }
  return at
}

/** Big-endian, of `width` bytes, which are there. */
function lengthAt(source: ByteSource, at: number, width: number): number {
  let length = 0
  for (let i = 0; i < width; i++) length = length * 256 + source.at(at + i)
  return length
}

const EXTENSION = 99
/** For tokens 0xc0 to 0xdf: bytes of the length that follows, or minus the bytes of the value, or EXTENSION. */
const LENGTH_WIDTH: readonly number[] = [
  ...[0, EXTENSION, 0, 0], // nil, unused, false, true
  ...[1, 2, 4], // bin
  ...[EXTENSION, EXTENSION, EXTENSION],
  ...[-4, -8], // float
  ...[-1, -2, -4, -8], // unsigned
  ...[-1, -2, -4, -8], // signed
  ...[EXTENSION, EXTENSION, EXTENSION, EXTENSION, EXTENSION],
  ...[1, 2, 4], // string
  ...[2, 4], // array
  ...[2, 4], // map
]
