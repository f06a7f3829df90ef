/** Numbers for names: handed out once, never changed, and readable again. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Registry } from '../../src/compile/registry.ts'
import { canonicalIp } from '../../src/k8s/ip.ts'

const SEED = 20_270

describe('addresses', () => {
  test('of a trace keep the numbers of its table: IPv4 first, then IPv6', () => {
    const registry = new Registry()
    registry.preload(
      Uint8Array.from([10, 0, 0, 1, 203, 0, 113, 7]),
      Uint8Array.from([0x20, 1, 0xd, 0xb8, ...Array<number>(11).fill(0), 5]),
    )
    expect(registry.addressCount).toBe(3)
    expect([0, 1, 2].map((id) => registry.addressText(id))).toEqual(['10.0.0.1', '203.0.113.7', '2001:db8::5'])
    expect(registry.address('203.0.113.7')).toBe(1)
    expect(registry.address('2001:db8::5')).toBe(2)
    expect(registry.address('10.0.0.2')).toBe(3)
  })

  test('of a trace may lie anywhere in a larger buffer', () => {
    const bytes = Uint8Array.from([9, 9, 9, 0x20, 1, 0xd, 0xb8, ...Array<number>(11).fill(0), 6, 9])
    const registry = new Registry()
    registry.preload(new Uint8Array(0), bytes.subarray(3, 19))
    expect(registry.addressText(0)).toBe('2001:db8::6')
  })

  test('can be taken in only before others have numbers', () => {
    const registry = new Registry()
    registry.address('10.0.0.1')
    expect(() => registry.preload(new Uint8Array(4), new Uint8Array(0))).toThrow()
  })

  test('get one number each, whatever the order and however many', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.ipV4(), fc.ipV6()), { minLength: 1, maxLength: 300 }), (texts) => {
        const registry = new Registry()
        const ids = new Map<string, number>()
        for (const text of texts.map((one) => canonicalIp(one)).filter((one) => one !== null)) {
          const id = registry.address(text)
          expect(id).toBe(ids.get(text) ?? ids.size)
          ids.set(text, id)
        }
        expect(registry.addressCount).toBe(ids.size)
        for (const [text, id] of ids) {
          expect(registry.addressText(id)).toBe(text)
          expect(registry.isIpv4(id)).toBe(!text.includes(':'))
        }
      }),
      { seed: SEED },
    )
  })

  test('are four words each, IPv4 mapped into IPv6', () => {
    const registry = new Registry()
    registry.address('10.1.2.3')
    registry.address('2001:db8::ff')
    expect([...registry.addressWords()].map((word) => word >>> 0)).toEqual([
      0, 0, 0xffff, 0x0a010203, 0x20010db8, 0, 0, 0xff,
    ])
    expect(registry.lowWord(0)).toBe(0x0a010203)
  })
})

describe('text by RFC 5952', () => {
  test.each([
    ['::'],
    ['::1'],
    ['2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1::1'],
    ['2001:db8::1:0:0:1'],
    ['1::'],
    ['fe80::1:2:3:4'],
    ['1:2:3:4:5:6:7:8'],
    ['0.0.0.0'],
    ['255.255.255.255'],
  ])('%s', (text) => {
    const registry = new Registry()
    expect(registry.addressText(registry.address(text))).toBe(text)
  })

  test('with a port, IPv6 stands in brackets', () => {
    const registry = new Registry()
    expect(registry.addressPort(registry.address('10.0.0.1'), 80)).toBe('10.0.0.1:80')
    expect(registry.addressPort(registry.address('2001:db8::1'), 80)).toBe('[2001:db8::1]:80')
  })
})

describe('identities stay when the cluster changes', () => {
  test('frontends, service ports and endpoints are found again under their number', () => {
    const registry = new Registry()
    const web = { namespace: 'default', service: 'web', port: 'http', family: 'IPv4' } as const
    const ports = [
      registry.servicePort(web),
      registry.servicePort({ ...web, family: 'IPv6' }),
      registry.servicePort({ ...web, port: 'metrics' }),
      registry.servicePort({ ...web, namespace: 'other' }),
    ]
    expect(ports).toEqual([0, 1, 2, 3])
    expect(registry.servicePort({ ...web })).toBe(0)
    expect(registry.servicePortText(3)).toBe('other/web:http')

    const pod = registry.address('10.1.0.5')
    expect(registry.endpoint(0, pod, 8080)).toBe(0)
    expect(registry.endpoint(0, pod, 8081)).toBe(1)
    expect(registry.endpoint(1, pod, 8080)).toBe(2)
    expect(registry.endpoint(0, pod, 8080)).toBe(0)
    expect(registry.endpointText(1)).toBe('10.1.0.5:8081')

    expect(registry.frontend(pod, 80, 6)).toBe(0)
    expect(registry.frontend(pod, 80, 17)).toBe(1)
    expect(registry.frontend(-2, 80, 6)).toBe(2)
    expect(registry.frontend(pod, 80, 6)).toBe(0)
  })
})
