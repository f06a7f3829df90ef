/**
 * Files of a node's rules, in any mixture, → what kube-proxy has programmed there and in which mode.
 *
 * Each file is taken apart into the sections of its tools, by what the lines look like: `nft list ruleset` (text or -j), `iptables-save`
 * and `ip6tables-save`, `ipvsadm -Sn` or `-Ln`, `ipset save`. Anything else is an error with file and line.
 */
import type { ProxyMode } from '../../compile/kube-proxy.ts'
import { UserError } from '../../errors.ts'
import type { Family } from '../node-rules.ts'
import { iptablesFamily, type Line, readIptables } from './iptables-save.ts'
import { readIpset, readIpvs, type VirtualServer } from './ipvs-save.ts'
import { readNftJson } from './nft-json.ts'
import { readNft } from './nft-text.ts'
import type { NamedSet, Program } from './program.ts'

export interface DumpFile {
  readonly path: string
  readonly text: string
}

export interface Dump {
  readonly mode: ProxyMode
  /** Modes whose rules are there too: what an earlier mode left. */
  readonly leftovers: readonly ProxyMode[]
  /** kube-proxy's packet filter by family; in ipvs mode its iptables rules, where the dump has them. */
  readonly programs: ReadonlyMap<Family, Program>
  /** By address, protocol and port; null outside of ipvs mode. */
  readonly servers: ReadonlyMap<string, VirtualServer> | null
  readonly files: readonly string[]
}

type Tool = 'nft' | 'iptables' | 'ipvs' | 'ipset'

interface Section {
  readonly tool: Tool
  readonly lines: Line[]
}

/** What the files have, whichever mode it belongs to. */
interface Found {
  readonly nft: Map<Family, Program>
  readonly iptables: Map<Family, Program>
  readonly servers: Map<string, VirtualServer>
  readonly sets: Map<string, NamedSet>
  /** kube-proxy's chains of iptables mode are in what nft lists. */
  hasNftKube: boolean
}

/**
 * @param wanted  the mode that is asked for, where a dump has more than one
 * @throws UserError `E_DUMP`  for lines of no tool, and where nothing of kube-proxy is in it
 */
export function readDump(files: readonly DumpFile[], wanted: ProxyMode | null): Dump {
  const found: Found = { nft: new Map(), iptables: new Map(), servers: new Map(), sets: new Map(), hasNftKube: false }
  for (const file of files) readFile(file, found)
  const { nft, iptables, servers, sets } = found
  const present = modesOf(found)
  const mode = wanted ?? present[0]
  const where = files.map(({ path }) => path).join(', ')
  if (mode === undefined || !present.includes(mode)) {
    throw new UserError('E_DUMP', nothingText(wanted, present), {
      where,
      hint: found.hasNftKube
        ? 'these tables belong to iptables: what their rules match is in iptables-save, not in nft list ruleset'
        : 'what is read: nft list ruleset (with or without -j), iptables-save, ip6tables-save, ipvsadm -Sn, ipset save',
    })
  }
  for (const program of iptables.values()) for (const [name, set] of sets) program.sets.set(name, set)
  return {
    mode,
    // iptables chains of Services beside virtual servers are what iptables mode left; the fixed ones are ipvs' own.
    leftovers: present.filter((one) => one !== mode),
    programs: mode === 'nftables' ? nft : iptables,
    servers: mode === 'ipvs' ? servers : null,
    files: files.map(({ path }) => path),
  }
}

function readFile({ path, text }: DumpFile, found: Found): void {
  if (/^\s*\{/.test(text)) {
    for (const program of readNftJson(text, path)) found.nft.set(program.family, program)
    found.hasNftKube ||= /"KUBE-(SERVICES|SVC-)/.test(text)
    return
  }
  for (const section of sectionsOf(text, path)) readSection(section, path, found)
}

function readSection({ tool, lines }: Section, path: string, found: Found): void {
  switch (tool) {
    case 'nft': {
      const source = lines.map((line) => line.text).join('\n')
      found.hasNftKube ||= /chain KUBE-(SERVICES|SVC-)/.test(source)
      for (const program of readNft(source, path, lines[0]!.number)) found.nft.set(program.family, program)
      break
    }
    case 'iptables': {
      const family = iptablesFamily(lines)
      const known = found.iptables.get(family)
      const program = readIptables(lines, path, family)
      if (known === undefined) found.iptables.set(family, program)
      else for (const [name, chain] of program.chains) known.chains.set(name, chain)
      break
    }
    case 'ipvs':
      for (const [key, server] of readIpvs(lines, path)) found.servers.set(key, server)
      break
    default:
      for (const [name, set] of readIpset(lines, path)) found.sets.set(name, set)
  }
}

/** Modes that kube-proxy has left something of; the first is the one that is taken to run. */
function modesOf({ nft, servers, iptables }: Found): ProxyMode[] {
  const present: ProxyMode[] = []
  if ([...nft.values()].some(({ chains }) => chains.size > 0)) present.push('nftables')
  if (servers.size > 0) present.push('ipvs')
  if ([...iptables.values()].some(hasServiceChains)) present.push('iptables')
  return present
}

function nothingText(wanted: ProxyMode | null, present: readonly ProxyMode[]): string {
  if (present.length === 0) return "nothing of kube-proxy's is in it"
  return `there are rules of ${present.join(' and ')} mode, and none of ${wanted} mode`
}

function hasServiceChains({ chains }: Program): boolean {
  for (const [name, { rules }] of chains) {
    if (/^nat KUBE-(SVC|SVL|SEP|EXT|XLB|FW)-/.test(name)) return true
    // A cluster without a single endpoint has rules that refuse, and no chain of a Service.
    if (/^filter KUBE-(SERVICES|EXTERNAL-SERVICES)$/.test(name) && rules.length > 0) return true
    if (
      name === 'nat KUBE-SERVICES' &&
      rules.some(({ steps }) => steps.some((step) => 'chain' in step && step.chain === 'nat KUBE-NODEPORTS'))
    )
      return true
  }
  return false
}

/** A line at the top level, told by its first words. */
function toolOf(line: string, sets: ReadonlySet<string>): Tool | 'blank' | null {
  const text = line.trim()
  if (text === '' || text.startsWith('#')) return 'blank'
  if (/^\*[a-z]+$/.test(text)) return 'iptables'
  if (/^create \S+ (hash|bitmap|list):/.test(text)) return 'ipset'
  if (/^add \S+ \S+/.test(text) && sets.has(text.split(/\s+/)[1]!)) return 'ipset'
  if (
    /^(table|flowtable|(add|create|delete|destroy|flush) (table|chain|rule|set|map|element|flowtable|ruleset))\b/.test(
      text,
    )
  ) {
    return 'nft'
  }
  if (/^-[Aa] (-[tuf]|--(tcp|udp|sctp)-service) /.test(text)) return 'ipvs'
  if (/^(IP Virtual Server|Prot LocalAddress|-> |(TCP|UDP|SCTP)\s+\S+:\d+ |FWM\s)/.test(text)) return 'ipvs'
  return null
}

function sectionsOf(text: string, file: string): Section[] {
  const sections: Section[] = []
  const sets = new Set<string>()
  let current: Section | null = null
  let depth = 0
  let isOpen = false
  let pending: Line[] = []
  text.split('\n').forEach((raw, i) => {
    const line: Line = { text: raw.replace(/\r$/, ''), number: i + 1 }
    if (isOpen || depth > 0) current!.lines.push(line)
    else {
      const tool = toolOf(line.text, sets)
      if (tool === 'blank') {
        pending.push(line)
        return
      }
      if (tool === null) {
        throw new UserError('E_DUMP', `this is no line of a dump: ${line.text.trim().slice(0, 120)}`, {
          where: `${file}, line ${line.number}`,
          hint: /^(-[PNA] |Chain |\[\d+:\d+\] -A )/.test(line.text.trim())
            ? 'iptables -S and -L show one table and do not say which: iptables-save has all of them'
            : 'what is read: nft list ruleset, iptables-save, ip6tables-save, ipvsadm -Sn, ipset save',
        })
      }
      if (tool === 'ipset') sets.add(line.text.trim().split(/\s+/)[1]!)
      if (current === null || current.tool !== tool || startsAnew(pending)) {
        current = { tool, lines: [] }
        sections.push(current)
      }
      // Comments before a section say which tool made it; lines between keep their places for numbers in errors.
      current.lines.push(...pending, line)
      pending = []
      if (tool === 'iptables') isOpen = true
    }
    if (current!.tool === 'iptables' && line.text.trim() === 'COMMIT') isOpen = false
    if (current!.tool === 'nft') depth = Math.max(0, depth + bracesOf(line.text))
  })
  return sections
}

/** Two dumps of one tool after another in a file: IPv4 and IPv6, told by the comments before them. */
function startsAnew(comments: readonly Line[]): boolean {
  return comments.some(({ text }) => /^# (Generated by ip6?tables-save|ip6?tables-restore)/.test(text))
}

function bracesOf(line: string): number {
  let sum = 0
  for (const c of line.replace(/"[^"]*"/g, '').replace(/#.*/, '')) sum += c === '{' ? 1 : c === '}' ? -1 : 0
  return sum
}
