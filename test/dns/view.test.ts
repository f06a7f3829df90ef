/** Expressions of CoreDNS' view plugin: rows, what is not read, and any text. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseView, type ViewQuestion } from '../../src/dns/view.ts'

const ASKED: ViewQuestion = {
  qname: 'abc.x.example.com.',
  qtype: 'A',
  client: '10.244.1.20',
  metadata: (label) => (label === 'kubernetes/client-namespace' ? 'shop' : ''),
}

describe('expressions', () => {
  it.each([
    ["incidr(client_ip(), '10.244.0.0/16')", true],
    ["incidr(client_ip(), '10.245.0.0/16')", false],
    ["incidr(client_ip(), 'no range')", false],
    ["type() in ['A', 'AAAA']", true],
    ["type() not in ['A', 'AAAA']", false],
    ["name() matches '^abc\\\\..*\\\\.example\\\\.com\\\\.$'", true],
    ["(type() == 'AAAA' && name() == 'x') || client_ip() == '10.244.1.20'", true],
    ["metadata('kubernetes/client-namespace') == 'shop' and not (type() == 'MX')", true],
    ["metadata('kubernetes/client-pod-name') != ''", false],
    ["!incidr(client_ip(), '0.0.0.0/0')", false],
    ['name() endsWith ".example.com." and name() startsWith "abc" and name() contains ".x."', true],
  ])('%s', (text, holds) => {
    expect(parseView(text, 1)?.(ASKED)).toBe(holds)
  })
  it('finds an unknown client in no range', () => {
    expect(parseView("incidr(client_ip(), '0.0.0.0/0')", 1)?.({ ...ASKED, client: '' })).toBe(false)
  })
  it.each(['size() > 3', 'len(name()) == 3', "type() == 'A", 'type()', 'constructor()', "type() ? 'a' : 'b'"])(
    'does not take for true what it does not read: %s',
    (text) => {
      expect(parseView(text, 1)?.(ASKED) ?? false).toBe(false)
    },
  )
  it('never throws, whatever the text', () => {
    const words = fc.constantFrom(
      'type()',
      'name()',
      '(',
      ')',
      '[',
      ']',
      ',',
      '==',
      'in',
      'not',
      '!',
      '&&',
      'or',
      "'A'",
      '1',
      'x',
    )
    fc.assert(
      fc.property(fc.array(words, { maxLength: 12 }), (parts) => {
        expect([true, false, undefined]).toContain(parseView(parts.join(' '), 1)?.(ASKED))
      }),
      { seed: 5, numRuns: 2000 },
    )
  })
})
