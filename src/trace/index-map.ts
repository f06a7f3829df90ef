/**
 * Checks a trace's index map: its checksum, and that the blocks it lists could be what the format promises.
 *
 * After this, offsets and sizes lie between header and index, rows are between 1 and `maxRows`, windows are in order,
 * and totals agree with the blocks, so that memory can be allocated by it before any block is read.
 */
import { UserError } from '../errors.ts'
import {
  BLOCK_KINDS,
  CONNECTIONS_BLOCK,
  LANES,
  MAX_WINDOW_ROWS,
  PACKETS_BLOCK,
  REQUESTS_BLOCK,
  TOTAL_NAMES,
  type TraceIndex,
  type TraceTotals,
} from './format.ts'
import { indexCrc } from './index-crc.ts'

export interface ParsedIndex {
  readonly index: TraceIndex
  readonly totals: TraceTotals
  readonly slotsPerLane: Uint32Array
  readonly maxRows: number
  readonly headerCrc: number
  readonly headerSize: number
}

/** Bytes of a row in a block of each kind, by kind code. */
const ROW_BYTES = [14, 11, 16] as const
const COLUMN_WIDTHS = { kinds: 1, lanes: 1, windows: 4, offsets: 8, sizes: 4, rows: 4, baseTicks: 8 } as const
type ColumnName = keyof typeof COLUMN_WIDTHS

/** Errors: E_TRACE_CORRUPT. */
export function parseIndex(object: Readonly<Record<string, unknown>>, indexOffset: number, path: string): ParsedIndex {
  const refuse = (what: string): never => {
    throw new UserError('E_TRACE_CORRUPT', `the index is damaged: ${what}`, {
      where: `${path}: index at byte ${indexOffset}`,
    })
  }
  const column = (name: string): Uint8Array => {
    const value = object[name]
    return value instanceof Uint8Array ? value : refuse(`${name} is missing`)
  }
  const integer = (value: unknown, name: string): number =>
    Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : refuse(`${name} is no number`)

  const raw = Object.fromEntries(Object.keys(COLUMN_WIDTHS).map((name) => [name, column(name)])) as Record<
    ColumnName,
    Uint8Array
  >
  const count = raw.kinds.length
  for (const [name, width] of Object.entries(COLUMN_WIDTHS)) {
    if (raw[name as ColumnName].length !== count * width) refuse(`${name} has not one entry for each block`)
  }
  const slots = column('slotsPerLane')
  if (slots.length !== LANES * 4) refuse('slotsPerLane has not one entry for each lane')
  const totalsMap = (object['totals'] ?? {}) as Record<string, unknown>
  const totals = Object.fromEntries(
    TOTAL_NAMES.map((name) => [name, integer(totalsMap[name], `totals.${name}`)]),
  ) as unknown as TraceTotals
  const maxRows = integer(object['maxRows'], 'maxRows')
  const headerCrc = integer(object['headerCrc'], 'headerCrc')
  if (indexCrc([...Object.values(raw), slots], totals, maxRows, headerCrc) !== object['crc']) {
    refuse('its checksum does not match')
  }

  const all: TraceIndex = {
    count,
    kind: raw.kinds.slice(),
    lane: raw.lanes.slice(),
    window: new Uint32Array(aligned(raw.windows)),
    offset: new Float64Array(aligned(raw.offsets)),
    size: new Uint32Array(aligned(raw.sizes)),
    rows: new Uint32Array(aligned(raw.rows)),
    baseTick: new Float64Array(aligned(raw.baseTicks)),
  }
  const headerSize = count === 0 ? indexOffset : all.offset[0]!
  checkPlaces(all, headerSize, indexOffset, refuse)
  const index = knownBlocks(all)
  const slotsPerLane = new Uint32Array(aligned(slots))
  checkRows(index, totals, maxRows, slotsPerLane, refuse)
  return { index, totals, slotsPerLane, maxRows, headerCrc, headerSize }
}

/** The blocks fill the file from header to index, one after the other. */
function checkPlaces(index: TraceIndex, headerSize: number, end: number, refuse: (what: string) => never): void {
  let offset = headerSize
  for (let block = 0; block < index.count; block++) {
    if (index.offset[block] !== offset) refuse(`block ${block + 1} is not where the block before it ends`)
    offset += index.size[block]!
  }
  if (offset !== end || !(headerSize > 0)) refuse('the blocks do not end where it begins')
}

/** Lanes, rows and windows are in range and order, and add up to the totals. */
function checkRows(
  index: TraceIndex,
  totals: TraceTotals,
  maxRows: number,
  slotsPerLane: Uint32Array,
  refuse: (what: string) => never,
): void {
  const rowsOfKind = BLOCK_KINDS.map(() => 0)
  let most = 0
  let window = 0
  let tickOfWindow = 0
  // The last window that had a block of a kind in a lane; [kind][lane].
  const lastWindow = BLOCK_KINDS.map(() => new Float64Array(LANES).fill(-1))
  for (let block = 0; block < index.count; block++) {
    const kind = index.kind[block]!
    const rows = index.rows[block]!
    if (rows === 0 || rows > MAX_WINDOW_ROWS || index.size[block]! < rows * ROW_BYTES[kind]!) {
      refuse(`block ${block + 1} cannot have ${rows} rows`)
    }
    const lane = index.lane[block]!
    if (lane >= LANES) refuse(`block ${block + 1} is of a lane that there is not`)
    if (index.window[block]! < window) refuse(`block ${block + 1} goes back to an earlier window`)
    window = index.window[block]!
    if (window >= totals.windows) refuse(`block ${block + 1} is of a window that there is not`)
    const inOrder =
      kind === REQUESTS_BLOCK
        ? followsItsPackets(index, block)
        : lastWindow[PACKETS_BLOCK]![lane]! < window && lastWindow[kind]![lane]! < window
    if (!inOrder) refuse(`block ${block + 1} is out of order in its window and lane`)
    lastWindow[kind]![lane] = window
    if (kind === PACKETS_BLOCK) {
      const tick = index.baseTick[block]!
      if (!Number.isSafeInteger(tick) || tick < tickOfWindow) refuse(`block ${block + 1} goes back in time`)
      tickOfWindow = tick
    }
    rowsOfKind[kind]! += rows
    most = Math.max(most, rows)
  }
  if (
    rowsOfKind[PACKETS_BLOCK] !== totals.packets ||
    rowsOfKind[CONNECTIONS_BLOCK] !== totals.connections ||
    most !== maxRows ||
    slotsPerLane.reduce((sum, slots) => sum + slots, 0) > totals.connections
  ) {
    refuse('its totals are not those of the blocks')
  }
}

/** The block before a requests block has the packets that its rows name, no fewer than it has rows. */
function followsItsPackets(index: TraceIndex, block: number): boolean {
  const before = block - 1
  return (
    before >= 0 &&
    index.kind[before] === PACKETS_BLOCK &&
    index.lane[before] === index.lane[block] &&
    index.window[before] === index.window[block] &&
    index.rows[before]! >= index.rows[block]!
  )
}

/** Blocks of kinds that this version does not know are stepped over. */
function knownBlocks(index: TraceIndex): TraceIndex {
  const known = (_: number, block: number): boolean => index.kind[block]! < BLOCK_KINDS.length
  const kind = index.kind.filter(known)
  if (kind.length === index.count) return index
  return {
    count: kind.length,
    kind,
    lane: index.lane.filter(known),
    window: index.window.filter(known),
    offset: index.offset.filter(known),
    size: index.size.filter(known),
    rows: index.rows.filter(known),
    baseTick: index.baseTick.filter(known),
  }
}

/** A copy of bytes at the start of a buffer of their own, for a typed array to look at. */
function aligned(bytes: Uint8Array): ArrayBuffer {
  const copy = new ArrayBuffer(bytes.length)
  new Uint8Array(copy).set(bytes)
  return copy
}
