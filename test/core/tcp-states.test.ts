/** The connection tracking state machine, cell by cell. */
import { describe, expect, test } from 'vitest'
import {
  CLOSE_BY_CLIENT,
  CLOSE_BY_SERVER,
  CLOSE_WAIT,
  DELETE,
  ESTABLISHED,
  FIN_WAIT,
  FLAG_CLASS,
  GENERIC,
  IGNORED,
  INVALID,
  LAST_ACK,
  PROTOCOL_TCP,
  REOPEN,
  STATE_COUNT,
  STATE_NAMES,
  SYN_RECV,
  SYN_SENT,
  SYN_SENT2,
  TCP_ACK,
  TCP_FIN,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
  TIME_WAIT,
  TRANSITIONS,
  UDP_REPLIED,
  UDP_STREAM,
  UDP_UNREPLIED,
} from '../../native-free-core/index.ts'
import { PROTOCOL_SCTP, PROTOCOL_UDP } from '../../native-free-core/packet.ts'
import {
  BY_AGE,
  CLASS_ACK,
  CLASS_FIN,
  CLASS_NONE,
  CLASS_RST,
  CLASS_SYN,
  CLASS_SYNACK,
  initialState,
  NONE,
} from '../../native-free-core/tcp-states.ts'
import { TCP_STATES, TCP_TABLE } from './tcp-table.ts'

const STATES = {
  'no entry': NONE,
  SYN_SENT,
  SYN_RECV,
  ESTABLISHED,
  FIN_WAIT,
  CLOSE_WAIT,
  LAST_ACK,
  TIME_WAIT,
  'CLOSE by client': CLOSE_BY_CLIENT,
  'CLOSE by server': CLOSE_BY_SERVER,
  SYN_SENT2,
} as const

const OUTCOMES: Readonly<Record<string, number>> = {
  ...STATES,
  invalid: INVALID,
  ignored: IGNORED,
  'new entry': REOPEN,
  'entry deleted': DELETE,
}

const CLASSES: Readonly<Record<string, number>> = {
  SYN: CLASS_SYN,
  'SYN+ACK': CLASS_SYNACK,
  FIN: CLASS_FIN,
  ACK: CLASS_ACK,
  RST: CLASS_RST,
  'no flag': CLASS_NONE,
}

function outcome(from: 'client' | 'server', flagClass: number, state: number): number {
  return TRANSITIONS[(((from === 'client' ? 0 : 1) * 6 + flagClass) << 4) | state]
}

describe('TCP', () => {
  const rows = TCP_TABLE.flatMap(([from, packet, cells]) =>
    TCP_STATES.map((state, i) => ({ from, packet, state, expected: cells[i] })),
  )

  test('the table has 2 directions, 6 kinds of packets and 11 states', () => {
    expect(rows).toHaveLength(132)
    expect(rows.every(({ expected }) => expected in OUTCOMES)).toBe(true)
  })

  test.each(rows)('$packet by the $from on $state: $expected', ({ from, packet, state, expected }) => {
    expect(outcome(from, CLASSES[packet], STATES[state])).toBe(OUTCOMES[expected])
  })

  test.each([
    [
      'a refused connection: SYN, then RST by the server',
      [
        ['client', 'SYN', 'SYN_SENT'],
        ['server', 'RST', 'entry deleted'],
      ],
    ],
    [
      'a whole connection closed by the client',
      [
        ['client', 'SYN', 'SYN_SENT'],
        ['server', 'SYN+ACK', 'SYN_RECV'],
        ['client', 'ACK', 'ESTABLISHED'],
        ['server', 'ACK', 'ESTABLISHED'],
        ['client', 'FIN', 'FIN_WAIT'],
        ['server', 'ACK', 'CLOSE_WAIT'],
        ['server', 'FIN', 'LAST_ACK'],
        ['client', 'ACK', 'TIME_WAIT'],
        ['client', 'SYN', 'new entry'],
      ],
    ],
    [
      'a retransmitted FIN of the same side moves on as the other side’s would',
      [
        ['client', 'SYN', 'SYN_SENT'],
        ['server', 'SYN+ACK', 'SYN_RECV'],
        ['client', 'ACK', 'ESTABLISHED'],
        ['client', 'FIN', 'FIN_WAIT'],
        ['client', 'FIN', 'LAST_ACK'],
      ],
    ],
    [
      'simultaneous open',
      [
        ['client', 'SYN', 'SYN_SENT'],
        ['server', 'SYN', 'SYN_SENT2'],
        ['client', 'SYN+ACK', 'SYN_RECV'],
        ['server', 'SYN+ACK', 'ignored'],
        ['client', 'ACK', 'ESTABLISHED'],
      ],
    ],
  ] as const)('%s', (_name, walk) => {
    let state: number = NONE
    for (const [from, packet, expected] of walk) {
      const next = outcome(from, CLASSES[packet], state)
      expect(next, `${packet} by the ${from} on ${STATE_NAMES[state]}`).toBe(OUTCOMES[expected])
      if (next < STATE_COUNT) state = next
    }
  })
})

describe('kind of a TCP packet: RST first, then SYN, FIN, ACK', () => {
  const names = Object.keys(CLASSES)
  test.each([
    [TCP_RST, 'RST'],
    [TCP_RST | TCP_ACK, 'RST'],
    [TCP_RST | TCP_SYN, 'RST'],
    [TCP_RST | TCP_FIN | TCP_SYN | TCP_ACK, 'RST'],
    [TCP_SYN, 'SYN'],
    [TCP_SYN | TCP_FIN, 'SYN'],
    [TCP_SYN | TCP_ACK, 'SYN+ACK'],
    [TCP_SYN | TCP_ACK | TCP_FIN, 'SYN+ACK'],
    [TCP_FIN, 'FIN'],
    [TCP_FIN | TCP_ACK, 'FIN'],
    [TCP_FIN | TCP_ACK | TCP_PSH, 'FIN'],
    [TCP_ACK, 'ACK'],
    [TCP_ACK | TCP_PSH, 'ACK'],
    [TCP_PSH, 'no flag'],
    [0, 'no flag'],
  ])('flags %i count as %s', (flags, name) => {
    expect(names[FLAG_CLASS[flags]]).toBe(name)
  })
})

describe('UDP', () => {
  test.each([
    ['client', 'no reply seen', UDP_UNREPLIED, UDP_UNREPLIED],
    ['server', 'no reply seen', UDP_UNREPLIED, UDP_REPLIED],
    ['client', 'reply seen', UDP_REPLIED, BY_AGE],
    ['server', 'reply seen', UDP_REPLIED, BY_AGE],
    ['client', 'stream', UDP_STREAM, UDP_STREAM],
    ['server', 'stream', UDP_STREAM, UDP_STREAM],
  ] as const)('a datagram of the %s with %s', (from, _words, state, expected) => {
    expect(outcome(from, CLASS_NONE, state)).toBe(expected)
  })

  test('other protocols keep their one state', () => {
    expect(outcome('client', CLASS_NONE, GENERIC)).toBe(GENERIC)
    expect(outcome('server', CLASS_NONE, GENERIC)).toBe(GENERIC)
  })
})

describe('first packet of a connection', () => {
  test.each([
    ['TCP SYN', PROTOCOL_TCP, CLASS_SYN, SYN_SENT, SYN_SENT],
    ['TCP ACK, a connection under way', PROTOCOL_TCP, CLASS_ACK, ESTABLISHED, INVALID],
    ['TCP SYN+ACK', PROTOCOL_TCP, CLASS_SYNACK, INVALID, INVALID],
    ['TCP FIN', PROTOCOL_TCP, CLASS_FIN, INVALID, INVALID],
    ['TCP RST', PROTOCOL_TCP, CLASS_RST, INVALID, INVALID],
    ['TCP without flags', PROTOCOL_TCP, CLASS_NONE, INVALID, INVALID],
    ['UDP', PROTOCOL_UDP, CLASS_NONE, UDP_UNREPLIED, UDP_UNREPLIED],
    ['SCTP', PROTOCOL_SCTP, CLASS_NONE, GENERIC, GENERIC],
  ] as const)('%s', (_name, protocol, flagClass, loose, strict) => {
    expect(initialState(protocol, flagClass, true)).toBe(loose)
    expect(initialState(protocol, flagClass, false)).toBe(strict)
  })
})

test('every state has a name', () => {
  expect(STATE_NAMES).toHaveLength(STATE_COUNT)
})
