/**
 * CoreDNS' `rewrite` plugin: the question is changed on its way in, and what was changed is changed back in the reply.
 *
 * Rules are tried in the order written; the first that applies ends it, unless it says `continue`. An exact rule, and any
 * rule with `answer auto`, puts the name asked for back into the reply; without it a client sees a reply to another name,
 * which C libraries refuse.
 * Invariants: names handed to rules are folded and absolute; a reply's records are never changed in place.
 * Source: coredns/coredns plugin/rewrite/{rewrite,name,ttl,type,rcode,reverter}.go.
 */
import { corefileError, type Directive } from './caddyfile.ts'
import { lower, nameFault } from './domain-names.ts'
import { fillGroups, goRegExp, groupCount, MATCH_KINDS, normalName } from './match.ts'
import { type DnsRecord, type DnsReply, type Rcode, recordType } from './records.ts'

type Rewriter = (text: string) => string

/** What becomes of a reply; rules are undone in reverse order. */
interface ResponseRule {
  readonly name?: Rewriter
  readonly value?: Rewriter
  readonly ttl?: { readonly least: number; readonly most: number }
  readonly rcode?: { readonly from: Rcode; readonly to: Rcode }
  /** Of an alias; null leaves it. */
  readonly target?: (name: string) => string | null
}

interface Asked {
  readonly qname: string
  readonly qtype: string
}

/** The changed question and how its reply is changed back; null where the rule does not apply. */
type Rule = (asked: Asked) => (Asked & { readonly responses: readonly ResponseRule[] }) | null

export interface RewriteRule {
  readonly stops: boolean
  readonly apply: Rule
}

export interface Rewritten extends Asked {
  readonly responses: readonly ResponseRule[]
  /** A rule made what is no name: CoreDNS answers SERVFAIL. */
  readonly broken: boolean
}

const RCODES: ReadonlySet<string> = new Set(['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'])
/** What is rewritten in a record's data: the last word that is a name. */
const VALUE_AT_END: ReadonlySet<string> = new Set(['SRV', 'MX', 'CNAME', 'NS', 'DNAME', 'NAPTR', 'PTR'])

/**
 * @returns  null for a rule that changes no answer here (`edns0`, a class that no client asks)
 * Errors: UserError E_COREFILE, where CoreDNS does not start.
 */
export function parseRewrite(directive: Directive): RewriteRule | null {
  const { line } = directive
  const words =
    directive.args.length < 2
      ? [...directive.args, ...directive.body.flatMap(({ name, args }) => [name, ...args])]
      : [...directive.args]
  const first = lower(words[0] ?? '')
  const hasMode = first === 'continue' || first === 'stop'
  const kind = lower(words[hasMode ? 1 : 0] ?? '')
  const args = words.slice(hasMode ? 2 : 1)
  const rule = parseRule(kind, args, line)
  return rule === null ? null : { stops: first !== 'continue', apply: rule }
}

function parseRule(kind: string, args: readonly string[], line: number): Rule | null {
  switch (kind) {
    case 'name':
      return nameRule(args, line)
    case 'ttl':
      return ttlRule(args, line)
    case 'type': {
      const [from, to] = args.map(recordType)
      if (args.length !== 2 || from == null || to == null)
        throw corefileError(line, 'rewrite type takes two record types')
      return ({ qname, qtype }) => (qtype === from ? { qname, qtype: to, responses: [] } : null)
    }
    case 'class':
      if (args.length !== 2) throw corefileError(line, 'rewrite class takes two classes')
      return null
    case 'rcode':
      return rcodeRule(args, line)
    case 'cname':
      return cnameRule(args, line)
    case 'edns0':
      return null
    case 'answer':
      throw corefileError(line, 'rewrite answer must begin with a name rule')
    default:
      throw corefileError(line, `rewrite ${kind} is no rule`, 'name, type, class, ttl, edns0, cname or rcode')
  }
}

function nameRule(args: readonly string[], line: number): Rule {
  if (args.length < 2) throw corefileError(line, 'rewrite name takes a name and what it becomes')
  const kind = args.length === 2 ? 'exact' : lower(args[0]!)
  if (!MATCH_KINDS.has(kind)) {
    throw corefileError(line, `rewrite name ${args[0]} is none of exact, prefix, suffix, substring, regex`)
  }
  const [from, to] = args.length === 2 ? args : args.slice(1)
  const { auto, responses } = answerRules(args.slice(3), line)
  const replacement = normalName(to!)
  const wanted = normalName(from!)
  const change = changer(kind, from!, to!, line)
  return ({ qname, qtype }) => {
    const name = lower(qname)
    const changed = change(name)
    if (changed === null) return null
    if (kind === 'suffix' && auto) {
      const back: Rewriter = (text) =>
        text.endsWith(replacement) ? text.slice(0, text.length - replacement.length) + wanted : text
      return { qname: changed, qtype, responses: [{ name: back }, { value: back }, ...responses] }
    }
    if (kind !== 'exact' && !auto) return { qname: changed, qtype, responses }
    const back = remap(changed, name)
    return { qname: changed, qtype, responses: [{ name: back }, { value: back }, ...responses] }
  }
}

/** What becomes of a name, folded; null where it does not match. */
function changer(kind: string, from: string, to: string, line: number): (name: string) => string | null {
  const replacement = normalName(to)
  const wanted = normalName(from)
  const pattern = kind === 'regex' ? goRegExp(from, line) : null
  if (pattern !== null) checkGroups(pattern, to, line)
  return {
    exact: (name: string) => (name === wanted ? replacement : null),
    prefix: (name: string) => (name.startsWith(wanted) ? replacement + name.slice(wanted.length) : null),
    suffix: (name: string) => (name.endsWith(wanted) ? name.slice(0, name.length - wanted.length) + replacement : null),
    substring: (name: string) => (name.includes(wanted) ? name.replaceAll(wanted, replacement) : null),
    regex: (name: string) => {
      const groups = pattern!.exec(name)
      return groups === null ? null : fillGroups(replacement, groups)
    },
  }[kind as 'exact']
}

/** The target of an alias in the reply; what it leads to then is looked up anew, and the old one's records are left out. */
function cnameRule(args: readonly string[], line: number): Rule {
  if (args.length < 2 || args.length > 3) throw corefileError(line, 'rewrite cname takes a name and what it becomes')
  const kind = args.length === 2 ? 'exact' : lower(args[0]!)
  if (!MATCH_KINDS.has(kind)) {
    throw corefileError(line, `rewrite cname ${args[0]} is none of exact, prefix, suffix, substring, regex`)
  }
  const [from, to] = args.slice(-2)
  const target = changer(kind, from!, to!, line)
  return ({ qname, qtype }) => ({ qname, qtype, responses: [{ target }] })
}

/** The name itself and those below it. */
function remap(from: string, to: string): Rewriter {
  return (text) => {
    if (text === from) return to
    return text.endsWith(`.${from}`) ? text.slice(0, text.length - from.length) + to : text
  }
}

function answerRules(args: readonly string[], line: number): { auto: boolean; responses: ResponseRule[] } {
  let auto = false
  const responses: ResponseRule[] = []
  if (args.length === 0) return { auto, responses }
  if (args[0] !== 'answer' || args.length < 2)
    throw corefileError(line, 'rewrite name: after both names comes `answer …`')
  for (let at = 0; at < args.length; ) {
    if (args[at] === 'answer') at++
    const kind = args[at++]
    if (kind === 'auto') {
      auto = true
      continue
    }
    const [from, to] = args.slice(at, at + 2)
    if ((kind !== 'name' && kind !== 'value') || from === undefined || to === undefined) {
      throw corefileError(line, `answer ${kind ?? ''} is none of auto, name FROM TO, value FROM TO`)
    }
    const pattern = goRegExp(from, line)
    checkGroups(pattern, to, line)
    const replacement = normalName(to)
    const rewriter: Rewriter = (text) => {
      const groups = pattern.exec(text)
      return groups === null ? text : fillGroups(replacement, groups)
    }
    responses.push(kind === 'name' ? { name: rewriter } : { value: rewriter })
    at += 2
  }
  if (auto && responses.some(({ name }) => name !== undefined)) {
    throw corefileError(line, 'answer auto and answer name exclude each other')
  }
  return { auto, responses }
}

function checkGroups(pattern: RegExp, replacement: string, line: number): void {
  const used = new Set(
    [...replacement.matchAll(/\{(\d{1,3})\}/g)].map(([, index]) => Number(index)).filter((n) => n <= 100),
  )
  if (used.size > groupCount(pattern)) {
    throw corefileError(line, `${replacement} uses more groups than ${pattern.source} has`)
  }
}

function ttlRule(args: readonly string[], line: number): Rule {
  if (args.length < 2 || args.length > 3) throw corefileError(line, 'rewrite ttl takes a name and a ttl')
  const matches = matcher(args, line)
  const [, single, least, most] = /^(?:(\d+)|(\d*)-(\d*))$/.exec(args.at(-1)!) ?? []
  if (single === undefined && !least && !most)
    throw corefileError(line, `${args.at(-1)} is no ttl and no range of them`)
  const ttl = { least: Number(single ?? (least || 0)), most: Number(single ?? (most || 0x7fffffff)) }
  return ({ qname, qtype }) => (matches(lower(qname)) ? { qname, qtype, responses: [{ ttl }] } : null)
}

function rcodeRule(args: readonly string[], line: number): Rule {
  const [from, to] = args.slice(-2).map((text) => text.toUpperCase())
  if (args.length < 3 || args.length > 4 || !RCODES.has(from!) || !RCODES.has(to!)) {
    throw corefileError(line, 'rewrite rcode takes a name and two rcodes')
  }
  const matches = matcher(args.slice(0, -1), line)
  const rcode = { from: from as Rcode, to: to as Rcode }
  return ({ qname, qtype }) => (matches(lower(qname)) ? { qname, qtype, responses: [{ rcode }] } : null)
}

/** Of `[KIND] NAME LAST`. */
function matcher(args: readonly string[], line: number): (name: string) => boolean {
  const kind = args.length === 3 ? lower(args[0]!) : 'exact'
  const text = args.at(-2)!
  const wanted = normalName(text)
  const pattern = kind === 'regex' ? goRegExp(text, line) : null
  switch (kind) {
    case 'exact':
      return (name) => name === wanted
    case 'prefix':
      return (name) => name.startsWith(wanted)
    case 'suffix':
      return (name) => name.endsWith(wanted)
    case 'substring':
      return (name) => name.includes(wanted)
    case 'regex':
      return (name) => pattern!.test(name)
    default:
      throw corefileError(line, `rewrite: ${args[0]} is none of exact, prefix, suffix, substring, regex`)
  }
}

/** The question as the plugins behind `rewrite` see it. */
export function rewriteQuestion(rules: readonly RewriteRule[], asked: Asked): Rewritten {
  let at = asked
  const responses: ResponseRule[] = []
  for (const rule of rules) {
    const done = rule.apply(at)
    if (done === null) continue
    if (done.qname !== '.' && nameFault(done.qname) !== null) return { ...asked, responses: [], broken: true }
    at = { qname: done.qname, qtype: done.qtype }
    responses.push(...done.responses)
    if (rule.stops) break
  }
  return { ...at, responses, broken: false }
}

/** The reply as the client gets it. @param lookup  asks for the new target of an alias */
export function rewriteReply(
  first: DnsReply,
  responses: readonly ResponseRule[],
  lookup: (name: string) => DnsReply,
): DnsReply {
  if (responses.length === 0) return first
  const backwards = [...responses].reverse()
  const reply = backwards.reduce((at, { target }) => (target === undefined ? at : retarget(at, target, lookup)), first)
  const records = (list: readonly DnsRecord[]): DnsRecord[] =>
    list.map((record) => backwards.reduce((at, rule) => rewriteRecord(at, rule), record))
  let { rcode } = reply
  for (const rule of backwards) if (rule.rcode?.from === rcode) rcode = rule.rcode.to
  return {
    ...reply,
    rcode,
    answer: records(reply.answer),
    authority: records(reply.authority),
    additional: records(reply.additional),
  }
}

/** Every alias of the reply gets the new target of the first that matches. Source: cname_target.go RewriteResponse. */
function retarget(
  reply: DnsReply,
  target: (name: string) => string | null,
  lookup: (name: string) => DnsReply,
): DnsReply {
  const aliases = reply.answer.filter(({ type }) => type === 'CNAME')
  const to = aliases.flatMap(({ data }) => target(lower(data)) ?? [])[0]
  if (to === undefined) return reply
  const found = lookup(to).answer.filter(({ name }) => lower(name) === to)
  return { ...reply, answer: [...aliases.map((alias) => ({ ...alias, data: to })), ...found] }
}

function rewriteRecord(record: DnsRecord, rule: ResponseRule): DnsRecord {
  const { name, value, ttl } = rule
  if (name !== undefined) return { ...record, name: name(record.name) }
  if (ttl !== undefined) return { ...record, ttl: Math.min(ttl.most, Math.max(ttl.least, record.ttl)) }
  if (value === undefined) return record
  if (record.type === 'SOA') return { ...record, data: record.data.replace(/^\S+/, value) }
  return VALUE_AT_END.has(record.type) ? { ...record, data: record.data.replace(/\S+$/, value) } : record
}
