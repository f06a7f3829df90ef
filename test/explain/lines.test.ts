/** The lines of `--packets`: what may stand in them, what comes back, and what is said of a bad one. */
import { describe, expect, test } from 'vitest'
import { explain, failure, lines } from './support.ts'

const PACKET = { from: '10.244.1.9', to: '10.96.0.20:80' }
const TIMED = { time: 0, from: '10.244.1.9:40000', to: '10.96.0.20:80' }

describe('lines', () => {
  test('one answer a line, in order, with its id; a line without one has its number', () => {
    const answers = lines([{ id: 'a', ...PACKET }, '', { ...PACKET }, { id: 7, ...PACKET }, { id: null, ...PACKET }])
    expect(answers.map(({ id }) => id)).toEqual(['a', 3, 7, null])
    expect(answers.every(({ verdict }) => verdict === 'dnat')).toBe(true)
  })

  test('the fields come in the order of the contract', () => {
    const { stdout } = explain({ packets: '-' }, JSON.stringify({ id: 'a', ...PACKET }))
    expect(Object.keys(JSON.parse(stdout) as object)).toEqual([
      'schemaVersion',
      'id',
      'verdict',
      'endpoints',
      'masquerade',
      'seen',
      'reason',
      'service',
      'frontend',
      'node',
      'steps',
    ])
  })

  test('names, nodes and protocols in any case', () => {
    const answers = lines([
      { from: 'shop/client', to: 'web:http', protocol: 'TCP', node: 'n2' },
      { from: '10.244.1.9', to: '10.96.0.53:53', protocol: 'Udp' },
    ])
    expect(answers.map(({ service, node }) => [service, node])).toEqual([
      ['shop/web:http', 'n2'],
      ['shop/dns:dns', 'n1'],
    ])
  })

  test('--node counts for lines that name none', () => {
    const answers = lines([PACKET, { ...PACKET, node: 'n1' }], { node: 'n2' })
    expect(answers.map(({ node }) => node)).toEqual(['n2', 'n1'])
  })

  test('no line, no answer', () => expect(explain({ packets: '-' }, '\n\n').stdout).toBe(''))

  test('windows line ends and a byte order mark', () => {
    const text = `\uFEFF${JSON.stringify(PACKET)}\r\n${JSON.stringify(PACKET)}\r\n`
    expect(explain({ packets: '-' }, text).stdout.split('\n')).toHaveLength(3)
  })
})

describe('bad lines name file and line, and nothing is written', () => {
  const at = '@standard input, line 2'
  test.each<[string, string | object, string]>([
    ['no JSON', '{"from":', `E_PACKETS 3 the line is not JSON ${at}`],
    ['no object', '[1]', `E_PACKETS 3 the line is not a JSON object ${at}`],
    ['no from', { to: PACKET.to }, `E_PACKETS 3 from is missing ${at}`],
    ['no to', { from: PACKET.from }, `E_PACKETS 3 to is missing ${at}`],
    ['from that is no text', { from: 5, to: PACKET.to }, `E_PACKETS 3 from is not text ${at}`],
    ['an id of another kind', { id: {}, ...PACKET }, `E_PACKETS 3 id is neither text nor a number ${at}`],
    [
      'an unknown protocol',
      { ...PACKET, protocol: 'icmp' },
      `E_PACKETS 3 protocol "icmp" is not tcp, udp or sctp ${at}`,
    ],
    ['an unknown node', { ...PACKET, node: 'n9' }, `E_PACKETS 3 there is no node n9 ${at} (did you mean n1?)`],
    [
      'an unknown pod',
      { from: 'shop/clint', to: PACKET.to },
      `E_PACKETS 3 there is no pod shop/clint ${at} (did you mean shop/client?)`,
    ],
    ['no port', { from: PACKET.from, to: '10.96.0.20' }, `E_PACKETS 3 10.96.0.20 needs a port ${at}`],
    ['a URL that is none', { url: 'gopher://x' }, `E_PACKETS 3 "gopher://x" is not an http or https URL ${at}`],
    ['a change without --stateful', { apply: {} }, `E_PACKETS 3 a line with apply or delete needs --stateful ${at}`],
    ['flags without --stateful', { ...PACKET, flags: 'SYN' }, `E_PACKETS 3 flags and direction need --stateful ${at}`],
  ])('%s', (_, bad, message) => {
    const text = [PACKET, bad].map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n')
    let stdout = ''
    const run = (): void => {
      stdout = explain({ packets: '-' }, text).stdout
    }
    expect(failure(run).slice(0, message.length)).toBe(message)
    expect(stdout).toBe('')
  })

  test.each<[string, object, string]>([
    [
      'no time',
      { from: TIMED.from, to: TIMED.to },
      `E_PACKETS 3 time is missing: seconds, with --stateful on every line ${at}`,
    ],
    ['time that is no number', { ...TIMED, time: 'now' }, `E_PACKETS 3 time is not a number of seconds ${at}`],
    ['time that goes back', { ...TIMED, time: 4 }, `E_PACKETS 3 time 4 lies before the line before it (5) ${at}`],
    [
      'time that runs away',
      { ...TIMED, time: 1e9 },
      `E_PACKETS 3 time 1000000000 is more than 1500000 seconds after the first line's ${at}`,
    ],
    ['no source port', { ...TIMED, time: 5, from: '10.244.1.9' }, `E_PACKETS 3 from has no port`],
    [
      'an unknown flag',
      { ...TIMED, time: 5, flags: 'SYM' },
      `E_PACKETS 3 'SYM' is not a TCP flag: FIN, SYN, RST, PSH, ACK ${at}`,
    ],
    [
      'an unknown direction',
      { ...TIMED, time: 5, direction: 'back' },
      `E_PACKETS 3 direction "back" is not original or reply ${at}`,
    ],
    [
      'a change to nothing',
      { time: 5, delete: { kind: 'Service', name: 'nope' } },
      `E_CHANGE 3 there is no Service default/nope to delete ${at}`,
    ],
    ['an object that is broken', { time: 5, apply: { apiVersion: 'v1', kind: 'Service' } }, 'E_MANIFEST_FIELD 3'],
    [
      'both at once',
      { time: 5, apply: {}, delete: {} },
      `E_CHANGE 3 a change has exactly one of apply and delete ${at}`,
    ],
  ])('with --stateful: %s', (_, bad, message) => {
    const run = (): unknown => lines([{ ...TIMED, time: 5 }, bad], { stateful: true })
    expect(failure(run).slice(0, message.length)).toBe(message)
  })
})
