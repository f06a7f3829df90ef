/**
 * Reads a trace, block by block in any order, into arrays of the caller.
 *
 * Synchronous and self-contained, so that each worker thread opens the file for itself. Every byte that is used is
 * covered: the header and the index by checksums in the index, a block's fields by the index, its columns by their own
 * checksum, their values by range checks. What does not agree is a UserError that names block, kind and byte offset.
 *
 * Cost: one pass over the bytes, half of it CRC-32 (`node --cpu-prof bin/dpemu.js inspect TRACE`); one buffer as large as the largest block.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { UserError } from '../errors.ts'
import {
  addressCount,
  BLOCK_KINDS,
  CONNECTIONS_BLOCK,
  type ConnectionColumns,
  PACKETS_BLOCK,
  type PacketColumns,
  REQUESTS_BLOCK,
  type RequestColumns,
  TRAILER_BYTES,
  type TraceHeader,
  type TraceIndex,
  type TraceTotals,
} from './format.ts'
import { parseHeader } from './header.ts'
import { parseIndex } from './index-map.ts'
import { BufferSource, packObject, skipObject, unpackObject } from './msgpack.ts'
import { diagnoseEnd } from './walk.ts'

/** Larger than any header of millions of clients, and small enough to be refused rather than tried. */
const MAX_OBJECT_BYTES = 2 ** 30

const PACKET_COLUMNS = ['time', 'slot', 'flags', 'length'] as const
const PACKET_WIDTHS = [4, 4, 1, 2] as const
const CONNECTION_COLUMNS = ['slot', 'client', 'destination', 'sourcePort'] as const
const CONNECTION_WIDTHS = [4, 4, 4, 2] as const
const REQUEST_COLUMNS = ['row', 'request', 'requestBytes', 'responseBytes'] as const
const REQUEST_WIDTHS = [4, 4, 4, 4] as const

/**
 * Open a trace and check its header and index.
 *
 * Errors: E_TRACE_NOT_FOUND, E_TRACE_EMPTY, E_TRACE_FOREIGN, E_TRACE_VERSION, E_TRACE_TRUNCATED, E_TRACE_CORRUPT.
 */
export function openTrace(path: string): TraceFile {
  let file: number
  try {
    file = openSync(path, 'r')
  } catch (error) {
    throw notReadable(path, error)
  }
  try {
    return new TraceFile(path, file)
  } catch (error) {
    closeSync(file)
    throw (error as NodeJS.ErrnoException).syscall === undefined ? error : notReadable(path, error)
  }
}

export class TraceFile {
  readonly path: string
  readonly fileBytes: number
  readonly header: TraceHeader
  readonly totals: TraceTotals
  readonly index: TraceIndex
  readonly slotsPerLane: Uint32Array
  /** The most rows of a block: the size of the columns to read into. */
  readonly maxRows: number
  private readonly file: number
  private readonly addresses: number
  private readonly source: BufferSource = new BufferSource()
  private buffer: Buffer
  private open = true

  /** Use `openTrace`, which closes the file when this throws. */
  constructor(path: string, file: number) {
    this.path = path
    this.file = file
    const size = fstatSync(file).size
    this.fileBytes = size
    checkBeginning(file, path, size)
    const indexOffset = readTrailer(file, size)
    if (indexOffset === -1) throw diagnoseEnd(file, path, size)
    const indexBytes = readAt(file, indexOffset, size - TRAILER_BYTES - indexOffset)
    const indexObject = this.unpackWhole(indexBytes, indexBytes.length)
    // A trailer that leads elsewhere, or a file that was cut behind a lucky pattern: say what the walk finds.
    if (!isRecord(indexObject) || indexObject['kind'] !== 'index') throw diagnoseEnd(file, path, size)
    const parsed = parseIndex(indexObject, indexOffset, path)
    const headerBytes = readAt(file, 0, parsed.headerSize)
    if (crc32(headerBytes) !== parsed.headerCrc) {
      throw new UserError('E_TRACE_CORRUPT', 'the header is damaged: its checksum does not match', {
        where: `${path}: header at byte 0`,
      })
    }
    this.header = parseHeader(this.unpackWhole(headerBytes, headerBytes.length), path)
    this.index = parsed.index
    this.totals = parsed.totals
    this.slotsPerLane = parsed.slotsPerLane
    this.maxRows = parsed.maxRows
    this.addresses = addressCount(this.header.addresses)
    this.buffer = Buffer.allocUnsafeSlow(this.index.size.reduce((most, bytes) => Math.max(most, bytes), 0))
  }

  /**
   * Read packet block number `block` of the index.
   *
   * @param into  columns of at least `maxRows` rows; `baseTick` is set too
   * @returns the number of rows, at least 1
   * Errors: E_TRACE_CORRUPT, E_TRACE_TRUNCATED.
   */
  readPackets(block: number, into: PacketColumns): number {
    const rows = this.readColumns(block, PACKETS_BLOCK, PACKET_COLUMNS, PACKET_WIDTHS, [
      into.time,
      into.slot,
      into.flags,
      into.length,
    ])
    into.baseTick = this.index.baseTick[block]!
    const bad = firstBadPacket(into.time, into.slot, rows, this.slotsPerLane[this.index.lane[block]!]!)
    if (bad >= 0)
      throw this.corrupt(block, `packet ${bad} goes back in time or names a slot that its lane does not have`)
    return rows
  }

  /**
   * Read connection block number `block` of the index.
   *
   * @param into  columns of at least `maxRows` rows
   * @returns the number of rows, at least 1
   * Errors: E_TRACE_CORRUPT, E_TRACE_TRUNCATED.
   */
  readConnections(block: number, into: ConnectionColumns): number {
    const rows = this.readColumns(block, CONNECTIONS_BLOCK, CONNECTION_COLUMNS, CONNECTION_WIDTHS, [
      into.slot,
      into.client,
      into.destination,
      into.sourcePort,
    ])
    const slots = this.slotsPerLane[this.index.lane[block]!]!
    const destinations = this.header.destinations.length
    for (let row = 0; row < rows; row++) {
      if (into.slot[row]! >= slots || into.client[row]! >= this.addresses || into.destination[row]! >= destinations) {
        throw this.corrupt(block, `connection ${row} names a slot, client or destination that the trace does not have`)
      }
    }
    return rows
  }

  /**
   * Read requests block number `block` of the index. Its rows are of packets block `block - 1`, which the index has checked.
   *
   * @param into  columns of at least `maxRows` rows
   * @returns the number of rows, at least 1
   * Errors: E_TRACE_CORRUPT, E_TRACE_TRUNCATED.
   */
  readRequests(block: number, into: RequestColumns): number {
    const rows = this.readColumns(block, REQUESTS_BLOCK, REQUEST_COLUMNS, REQUEST_WIDTHS, [
      into.row,
      into.request,
      into.requestBytes,
      into.responseBytes,
    ])
    const packets = this.index.rows[block - 1]!
    const requests = this.header.requests?.length ?? 0
    let previous = -1
    for (let i = 0; i < rows; i++) {
      const row = into.row[i]!
      if (row <= previous || row >= packets || into.request[i]! >= requests) {
        throw this.corrupt(block, `request ${i} goes back, or names a packet or a request that the trace does not have`)
      }
      previous = row
    }
    return rows
  }

  /** How many HTTP requests the trace has, by its index. */
  get requestCount(): number {
    const { kind, rows } = this.index
    let count = 0
    for (let block = 0; block < kind.length; block++) if (kind[block] === REQUESTS_BLOCK) count += rows[block]!
    return count
  }

  close(): void {
    if (this.open) closeSync(this.file)
    this.open = false
  }

  /** An E_TRACE_CORRUPT that names a block. */
  corrupt(block: number, what: string): UserError {
    return new UserError('E_TRACE_CORRUPT', `the trace is damaged: ${what}`, { where: this.blockName(block) })
  }

  private readColumns(
    block: number,
    kind: number,
    names: readonly string[],
    widths: readonly number[],
    into: readonly (Uint32Array | Uint16Array | Uint8Array)[],
  ): number {
    const { index } = this
    if (index.kind[block] !== kind) throw new RangeError(`block ${block} is not a ${BLOCK_KINDS[kind]} block`)
    const size = index.size[block]!
    const rows = index.rows[block]!
    if (readFully(this.file, this.buffer, size, index.offset[block]!) < size) {
      throw new UserError('E_TRACE_TRUNCATED', 'the trace has become shorter while it was read', {
        where: this.blockName(block),
      })
    }
    const object = this.unpackWhole(this.buffer, size)
    if (!isRecord(object)) throw this.corrupt(block, 'the block is not a plain MessagePack map')
    if (
      object['kind'] !== BLOCK_KINDS[kind] ||
      object['lane'] !== index.lane[block] ||
      object['window'] !== index.window[block] ||
      object['rows'] !== rows ||
      (kind === PACKETS_BLOCK && object['baseTick'] !== index.baseTick[block])
    ) {
      throw this.corrupt(block, "the block's fields are not what the index says")
    }
    let crc = 0
    for (let i = 0; i < names.length; i++) {
      const column = object[names[i]!]
      if (!(column instanceof Uint8Array) || column.length !== rows * widths[i]!) {
        throw this.corrupt(block, `column ${names[i]} is missing or does not have ${rows} rows`)
      }
      crc = crc32(column, crc)
      const target = into[i]!
      new Uint8Array(target.buffer, target.byteOffset, column.length).set(column)
    }
    if (crc !== object['crc']) throw this.corrupt(block, 'the checksum does not match')
    return rows
  }

  /** The object that takes exactly `size` bytes, or undefined. */
  private unpackWhole(bytes: Buffer, size: number): unknown {
    if (skipObject(this.source.reset(bytes, size), 0) !== size) return undefined
    return unpackObject(bytes.subarray(0, size))
  }

  private blockName(block: number): string {
    const { kind, lane, window, offset } = this.index
    const name = `${BLOCK_KINDS[kind[block]!]}, lane ${lane[block]}, window ${window[block]}`
    return `${this.path}: block ${block + 1} (${name}) at byte ${offset[block]}`
  }
}

/** The first packet that is earlier than the one before it or whose slot is out of range, or -1. */
function firstBadPacket(time: Uint32Array, slot: Uint32Array, rows: number, slots: number): number {
  let previous = 0
  for (let row = 0; row < rows; row++) {
    const now = time[row]!
    if (now < previous || slot[row]! >= slots) return row
    previous = now
  }
  return -1
}

/** `format` and `version` are the first two fields of every version, so that a file can be told from its first bytes. */
function checkBeginning(file: number, path: string, size: number): void {
  if (size === 0) throw new UserError('E_TRACE_EMPTY', 'the file is empty', { where: path })
  const formatField = Buffer.concat(['format', 'dpemu-trace', 'version'].map((text) => Buffer.from(packObject(text))))
  const start = readAt(file, 0, Math.min(size, 64))
  const head = start[0]!
  const headBytes = head === 0xdf ? 5 : head === 0xde ? 3 : (head & 0xf0) === 0x80 ? 1 : 0
  const wanted = start.subarray(headBytes, headBytes + formatField.length)
  // A file cut within its first bytes is still known by as much of them as there is.
  if (headBytes === 0 || wanted.length === 0 || !formatField.subarray(0, wanted.length).equals(wanted)) {
    throw new UserError('E_TRACE_FOREIGN', 'this is not a dpemu trace', {
      where: path,
      hint: 'dpemu generate makes a trace of a scenario',
    })
  }
  const at = headBytes + formatField.length
  const token = start[at]
  const version = token === 0xcc ? start[at + 1] : token === 0xcd ? start.readUInt16BE(at + 1) : token
  if (version !== undefined && version !== 1) {
    throw new UserError('E_TRACE_VERSION', `the trace has format version ${version}; this dpemu reads version 1`, {
      where: path,
      hint: 'use a newer dpemu, or generate the trace again with this one',
    })
  }
}

/** The byte offset of the index, or -1 when the last bytes are no trailer. */
function readTrailer(file: number, size: number): number {
  if (size <= TRAILER_BYTES) return -1
  const trailer = readAt(file, size - TRAILER_BYTES, TRAILER_BYTES)
  if (trailer[0] !== 0xcf) return -1
  const offset = Number(trailer.readBigUInt64BE(1))
  return offset > 0 && offset < size - TRAILER_BYTES && size - offset <= MAX_OBJECT_BYTES ? offset : -1
}

function readAt(file: number, offset: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(length)
  return bytes.subarray(0, readFully(file, bytes, length, offset))
}

function readFully(file: number, into: Buffer, length: number, offset: number): number {
  let done = 0
  while (done < length) {
    const count = readSync(file, into, done, length - done, offset + done)
    if (count === 0) break
    done += count
  }
  return done
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function notReadable(path: string, error: unknown): UserError {
  const { code, message } = error as NodeJS.ErrnoException
  const what = code === 'ENOENT' ? 'no such file' : code === 'EISDIR' ? 'a trace is a file, this is a folder' : message
  return new UserError('E_TRACE_NOT_FOUND', `cannot read the trace: ${what}`, { where: path })
}
