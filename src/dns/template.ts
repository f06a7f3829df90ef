/**
 * CoreDNS' `template` plugin: replies made of the question by a text with places for its parts.
 *
 * Of Go's template language the places that Corefiles use are read: `{{ .Name }}`, `.Zone`, `.Type`, `.Class`, `.Remote`, `.Match`
 * and `.Group` by `index` or by a name. Any other action makes the directive one that is not modelled (null).
 * Source: coredns/coredns plugin/template/{template,setup}.go and README.
 */
import { corefileError, type Directive } from './caddyfile.ts'
import { longestZone, lower } from './domain-names.ts'
import { goRegExp } from './match.ts'
import { type DnsRecord, type DnsReply, type Rcode, recordOfText, recordType } from './records.ts'

interface Match {
  readonly name: string
  readonly zone: string
  readonly qtype: string
  readonly groups: readonly (string | undefined)[]
  readonly named: Readonly<Record<string, string | undefined>>
}

type Text = (match: Match) => string

export interface TemplatePlugin {
  readonly zones: readonly string[]
  /** ANY matches all. */
  readonly qtype: string
  readonly patterns: readonly RegExp[]
  readonly rcode: Rcode
  readonly answer: readonly Text[]
  readonly additional: readonly Text[]
  readonly authority: readonly Text[]
  readonly fallthrough: readonly string[]
}

const RCODES: ReadonlySet<string> = new Set(['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'])
const CLASSES: ReadonlySet<string> = new Set(['IN', 'CH', 'HS', 'CS', 'NONE', 'ANY'])

/**
 * @returns  null where the template needs what is not modelled
 * Errors: UserError E_COREFILE, where CoreDNS does not start.
 */
export function parseTemplate(
  directive: Directive,
  blockZones: readonly string[],
  zonesOf: (text: string, line: number) => string[],
): TemplatePlugin | null {
  const { line } = directive
  const [queryClass, type, ...zoneArgs] = directive.args
  if (queryClass === undefined || !CLASSES.has(queryClass))
    throw corefileError(line, `template: no class ${queryClass ?? ''}`)
  const qtype = type === undefined ? null : recordType(type)
  if (qtype === null) throw corefileError(line, `template: no record type ${type ?? ''}`)
  const zones = zoneArgs.length > 0 ? zoneArgs.flatMap((zone) => zonesOf(zone, line)) : blockZones
  const patterns: RegExp[] = []
  const sections = {
    answer: [] as (Text | null)[],
    additional: [] as (Text | null)[],
    authority: [] as (Text | null)[],
  }
  let rcode: Rcode = 'NOERROR'
  let fallthrough: readonly string[] = []
  let modelled = queryClass === 'IN' || queryClass === 'ANY'
  for (const { name, args, line: at } of directive.body) {
    if (name === 'fallthrough') fallthrough = args.length === 0 ? ['.'] : args.flatMap((zone) => zonesOf(zone, at))
    else if (name === 'upstream') continue
    else if (args.length === 0) throw corefileError(at, `template ${name} takes a value`)
    else if (name === 'match') patterns.push(...args.map((pattern) => goRegExp(pattern, at)))
    else if (name === 'answer' || name === 'additional' || name === 'authority') {
      sections[name].push(...args.map(compileText))
    } else if (name === 'rcode') {
      if (!RCODES.has(args[0]!)) throw corefileError(at, `template: no rcode ${args[0]}`)
      rcode = args[0] as Rcode
    } else if (name === 'var' || name === 'expr') modelled = false
    else if (name !== 'ederror') throw corefileError(at, `template: unknown property ${name}`)
  }
  const texts = [...sections.answer, ...sections.additional, ...sections.authority]
  if (!modelled || texts.includes(null)) return null
  return {
    zones,
    qtype,
    patterns: patterns.length > 0 ? patterns : [/.*/],
    rcode,
    answer: sections.answer as Text[],
    additional: sections.additional as Text[],
    authority: sections.authority as Text[],
    fallthrough,
  }
}

/** A text with its places, or null where it has an action that is not read here. */
function compileText(text: string): Text | null {
  const parts: Text[] = []
  let at = 0
  for (const found of text.matchAll(/\{\{-?\s*(.*?)\s*-?\}\}/g)) {
    const place = placeOf(found[1]!)
    if (place === null) return null
    const before = text.slice(at, found.index)
    parts.push(() => before, place)
    at = found.index + found[0].length
  }
  const rest = text.slice(at)
  return (match) => parts.map((part) => part(match)).join('') + rest
}

function placeOf(action: string): Text | null {
  const field = /^\.(Name|Zone|Type|Class|Question\.Name)$/.exec(action)?.[1]
  if (field === 'Name' || field === 'Question.Name') return ({ name }) => name
  if (field === 'Zone') return ({ zone }) => zone
  if (field === 'Type') return ({ qtype }) => qtype
  if (field === 'Class') return () => 'IN'
  const group = /^(?:index \.Match (\d+)|index \.Group "(\w+)"|\.Group\.(\w+))$/.exec(action)
  if (group === null) return null
  const key = group[1] ?? group[2] ?? group[3]!
  return ({ groups, named }) => (/^\d+$/.test(key) ? groups[Number(key)] : named[key]) ?? ''
}

/**
 * @param lookup  asks the server itself for the target of a CNAME
 * @returns  null: the question goes on to the next plugin
 */
export function templateReply(
  templates: readonly TemplatePlugin[],
  qname: string,
  qtype: string,
  lookup: (target: string) => DnsReply,
): DnsReply | null {
  const name = lower(qname)
  for (const template of templates) {
    const zone = longestZone(template.zones, name)
    if (zone === null || (template.qtype !== 'ANY' && qtype !== 'ANY' && template.qtype !== qtype)) continue
    const groups = template.patterns.map((pattern) => pattern.exec(name)).find((found) => found !== null)
    if (groups === undefined) {
      if (longestZone(template.fallthrough, name) === null) return failed()
      continue
    }
    if (template.rcode === 'SERVFAIL') return failed()
    const match: Match = { name, zone, qtype, groups, named: groups.groups ?? {} }
    const records = (texts: readonly Text[]): (DnsRecord | null)[] => texts.map((text) => recordOfText(text(match)))
    const sections = [records(template.answer), records(template.additional), records(template.authority)]
    if (sections.flat().includes(null)) return failed()
    const [answer, additional, authority] = sections as DnsRecord[][]
    const followed = answer!.flatMap((record) =>
      record.type === 'CNAME' && (qtype === 'A' || qtype === 'AAAA')
        ? [record, ...lookup(record.data).answer]
        : [record],
    )
    const rest = { authoritative: true, truncated: false, authority: authority!, additional: additional! }
    return { rcode: template.rcode, answer: followed, ...rest }
  }
  return null
}

function failed(): DnsReply {
  return { rcode: 'SERVFAIL', authoritative: false, truncated: false, answer: [], authority: [], additional: [] }
}
