/**
 * The TCP state table as it was measured on Linux 6.18 by raw packet injection, in words.
 *
 * One cell is taken from the walk of a refused connection in place of the table: a RST of the client in SYN_SENT deletes the
 * entry, as the server's does.
 */

/** Columns of the table. */
export const TCP_STATES = [
  'no entry',
  'SYN_SENT',
  'SYN_RECV',
  'ESTABLISHED',
  'FIN_WAIT',
  'CLOSE_WAIT',
  'LAST_ACK',
  'TIME_WAIT',
  'CLOSE by client',
  'CLOSE by server',
  'SYN_SENT2',
] as const

export type TcpState = (typeof TCP_STATES)[number]
/** A state, or what else can come of a packet. */
export type TcpOutcome = TcpState | 'invalid' | 'ignored' | 'new entry' | 'entry deleted'
export type TcpPacket = 'SYN' | 'SYN+ACK' | 'FIN' | 'ACK' | 'RST' | 'no flag'
export type Sender = 'client' | 'server'

type Cells = readonly TcpOutcome[]
const all = (outcome: TcpOutcome): Cells => TCP_STATES.map(() => outcome)

/** One row per packet; the columns are the states in the order of `TCP_STATES`. */
export const TCP_TABLE: readonly (readonly [from: Sender, packet: TcpPacket, cells: Cells])[] = [
  [
    'client',
    'SYN',
    [
      'SYN_SENT',
      'SYN_SENT',
      'ignored',
      'ignored',
      'ignored',
      'ignored',
      'ignored',
      'new entry',
      'new entry',
      'ignored',
      'SYN_SENT2',
    ],
  ],
  [
    'client',
    'SYN+ACK',
    [
      'invalid',
      'invalid',
      'SYN_RECV',
      'invalid',
      'invalid',
      'invalid',
      'invalid',
      'invalid',
      'invalid',
      'invalid',
      'SYN_RECV',
    ],
  ],
  [
    'client',
    'FIN',
    [
      'invalid',
      'invalid',
      'FIN_WAIT',
      'FIN_WAIT',
      'LAST_ACK',
      'LAST_ACK',
      'LAST_ACK',
      'TIME_WAIT',
      'CLOSE by client',
      'CLOSE by server',
      'invalid',
    ],
  ],
  [
    'client',
    'ACK',
    [
      'ESTABLISHED',
      'invalid',
      'ESTABLISHED',
      'ESTABLISHED',
      'CLOSE_WAIT',
      'CLOSE_WAIT',
      'TIME_WAIT',
      'TIME_WAIT',
      'CLOSE by client',
      'CLOSE by server',
      'invalid',
    ],
  ],
  [
    'client',
    'RST',
    [
      'invalid',
      'entry deleted',
      'CLOSE by client',
      'CLOSE by client',
      'CLOSE by client',
      'CLOSE by client',
      'CLOSE by client',
      'CLOSE by client',
      'CLOSE by client',
      'CLOSE by client',
      'CLOSE by client',
    ],
  ],
  ['client', 'no flag', all('invalid')],
  [
    'server',
    'SYN',
    [
      'SYN_SENT',
      'SYN_SENT2',
      'invalid',
      'invalid',
      'invalid',
      'invalid',
      'invalid',
      'new entry',
      'invalid',
      'invalid',
      'SYN_SENT2',
    ],
  ],
  [
    'server',
    'SYN+ACK',
    [
      'invalid',
      'SYN_RECV',
      'ignored',
      'ignored',
      'ignored',
      'ignored',
      'ignored',
      'ignored',
      'ignored',
      'ignored',
      'SYN_RECV',
    ],
  ],
  [
    'server',
    'FIN',
    [
      'invalid',
      'invalid',
      'FIN_WAIT',
      'FIN_WAIT',
      'LAST_ACK',
      'LAST_ACK',
      'LAST_ACK',
      'TIME_WAIT',
      'CLOSE by client',
      'CLOSE by server',
      'invalid',
    ],
  ],
  [
    'server',
    'ACK',
    [
      'ESTABLISHED',
      'ignored',
      'SYN_RECV',
      'ESTABLISHED',
      'CLOSE_WAIT',
      'CLOSE_WAIT',
      'TIME_WAIT',
      'TIME_WAIT',
      'CLOSE by client',
      'CLOSE by server',
      'ignored',
    ],
  ],
  [
    'server',
    'RST',
    [
      'invalid',
      'entry deleted',
      'CLOSE by server',
      'CLOSE by server',
      'CLOSE by server',
      'CLOSE by server',
      'CLOSE by server',
      'CLOSE by server',
      'CLOSE by server',
      'CLOSE by server',
      'CLOSE by server',
    ],
  ],
  ['server', 'no flag', all('invalid')],
]

/** What a packet does to an entry in a state, or to none. */
export function tcpOutcome(from: Sender, packet: TcpPacket, state: TcpState): TcpOutcome {
  const row = TCP_TABLE.find((one) => one[0] === from && one[1] === packet)!
  return row[2][TCP_STATES.indexOf(state)]
}

/** Kind of a packet by its flags: RST first, then SYN, FIN, ACK (RFC 9293 §3.1 for the bits). */
export function tcpPacket(flags: number): TcpPacket {
  if (flags & 4) return 'RST'
  if (flags & 2) return flags & 16 ? 'SYN+ACK' : 'SYN'
  if (flags & 1) return 'FIN'
  return flags & 16 ? 'ACK' : 'no flag'
}
