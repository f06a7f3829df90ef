/**
 * `nft -j list ruleset` → Programs, one a family: libnftables-json(5) for what kube-proxy's tables hold.
 *
 * Objects of other tables are passed over. What an expression holds beyond kube-proxy's words is unknown, as in the text form.
 */
import { UserError } from '../../errors.ts'
import { canonicalIp } from '../../k8s/ip.ts'
import type { Family } from '../node-rules.ts'
import { isLocalType, keyText, matchesOf, stateText } from './nft-words.ts'
import {
  chainOf,
  type Field,
  type Hook,
  type Match,
  newProgram,
  newSet,
  type Program,
  parseInterval,
  type Statement,
  type Verdict,
} from './program.ts'

type Json = Readonly<Record<string, unknown>>

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** @throws UserError `E_DUMP`  for JSON that is no listing */
export function readNftJson(text: string, file: string): Program[] {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    throw new UserError('E_DUMP', `this is no JSON: ${(error as Error).message}`, { where: file })
  }
  const list = isObject(parsed) ? parsed['nftables'] : undefined
  if (!Array.isArray(list)) throw new UserError('E_DUMP', 'there is no list "nftables"', { where: file })
  const programs = new Map<Family, Program>()
  const programOf = (object: Json): Program | null => {
    const family = object['family'] === 'ip' ? 'IPv4' : object['family'] === 'ip6' ? 'IPv6' : null
    if (object['table'] !== 'kube-proxy' || family === null) return null
    const known = programs.get(family)
    if (known !== undefined) return known
    const made = newProgram('nft', family, file, true)
    programs.set(family, made)
    return made
  }
  list.forEach((entry: unknown, index) => {
    if (!isObject(entry)) return
    const [[what, object] = ['', null]] = Object.entries(entry)
    if (!isObject(object)) return
    const program = programOf(object)
    if (program === null) return
    const fail = (field: string): never => {
      throw new UserError('E_DUMP', `${what} without ${field}`, { where: `${file}, nftables[${index}]` })
    }
    const text = (field: string): string =>
      typeof object[field] === 'string' ? (object[field] as string) : fail(field)
    if (what === 'chain') {
      const chain = chainOf(program, text('name'))
      if (typeof object['hook'] === 'string') {
        chain.base = {
          hook: object['hook'] as Hook,
          priority: Number(object['prio'] ?? 0),
          type: String(object['type'] ?? 'filter'),
        }
      }
    } else if (what === 'set') {
      const set = newSet()
      set.timeoutSeconds = Number(object['timeout'] ?? 0) || 0
      for (const element of listOf(object['elem'])) {
        const key = textOf(elementValue(element))
        const interval = parseInterval(key)
        if (interval !== null && interval.first !== interval.last) set.intervals.push(interval)
        else set.members.add(key)
      }
      program.sets.set(text('name'), set)
    } else if (what === 'map') program.maps.set(text('name'), verdictMap(object['elem']))
    else if (what === 'rule') {
      const steps = listOf(object['expr']).flatMap(readExpression)
      const comment = typeof object['comment'] === 'string' ? object['comment'] : ''
      chainOf(program, text('chain')).rules.push({ steps, comment, line: index })
    }
  })
  return [...programs.values()]
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : value === undefined || value === null ? [] : [value]
}

/** An element may be wrapped with its timeout and comment. */
function elementValue(element: unknown): unknown {
  return isObject(element) && isObject(element['elem']) ? element['elem']['val'] : element
}

/** A value in the text form: `10.0.0.0/8`, `10.0.0.1 . tcp . 80`, `80-90`. */
function textOf(value: unknown): string {
  if (typeof value === 'string' || typeof value === 'number') return keyText([String(value)])
  if (!isObject(value)) return ''
  if (Array.isArray(value['concat'])) return value['concat'].map(textOf).join(' . ')
  const { prefix, range } = value
  if (isObject(prefix)) return `${String(prefix['addr'])}/${String(prefix['len'])}`
  if (Array.isArray(range)) return range.map(textOf).join('-')
  return ''
}

function verdictMap(elements: unknown): Map<string, Verdict> {
  const map = new Map<string, Verdict>()
  for (const element of listOf(elements)) {
    if (!Array.isArray(element)) continue
    const verdict = readVerdict(element[1])
    if (verdict !== null) map.set(textOf(elementValue(element[0])), verdict)
  }
  return map
}

function readVerdict(value: unknown): Verdict | null {
  if (!isObject(value)) return null
  for (const kind of ['jump', 'goto'] as const) {
    const to = value[kind]
    if (isObject(to)) return { kind, chain: String(to['target']) }
  }
  for (const kind of ['accept', 'drop', 'return'] as const) if (kind in value) return { kind }
  return null
}

function readExpression(expression: unknown): (Match | Statement)[] {
  if (!isObject(expression)) return [notKnown(expression)]
  const verdict = readVerdict(expression)
  if (verdict !== null) return [verdict]
  const [[what, of] = ['', null]] = Object.entries(expression)
  const object = isObject(of) ? of : {}
  switch (what) {
    case 'counter':
    case 'log':
    case 'flow':
      return [{ kind: 'no-op' }]
    case 'masquerade':
      return [{ kind: 'masquerade' }]
    case 'reject':
      return [
        {
          kind: 'reject',
          with: object['type'] === 'tcp reset' ? 'tcp-reset' : String(object['expr'] ?? 'port-unreachable'),
        },
      ]
    case 'dnat': {
      const address = canonicalIp(String(object['addr']))
      const port = Number(object['port'])
      return address === null || !(port > 0) ? [notKnown(expression)] : [{ kind: 'dnat', address, port }]
    }
    case 'set':
      return [{ kind: 'remember', list: String(object['set']).replace(/^@/, '') }]
    case 'mangle':
      return [readMangle(object) ?? notKnown(expression)]
    case 'vmap':
      return [readVmap(object) ?? notKnown(expression)]
    case 'match':
      return readMatch(object) ?? [notKnown(expression)]
    default:
      return [notKnown(expression)]
  }
}

function notKnown(expression: unknown): Match {
  return { kind: 'unknown', text: (JSON.stringify(expression) ?? '').slice(0, 100) }
}

function fieldsOf(left: unknown): Field[] | null {
  if (!isObject(left)) return null
  if (Array.isArray(left['concat'])) {
    const fields = left['concat'].map(fieldsOf)
    return fields.some((one) => one === null) ? null : (fields.flat() as Field[])
  }
  const { payload, meta } = left
  if (isObject(meta)) return meta['key'] === 'l4proto' ? ['protocol'] : null
  if (!isObject(payload)) return null
  switch (payload['field']) {
    case 'saddr':
      return ['source']
    case 'daddr':
      return ['destination']
    case 'dport':
      return ['port']
    case 'protocol':
    case 'nexthdr':
      return ['protocol']
    default:
      return null
  }
}

function isMark(value: unknown): boolean {
  return isObject(value) && isObject(value['meta']) && value['meta']['key'] === 'mark'
}

function readMangle({ key, value }: Json): Statement | null {
  if (!isMark(key)) return null
  if (typeof value === 'number') return { kind: 'mark-as', keep: 0, flip: value | 0 }
  if (!isObject(value)) return null
  for (const operator of ['|', '^', '&'] as const) {
    const operands = value[operator]
    if (!Array.isArray(operands) || !isMark(operands[0]) || typeof operands[1] !== 'number') continue
    const bits = operands[1] | 0
    if (operator === '|') return { kind: 'mark-as', keep: ~bits, flip: bits }
    if (operator === '^') return { kind: 'mark-as', keep: -1, flip: bits }
    return { kind: 'mark-as', keep: bits, flip: 0 }
  }
  return null
}

function readVmap({ key, data }: Json): Statement | null {
  const { numgen } = isObject(key) ? key : {}
  if (isObject(numgen)) {
    const modulus = Number(numgen['mod'])
    if (numgen['mode'] !== 'random' || !(modulus > 0) || !isObject(data)) return null
    const verdicts = listOf(data['set']).flatMap((element) => {
      if (!Array.isArray(element)) return []
      const verdict = readVerdict(element[1])
      const [first, last = first] = textOf(element[0]).split('-')
      return verdict === null ? [] : [[Number(first), Number(last), verdict] as const]
    })
    return { kind: 'draw', modulus, verdicts }
  }
  const fields = fieldsOf(key)
  if (fields === null) return null
  if (typeof data === 'string') return { kind: 'choose', fields, map: data.replace(/^@/, '') }
  return isObject(data) ? { kind: 'choose', fields, map: verdictMap(data['set']) } : null
}

function readMatch({ op, left, right }: Json): Match[] | null {
  // Counts of a connection's packets and bytes (offloading to a flowtable): no first packet has any.
  if (isObject(left) && isObject(left['ct']) && /^(packets|bytes)$/.test(String(left['ct']['key']))) {
    return [{ kind: 'state', states: new Set(['established']), not: false }]
  }
  if (op !== '==' && op !== '!=' && op !== 'in') return null
  const not = op === '!='
  if (!isObject(left)) return null
  const { ct, fib, meta } = left
  const values = isObject(right) && right['set'] !== undefined ? listOf(right['set']) : listOf(right)
  if (isObject(ct)) {
    return ct['key'] === 'state'
      ? [{ kind: 'state', states: new Set(values.map((value) => stateText(String(value)))), not }]
      : null
  }
  if (isObject(fib)) {
    const flags = listOf(fib['flags'])
    if (fib['result'] !== 'type' || !isLocalType(String(right)) || flags.length !== 1) return null
    return [{ kind: 'local', of: flags[0] === 'saddr' ? 'source' : 'destination', not }]
  }
  if (isObject(meta) && meta['key'] === 'iifname' && typeof right === 'string') {
    return [{ kind: 'interface', name: right.replace(/\*$/, ''), isPrefix: right.endsWith('*'), not }]
  }
  if (isMark(left)) return typeof right === 'number' ? [{ kind: 'mark', mask: -1, value: right | 0, not }] : null
  const masked = left['&']
  if (Array.isArray(masked) && isMark(masked[0]) && typeof masked[1] === 'number' && typeof right === 'number') {
    return [{ kind: 'mark', mask: masked[1] | 0, value: right | 0, not }]
  }
  const fields = fieldsOf(left)
  if (fields === null) return null
  const { payload } = left
  const protocol = isObject(payload) && payload['field'] === 'dport' ? String(payload['protocol']) : 'th'
  const before: Match[] = protocol === 'th' ? [] : [{ kind: 'protocol', protocols: new Set([protocol]), not: false }]
  if (typeof right === 'string' && right.startsWith('@')) {
    return [...before, { kind: 'member', set: right.slice(1), fields, not }]
  }
  return [...before, ...matchesOf(fields, values.map(textOf), not)]
}
