/**
 * `ipvsadm -Sn` and `ipvsadm -Ln` → virtual servers; `ipset save` → the sets that ipvs mode's iptables rules look into.
 *
 * Source: ipvsadm(8), ipset(8), and what both print.
 */
import { UserError } from '../../errors.ts'
import { canonicalIp, ipFamily } from '../../k8s/ip.ts'
import type { Family } from '../node-rules.ts'
import type { Line } from './iptables-save.ts'
import { type NamedSet, newSet, parseInterval } from './program.ts'

export interface RealServer {
  readonly address: string
  readonly port: number
  readonly weight: number
}

export interface VirtualServer {
  readonly address: string
  readonly port: number
  readonly protocol: string
  readonly family: Family
  readonly scheduler: string
  /** 0 without. */
  readonly persistentSeconds: number
  readonly line: number
  readonly servers: RealServer[]
}

/** Address, protocol and port as one text. */
export function serverKey(address: string, protocol: string, port: number): string {
  return `${address} ${protocol} ${port}`
}

function splitAddress(text: string): readonly [address: string, port: number] | null {
  const found = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text)
  const address = found === null ? null : canonicalIp(found[1] ?? found[2]!)
  return address === null ? null : [address, Number(found![3])]
}

const SERVICE_FLAGS: Readonly<Record<string, string>> = {
  '-t': 'tcp',
  '--tcp-service': 'tcp',
  '-u': 'udp',
  '--udp-service': 'udp',
  '--sctp-service': 'sctp',
}

type Fail = (problem: string) => never

/**
 * Both of ipvsadm's formats: commands (`-A -t 10.96.0.1:443 -s rr`, `-a … -r …`) and the list (`TCP  10.96.0.1:443 rr`, `-> …`).
 *
 * @throws UserError `E_DUMP`  for lines that ipvsadm does not print
 */
export function readIpvs(lines: readonly Line[], file: string): Map<string, VirtualServer> {
  const servers = new Map<string, VirtualServer>()
  let current: VirtualServer | null = null
  for (const { text, number } of lines) {
    const words = text.trim().split(/\s+/)
    const fail: Fail = (problem) => {
      throw new UserError('E_DUMP', `${problem}: ${text.trim().slice(0, 120)}`, { where: `${file}, line ${number}` })
    }
    const [first = '', second = '', third = ''] = words
    if (isHeading(first, second)) continue
    const isListed = /^(TCP|UDP|SCTP)$/.test(first)
    const protocol = isListed ? first.toLowerCase() : SERVICE_FLAGS[second]
    // Virtual servers by firewall mark are not kube-proxy's.
    if (first === '-A' && protocol === undefined) current = null
    else if (first === '-A' || isListed) {
      current = virtualServer(words, protocol!, isListed, number, fail)
      servers.set(serverKey(current.address, current.protocol, current.port), current)
    } else if (first === '-a') {
      if (protocol === undefined) continue
      const [address, port] = splitAddress(third) ?? fail('no address and port')
      current = servers.get(serverKey(address, protocol, port)) ?? fail('a real server of no virtual server')
      const [real, realPort] = splitAddress(option(words, '-r') ?? '') ?? fail('no real server')
      current.servers.push({ address: real, port: realPort, weight: Number(option(words, '-w') ?? 1) })
    } else if (first === '->') {
      const [real, realPort] = splitAddress(second) ?? fail('no address and port')
      current?.servers.push({ address: real, port: realPort, weight: Number(words[3] ?? 1) })
    } else fail('this is no line of ipvsadm -Sn')
  }
  return servers
}

/** Blank lines, comments, and what the list has above its columns. */
function isHeading(first: string, second: string): boolean {
  return first === '' || first.startsWith('#') || first === 'IP' || first === 'Prot' || second === 'RemoteAddress:Port'
}

function virtualServer(
  words: readonly string[],
  protocol: string,
  isListed: boolean,
  line: number,
  fail: Fail,
): VirtualServer {
  const [, second = '', third = ''] = words
  const [address, port] = splitAddress(isListed ? second : third) ?? fail('no address and port')
  const persistent = option(words, isListed ? 'persistent' : '-p')
  return {
    address,
    port,
    protocol,
    family: ipFamily(address),
    scheduler: (isListed ? third : option(words, '-s')) ?? '',
    // ipvsadm(8): 360 where a line says -p and no number.
    persistentSeconds: persistent === undefined ? 0 : /^\d+$/.test(persistent) ? Number(persistent) : 360,
    line,
    servers: [],
  }
}

/** The word behind an option. */
function option(words: readonly string[], name: string): string | undefined {
  const at = words.indexOf(name)
  return at < 0 ? undefined : words[at + 1]
}

/** @throws UserError `E_DUMP`  for lines that `ipset save` does not print */
export function readIpset(lines: readonly Line[], file: string): Map<string, NamedSet> {
  const sets = new Map<string, NamedSet>()
  for (const { text, number } of lines) {
    const [what = '', name = '', value = ''] = text.trim().split(/\s+/)
    if (what === '' || what.startsWith('#')) continue
    const fail = (problem: string): never => {
      throw new UserError('E_DUMP', `${problem}: ${text.trim().slice(0, 120)}`, { where: `${file}, line ${number}` })
    }
    if (what === 'create') {
      sets.set(name, newSet((value.split(':')[1] ?? fail('a set without a type')).split(',')))
      continue
    }
    const set = sets.get(name) ?? fail('a member of no set')
    const parts = value.split(',')
    if (set.parts.at(-1) === 'net') {
      const interval = parseInterval(parts.at(-1)!) ?? fail('no network')
      const before = parts.slice(0, -1).map(canonical).join(',')
      const list = set.networks.get(before)
      if (list === undefined) set.networks.set(before, [interval])
      else list.push(interval)
    } else set.members.add(parts.map(canonical).join(','))
  }
  return sets
}

function canonical(part: string): string {
  return canonicalIp(part) ?? part.toLowerCase()
}
