/**
 * Typed arrays in a JSON document: `{ "$column": "Float64Array", "length": 3, "data": BASE64 }`, little-endian and deflated.
 *
 * Whatever holds them may be packed: plain objects, arrays, numbers, texts. What comes back is the same bit for bit, which
 * digits of JSON are not for -0 and NaN.
 */
import { endianness } from 'node:os'
import { deflateRawSync, inflateRawSync } from 'node:zlib'

const KINDS = { Float64Array, Int32Array, Uint32Array, Uint16Array, Uint8Array } as const
type Kind = keyof typeof KINDS
type Column = InstanceType<(typeof KINDS)[Kind]>

interface PackedColumn {
  readonly $column: Kind
  readonly length: number
  readonly data: string
}

/** More than any column has: a document that asks for more is none of ours. */
const MAX_BYTES = 2 ** 31
/** Of zlib: most of the gain for little time. */
const LEVEL = 1

/** @returns plain data that JSON holds */
export function packed(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return packColumn(value as Column)
  if (Array.isArray(value)) return value.map(packed)
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, packed(one)]))
  }
  return value
}

/** @throws RangeError for columns that are not what they say */
export function unpacked(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unpacked)
  if (typeof value !== 'object' || value === null) return value
  if ('$column' in value) return unpackColumn(value as PackedColumn)
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, unpacked(one)]))
}

function packColumn(column: Column): PackedColumn {
  const bytes = new Uint8Array(column.buffer, column.byteOffset, column.byteLength)
  return {
    $column: column.constructor.name as Kind,
    length: column.length,
    data: deflateRawSync(inOrder(bytes, column.BYTES_PER_ELEMENT), { level: LEVEL }).toString('base64'),
  }
}

function unpackColumn({ $column, length, data }: PackedColumn): Column {
  const kind = KINDS[$column]
  const bytes = length * (kind?.BYTES_PER_ELEMENT ?? Number.NaN)
  if (!(bytes >= 0 && bytes <= MAX_BYTES) || !Number.isInteger(length))
    throw new RangeError(`no column: ${$column} of ${length}`)
  const column = new kind(length)
  if (bytes === 0) return column
  const inflated = inflateRawSync(Buffer.from(data, 'base64'), { maxOutputLength: bytes })
  if (inflated.length !== bytes) throw new RangeError(`a column of ${length} has ${inflated.length} bytes`)
  new Uint8Array(column.buffer).set(inOrder(inflated, kind.BYTES_PER_ELEMENT))
  return column
}

/** A copy with the bytes of each number turned round where the machine has them the other way. */
function inOrder(bytes: Uint8Array, width: number): Uint8Array {
  if (endianness() === 'LE' || width === 1) return bytes
  const turned = Uint8Array.from(bytes)
  for (let at = 0; at < turned.length; at += width) turned.subarray(at, at + width).reverse()
  return turned
}
