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

/** @throws UserError `E_DUMP`  for lines that ipvsadm does not print */
export function readIpvs(lines: readonly Line[], file: string): Map<string, VirtualServer> {
  const servers = new Map<string, VirtualServer>()
  let current: VirtualServer | null = null
  for (const { text, number } of lines) {
    const words = text.trim().split(/\s+/)
    const fail = (what: string): never => {
      throw new UserError('E_DUMP', `${what}: ${text.trim().slice(0, 120)}`, { where: `${file}, line ${number}` })
    }
    const [first, second = '', third = ''] = words
    if (first === '' || first!.startsWith('#') || first === 'IP' || first === 'Prot' || second === 'RemoteAddress:Port')
      continue
    const isListed = /^(TCP|UDP|SCTP)$/.test(first!)
    const protocol = isListed ? first!.toLowerCase() : SERVICE_FLAGS[second]
    // Virtual servers by firewall mark are not kube-proxy's.
    if (first === '-A' && protocol === undefined) {
      current = null
      continue
    }
    const option = (name: string): string | undefined => {
      const at = words.indexOf(name)
      return at < 0 ? undefined : words[at + 1]
    }
    const add = (address: string, port: number, weight: number): void => {
      current?.servers.push({ address, port, weight })
    }
    if (first === '-A' || isListed) {
      const [address, port] = splitAddress(isListed ? second : third) ?? fail('no address and port')
      const persistent = isListed ? option('persistent') : option('-p')
      current = {
        address,
        port,
        protocol: protocol!,
        family: ipFamily(address),
        scheduler: (isListed ? third : option('-s')) ?? '',
        // ipvsadm(8): 360 where a line says -p and no number.
        persistentSeconds: persistent === undefined ? 0 : /^\d+$/.test(persistent) ? Number(persistent) : 360,
        line: number,
        servers: [],
      }
      servers.set(serverKey(address, protocol!, port), current)
    } else if (first === '-a') {
      if (protocol === undefined) continue
      const [address, port] = splitAddress(third) ?? fail('no address and port')
      current = servers.get(serverKey(address, protocol, port)) ?? fail('a real server of no virtual server')
      const [real, realPort] = splitAddress(option('-r') ?? '') ?? fail('no real server')
      add(real, realPort, Number(option('-w') ?? 1))
    } else if (first === '->') {
      const [real, realPort] = splitAddress(second) ?? fail('no address and port')
      add(real, realPort, Number(words[3] ?? 1))
    } else fail('this is no line of ipvsadm -Sn')
  }
  return servers
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
