/** Lines as conntrack and the kernel print them. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatLine, parseTable, type TableEntry } from '../../src/conntrack/lines.ts'
import { UserError } from '../../src/errors.ts'

const WEB = {
  original: { source: '10.244.1.5', destination: '10.96.0.10', sourcePort: 40000, destinationPort: 80 },
  reply: { source: '10.244.2.10', destination: '10.244.1.5', sourcePort: 8080, destinationPort: 40000 },
}

describe('one entry in the words of each tool', () => {
  test.each<[string, string, Partial<TableEntry>]>([
    [
      'conntrack -L',
      'tcp      6 431999 ESTABLISHED src=10.244.1.5 dst=10.96.0.10 sport=40000 dport=80 src=10.244.2.10 dst=10.244.1.5 sport=8080 dport=40000 [ASSURED] mark=0 use=1',
      { family: 'IPv4', protocol: 'tcp', seconds: 431_999, state: 'ESTABLISHED', ...WEB },
    ],
    [
      'conntrack -L -o extended',
      'ipv4     2 tcp      6 431999 ESTABLISHED src=10.244.1.5 dst=10.96.0.10 sport=40000 dport=80 src=10.244.2.10 dst=10.244.1.5 sport=8080 dport=40000 [ASSURED] mark=0 use=1',
      { protocol: 'tcp', seconds: 431_999, ...WEB },
    ],
    [
      '/proc/net/nf_conntrack with counters, a zone and a security context',
      'ipv4     2 tcp      6 117 TIME_WAIT src=10.244.1.5 dst=10.96.0.10 sport=40000 dport=80 packets=6 bytes=400 src=10.244.2.10 dst=10.244.1.5 sport=8080 dport=40000 packets=4 bytes=300 [ASSURED] mark=0 secctx=null zone=0 use=2',
      { state: 'TIME_WAIT', ...WEB },
    ],
    [
      'UDP that nobody has answered',
      'udp      17 27 src=10.244.1.5 dst=10.96.0.11 sport=5353 dport=53 [UNREPLIED] src=10.96.0.11 dst=10.244.1.5 sport=53 dport=5353 mark=0 use=1',
      { protocol: 'udp', seconds: 27, state: 'UNREPLIED' },
    ],
    [
      'UDP both ways',
      'udp      17 27 src=10.244.1.5 dst=10.96.0.11 sport=5353 dport=53 src=10.244.2.3 dst=10.244.1.5 sport=53 dport=5353 mark=0 use=1',
      { state: 'REPLIED' },
    ],
    [
      'a UDP stream over IPv6',
      'ipv6     10 udp      17 119 src=fd00:0001::0005 dst=fd00:96::11 sport=5353 dport=53 src=fd00:1::3 dst=fd00:1::5 sport=53 dport=5353 [ASSURED] mark=0 use=1',
      {
        family: 'IPv6',
        state: 'ASSURED',
        original: { source: 'fd00:1::5', destination: 'fd00:96::11', sourcePort: 5353, destinationPort: 53 },
      },
    ],
    [
      'ping',
      'icmp     1 29 src=10.244.1.5 dst=10.244.2.10 type=8 code=0 id=12 src=10.244.2.10 dst=10.244.1.5 type=0 code=0 id=12 mark=0 use=1',
      {
        protocol: 'icmp',
        original: { source: '10.244.1.5', destination: '10.244.2.10', sourcePort: 0, destinationPort: 0 },
      },
    ],
    [
      'a flow that a flowtable has taken over: no timeout, no state',
      'tcp      6 src=10.244.1.5 dst=10.96.0.10 sport=40000 dport=80 src=10.244.2.10 dst=10.244.1.5 sport=8080 dport=40000 [OFFLOAD] mark=0 use=2',
      { seconds: null, state: 'OFFLOAD', ...WEB },
    ],
    [
      'GRE, which has no name here',
      'unknown  47 599 src=192.0.2.1 dst=192.0.2.2 src=192.0.2.2 dst=192.0.2.1 mark=0 use=1',
      { protocol: '47', seconds: 599 },
    ],
  ])('%s', (_name, line, expected) => {
    expect(parseTable(`${line}\n`, 'x')[0]).toMatchObject({ ...expected, line: 1 })
  })

  test('what conntrack says on standard error may be in the file', () => {
    expect(parseTable('\nconntrack v1.4.7 (conntrack-tools): 0 flow entries have been shown.\n', 'x')).toEqual([])
  })
})

test('what is written is read back', () => {
  const line = formatLine(
    { protocol: 'tcp', seconds: 119, state: 'TIME_WAIT', ...WEB },
    { seenReply: true, assured: true },
  )
  expect(line).toBe(
    'tcp      6 119 TIME_WAIT src=10.244.1.5 dst=10.96.0.10 sport=40000 dport=80 src=10.244.2.10 dst=10.244.1.5 sport=8080 dport=40000 [ASSURED] mark=0 use=1',
  )
  expect(parseTable(line, 'x')).toEqual([
    { family: 'IPv4', protocol: 'tcp', seconds: 119, state: 'TIME_WAIT', ...WEB, line: 1 },
  ])
})

describe('what is no entry is refused, with file and line', () => {
  test.each<[string, string]>([
    ['hello', 'this is no line of a conntrack table'],
    ['tcp 6 10 ESTABLISHED src=1.2.3.4 dst=1.2.3.5 sport=1 dport=2', 'there are not two tuples'],
    [
      'tcp 6 10 ESTABLISHED src=1.2.3 dst=1.2.3.5 sport=1 dport=2 src=1.2.3.5 dst=1.2.3.4 sport=2 dport=1',
      'src= is no address',
    ],
    ['tcp 6 10 CLOSE src=1.2.3.4 dst=1.2.3.5 sport=1 dport=99999 src=1.2.3.5 dst=1.2.3.4', 'dport= is no port'],
    [
      '    [NEW] tcp      6 120 SYN_SENT src=1.2.3.4 dst=1.2.3.5 sport=1 dport=2 [UNREPLIED] src=1.2.3.5',
      'this is an event',
    ],
  ])('%s', (line, message) => {
    expect(() => parseTable(`\n${line}\n`, 'table.txt')).toThrow(
      expect.objectContaining({
        code: 'E_CONNTRACK',
        where: 'table.txt, line 2',
        exitCode: 3,
        message: expect.stringContaining(message),
      }),
    )
  })
})

test('any text is entries, or an error that says where', () => {
  const word = fc.constantFrom(
    ...'tcp udp 6 17 ipv4 2 10 ESTABLISHED src=1.2.3.4 dst=fd00::1 src= dst=x sport=1 dport=70000 [ASSURED] [UNREPLIED] [OFFLOAD] mark=0 = [NEW] unknown'.split(
      ' ',
    ),
    '\n',
    '\n',
  )
  fc.assert(
    fc.property(
      fc.oneof(
        fc.array(word, { maxLength: 30 }).map((list) => list.join(' ')),
        fc.string({ maxLength: 80 }),
      ),
      (text) => {
        try {
          for (const { original, reply } of parseTable(text, 'x')) {
            expect(original.sourcePort).toBeLessThan(65_536)
            expect(reply.source).not.toBe('')
          }
        } catch (error) {
          if (!(error instanceof UserError)) throw error
          expect(error.where).toMatch(/^x, line \d+$/)
        }
      },
    ),
    { seed: 20_261, numRuns: 1500 },
  )
})
