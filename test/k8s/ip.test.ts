import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import {
  canonicalIp,
  cidrContains,
  commonCidr,
  formatIpv4,
  ipFamily,
  ipFromBigInt,
  ipToBigInt,
  parseCidr,
  parseIpv4,
} from '../../src/k8s/ip.ts'

describe('addresses', () => {
  test.each([
    ['10.0.0.1', '10.0.0.1'],
    ['010.0.0.1', '10.0.0.1'],
    ['001.002.003.004', '1.2.3.4'],
    ['255.255.255.255', '255.255.255.255'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['::', '::'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['fe80::1%eth0', null],
    ['10.0.0', null],
    ['10.0.0.256', null],
    ['10.0.0.1.', null],
    ['10..0.1', null],
    ['1.2.3.4.5', null],
    ['', null],
    ['web', null],
    ['12345', null],
    [':', null],
  ])('%j is %j', (text, canonical) => {
    expect(canonicalIp(text)).toBe(canonical)
  })

  it('keeps every IPv4 address through text and back', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), (value) => {
        expect(parseIpv4(formatIpv4(value))).toBe(value)
        expect(Number(ipToBigInt(formatIpv4(value)))).toBe(value)
      }),
      { seed: 1 },
    )
  })

  it('keeps every IPv6 address through text and back, and its text is canonical', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), (value) => {
        const text = ipFromBigInt(value, 'IPv6')
        expect(ipToBigInt(text)).toBe(value)
        // An IPv4-mapped address is the IPv4 address.
        if (value >> 32n !== 0xffffn) expect(canonicalIp(text.toUpperCase())).toBe(text)
        expect(ipFamily(text)).toBe('IPv6')
      }),
      { seed: 1 },
    )
  })
})

describe('blocks', () => {
  test.each([
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['010.0.0.0/08', '10.0.0.0/8'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['10.0.0.1/32', '10.0.0.1/32'],
    ['2001:db8::5/64', '2001:db8::/64'],
    ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
    ['10.0.0.0/33', null],
    ['10.0.0.0', null],
    ['10.0.0.0/', null],
    ['10.0.0.0/-1', null],
    ['/8', null],
    ['2001:db8::/129', null],
  ])('%j is %j', (text, canonical) => {
    expect(parseCidr(text)?.text ?? null).toBe(canonical)
  })

  test.each([
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.0.0.0/8', '::a00:1', false],
    ['2001:db8::/32', '2001:db8:ffff::1', true],
    ['2001:db8::/32', '2001:db9::', false],
  ])('%s holds %s: %s', (cidr, ip, holds) => {
    expect(cidrContains(parseCidr(cidr)!, ip)).toBe(holds)
  })

  it('finds the smallest common block', () => {
    const common = (...texts: string[]) => commonCidr(texts.map((text) => parseCidr(text)!)).text
    expect(common('10.4.0.0/24', '10.4.1.0/24', '10.4.2.0/24')).toBe('10.4.0.0/22')
    expect(common('10.4.7.0/24')).toBe('10.4.7.0/24')
    expect(common('10.0.0.0/24', '192.168.0.0/24')).toBe('0.0.0.0/0')
  })
})
