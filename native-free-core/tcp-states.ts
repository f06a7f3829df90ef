/**
 * The connection tracking state machine: what a packet does to an entry, by direction, flags and present state.
 *
 * Layout: `TRANSITIONS[(direction * 6 + flag class) << 4 | state]` gives the new state (0..15) or one of the special
 * outcomes (16 and up). TCP's cells are those measured on Linux 6.18 by raw packet injection; the class of a packet is
 * decided RST first, then SYN (with or without ACK), FIN, ACK, none. UDP and the generic protocols live in the same
 * table, under the class `none`, so that the fast path asks one question only.
 * Cost: one byte read. Source: linux net/netfilter/nf_conntrack_proto_tcp.c, nf_conntrack_proto_udp.c and measurement.
 */
import { PROTOCOL_TCP, PROTOCOL_UDP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from './packet.ts'

export const NONE = 0
export const SYN_SENT = 1
export const SYN_RECV = 2
export const ESTABLISHED = 3
export const FIN_WAIT = 4
export const CLOSE_WAIT = 5
export const LAST_ACK = 6
export const TIME_WAIT = 7
/** CLOSE after a RST by the original direction; a new SYN replaces the entry. */
export const CLOSE_BY_CLIENT = 8
/** CLOSE after a RST by the reply direction; a new SYN is ignored and travels on the old mapping. */
export const CLOSE_BY_SERVER = 9
export const SYN_SENT2 = 10
/** UDP: no reply seen yet; 30 s. */
export const UDP_UNREPLIED = 11
/** UDP: a reply was seen, the entry is younger than two seconds or saw nothing since; 30 s. */
export const UDP_REPLIED = 12
/** UDP: traffic after a reply and more than two seconds after the entry was made; 120 s, assured. */
export const UDP_STREAM = 13
/** SCTP and everything else: one timeout, assured by a reply. */
export const GENERIC = 14

export const STATE_COUNT = 15

export const STATE_NAMES: readonly string[] = [
  'NONE',
  'SYN_SENT',
  'SYN_RECV',
  'ESTABLISHED',
  'FIN_WAIT',
  'CLOSE_WAIT',
  'LAST_ACK',
  'TIME_WAIT',
  'CLOSE',
  'CLOSE',
  'SYN_SENT2',
  'UNREPLIED',
  'REPLIED',
  'STREAM',
  'GENERIC',
]

/** Passes, neither state nor timer change. */
export const IGNORED = 16
/** Classified INVALID: state unchanged, the packet is not translated; kube-proxy drops it. */
export const INVALID = 17
/** The entry is finished: delete it and treat the packet as the first of a new connection. */
export const REOPEN = 18
/** The entry is deleted and the packet passes (a refused connection). */
export const DELETE = 19
/** UDP: the new state depends on the entry's age. */
export const BY_AGE = 20

export const CLASS_SYN = 0
export const CLASS_SYNACK = 1
export const CLASS_FIN = 2
export const CLASS_ACK = 3
export const CLASS_RST = 4
export const CLASS_NONE = 5

/** Flag class of the six TCP flag bits. */
export const FLAG_CLASS: Uint8Array = /* @__PURE__ */ (() => {
  const classes = new Uint8Array(64)
  for (let flags = 0; flags < 64; flags++) {
    classes[flags] =
      (flags & TCP_RST) !== 0
        ? CLASS_RST
        : (flags & TCP_SYN) !== 0
          ? (flags & TCP_ACK) !== 0
            ? CLASS_SYNACK
            : CLASS_SYN
          : (flags & TCP_FIN) !== 0
            ? CLASS_FIN
            : (flags & TCP_ACK) !== 0
              ? CLASS_ACK
              : CLASS_NONE
  }
  return classes
})()

const CELL: Readonly<Record<string, number>> = {
  SS: SYN_SENT,
  SR: SYN_RECV,
  ES: ESTABLISHED,
  FW: FIN_WAIT,
  CW: CLOSE_WAIT,
  LA: LAST_ACK,
  TW: TIME_WAIT,
  CC: CLOSE_BY_CLIENT,
  CS: CLOSE_BY_SERVER,
  S2: SYN_SENT2,
  '=': IGNORED,
  '-': INVALID,
  '*': REOPEN,
  x: DELETE,
}

/**
 * One row per direction and flag class; columns are the states 0..10 above. Differences from the often-quoted table are
 * the kernel's own: a SYN/ACK from the original direction is INVALID unless a simultaneous open is under way.
 * FIN and ACK on CLOSE keep the closer's side, so CC stays CC and CS stays CS.
 */
const TCP_ROWS: readonly (readonly [direction: number, flagClass: number, cells: string])[] = [
  //                      NONE SS SR ES FW CW LA TW CC CS S2
  [0, CLASS_SYN, /*   */ 'SS SS = = = = = * * = S2'],
  [0, CLASS_SYNACK, /**/ '- - SR - - - - - - - SR'],
  [0, CLASS_FIN, /*   */ '- - FW FW LA LA LA TW CC CS -'],
  [0, CLASS_ACK, /*   */ 'ES - ES ES CW CW TW TW CC CS -'],
  [0, CLASS_RST, /*   */ '- x CC CC CC CC CC CC CC CC CC'],
  [0, CLASS_NONE, /*  */ '- - - - - - - - - - -'],
  [1, CLASS_SYN, /*   */ 'SS S2 - - - - - * - - S2'],
  [1, CLASS_SYNACK, /**/ '- SR = = = = = = = = SR'],
  [1, CLASS_FIN, /*   */ '- - FW FW LA LA LA TW CC CS -'],
  [1, CLASS_ACK, /*   */ 'ES = SR ES CW CW TW TW CC CS ='],
  [1, CLASS_RST, /*   */ '- x CS CS CS CS CS CS CS CS CS'],
  [1, CLASS_NONE, /*  */ '- - - - - - - - - - -'],
]

export const TRANSITIONS: Uint8Array = /* @__PURE__ */ (() => {
  const table = new Uint8Array(2 * 6 * 16).fill(INVALID)
  for (const [direction, flagClass, cells] of TCP_ROWS) {
    const row = (direction * 6 + flagClass) << 4
    cells.split(' ').forEach((cell, state) => {
      table[row | state] = CELL[cell]
    })
  }
  for (let direction = 0; direction < 2; direction++) {
    const row = (direction * 6 + CLASS_NONE) << 4
    table[row | UDP_UNREPLIED] = direction === 0 ? UDP_UNREPLIED : UDP_REPLIED
    table[row | UDP_REPLIED] = BY_AGE
    table[row | UDP_STREAM] = UDP_STREAM
    table[row | GENERIC] = GENERIC
  }
  return table
})()

/**
 * `STEADY[packet flags << 4 | state]` is 1 where the packet leaves the state as it is. Packet flags are a byte: the TCP flags in six
 * bits, one that says nothing here, and the direction.
 */
export const STEADY: Uint8Array = /* @__PURE__ */ (() => {
  const table = new Uint8Array(256 * 16)
  for (let flags = 0; flags < 256; flags++) {
    const row = ((flags >> 7) * 6 + FLAG_CLASS[flags & 63]) << 4
    for (let state = 0; state < 16; state++) table[(flags << 4) | state] = TRANSITIONS[row | state] === state ? 1 : 0
  }
  return table
})()

/** First state of an entry made by a packet, or INVALID. TCP's pick-up of a connection under way needs `tcp_loose`. */
export function initialState(protocol: number, flagClass: number, loose: boolean): number {
  if (protocol === PROTOCOL_UDP) return UDP_UNREPLIED
  if (protocol !== PROTOCOL_TCP) return GENERIC
  const state = TRANSITIONS[flagClass << 4]
  if (state === ESTABLISHED && !loose) return INVALID
  return state
}

/** UDP entries younger than this are not promoted to a stream. Source: nf_conntrack_proto_udp.c, measured. */
export const UDP_STREAM_AGE_MS = 2000
