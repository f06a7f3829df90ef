/**
 * What a packet filter that was read from a dump does with the first packet of a connection: every way it may go, each with its weight.
 *
 * Chance (`statistic`, `numgen`) splits the way; memory (`recent` lists, affinity sets) is taken for empty, and the way of a client that is
 * remembered is followed beside it. A rule that marks packets of one address (a hairpin) counts for the endpoint of that address. Which
 * source blocks a way compares is noted, so that whoever asks can ask again from inside and outside of each: the answer then holds for
 * every source. Only kube-proxy's own chains are followed from iptables' built-in ones.
 * Cost: the rules on the way; a chain of more than 64 rules is looked up by destination.
 */
import { UserError } from '../../errors.ts'
import { ipToBigInt } from '../../k8s/ip.ts'
import type { Chain, Field, Hook, Interval, Match, NamedSet, Program, Rule, Statement, Verdict } from './program.ts'
import { isMatch, PROTOCOLS, placeOf } from './program.ts'
import { RuleIndex } from './rule-index.ts'

export interface Packet {
  readonly source: bigint
  readonly sourceText: string
  readonly destination: bigint
  readonly destinationText: string
  readonly protocol: string
  readonly port: number
  /** Sent by a process of the node: OUTPUT, and no interface it comes in by. */
  readonly fromNode: boolean
  readonly sourceIsLocal: boolean
  readonly destinationIsLocal: boolean
  readonly interface: string
}

export interface Leaf {
  readonly verdict: 'none' | 'accept' | 'drop' | 'reject' | 'dnat'
  /** Of `reject`. */
  readonly with: string
  readonly address: string
  readonly port: number
  /** Of all packets that take this way, 0 for one that only a remembered client takes. */
  readonly weight: number
  readonly masquerade: boolean
  /** Whether a client at the endpoint's own address would be masqueraded. */
  readonly hairpin: boolean
  /** Lists that the client is remembered in. */
  readonly remembers: readonly string[]
  /** The list that led here, '' without, and for how long it does. */
  readonly list: string
  readonly seconds: number
  /** Of the rule that decided; 0 where none did. */
  readonly line: number
}

export interface Outcome {
  readonly leaves: readonly Leaf[]
  /** Source blocks that were compared with. */
  readonly sources: ReadonlySet<Interval>
  readonly unknown: ReadonlySet<string>
}

const KUBE_PROXY_ENTRIES =
  /^(filter|nat|mangle|raw) KUBE-(SERVICES|EXTERNAL-SERVICES|NODEPORTS|PROXY-FIREWALL|POSTROUTING|FORWARD|FIREWALL|LOAD-BALANCER|NODE-PORT|IPVS-FILTER|IPVS-OUT-FILTER|SOURCE-RANGES-FIREWALL)$/
const MAX_STEPS = 5_000_000
const DEEPEST = 64

interface Frame {
  readonly chain: Chain
  readonly at: number
  readonly above: Frame | null
  readonly depth: number
}

/** Where a packet is: at a rule, with the rule of the chain that is next, and what it returns to. */
interface Position {
  readonly rule: Rule
  readonly chain: Chain
  readonly at: number
  readonly frame: Frame | null
}

interface State {
  mark: number
  weight: number
  remembers: readonly string[]
  hairpins: readonly Hairpin[]
  list: string
  seconds: number
  accepted: number
}

interface Hairpin {
  readonly address: bigint
  readonly keep: number
  readonly flip: number
}

export class Follower {
  readonly program: Program
  private readonly bases = new Map<Hook, Chain[]>()
  private readonly index = new RuleIndex()
  private readonly masks = new Map<number, boolean>()
  private leaves: Leaf[] = []
  private sources = new Set<Interval>()
  private unknown = new Set<string>()
  private steps = 0
  private packet: Packet = NO_PACKET
  private stages: readonly Chain[] = []
  private stage = 0
  private isPostrouting = false

  constructor(program: Program) {
    this.program = program
    for (const chain of program.chains.values()) {
      if (chain.base === null) continue
      const list = this.bases.get(chain.base.hook)
      if (list === undefined) this.bases.set(chain.base.hook, [chain])
      else list.push(chain)
    }
    for (const list of this.bases.values()) list.sort((a, b) => a.base!.priority - b.base!.priority)
  }

  /** @throws UserError `E_DUMP`  for chains that lead in circles */
  follow(packet: Packet): Outcome {
    this.begin(packet)
    const at = (hook: Hook): readonly Chain[] => this.bases.get(hook) ?? []
    const here = packet.destinationIsLocal
    this.stages = packet.fromNode
      ? [
          ...at('output'),
          ...(here ? [...at('prerouting').filter(({ base }) => base!.type !== 'nat'), ...at('input')] : []),
        ]
      : [...at('prerouting'), ...at(here ? 'input' : 'forward')]
    this.isPostrouting = false
    this.enterStage(0, { mark: 0, weight: 1, remembers: [], hairpins: [], list: '', seconds: 0, accepted: 0 })
    return { leaves: this.leaves, sources: this.sources, unknown: this.unknown }
  }

  /** The marks that a packet has after the given hooks, where no rule ends its way; for ipvs, which chooses the endpoint elsewhere. */
  marks(packet: Packet, hooks: readonly (readonly [hook: Hook, type: string])[]): Outcome & { readonly mark: number } {
    this.begin(packet)
    this.stages = hooks.flatMap(([hook, type]) =>
      (this.bases.get(hook) ?? []).filter(({ base }) => base!.type === type),
    )
    this.isPostrouting = false
    const state: State = { mark: 0, weight: 1, remembers: [], hairpins: [], list: '', seconds: 0, accepted: 0 }
    this.lastMark = 0
    this.enterStage(0, state)
    return { leaves: this.leaves, sources: this.sources, unknown: this.unknown, mark: this.lastMark }
  }

  private lastMark = 0

  /** Whether a translated packet with this mark gets the node's address. */
  masquerades(mark: number, packet: Packet): boolean {
    this.begin(packet)
    return this.afterTranslation(mark)
  }

  private begin(packet: Packet): void {
    this.packet = packet
    this.leaves = []
    this.sources = new Set()
    this.unknown = new Set()
    this.steps = 0
  }

  private afterTranslation(mark: number): boolean {
    const saved = [this.leaves, this.stages, this.stage, this.isPostrouting] as const
    this.leaves = []
    this.stages = this.bases.get('postrouting') ?? []
    this.isPostrouting = true
    this.enterStage(0, { mark, weight: 1, remembers: [], hairpins: [], list: '', seconds: 0, accepted: 0 })
    const masqueraded = this.leaves.some((leaf) => leaf.masquerade)
    ;[this.leaves, this.stages, this.stage, this.isPostrouting] = saved
    return masqueraded
  }

  private masked(mark: number): boolean {
    const known = this.masks.get(mark)
    if (known !== undefined) return known
    const found = this.afterTranslation(mark)
    this.masks.set(mark, found)
    return found
  }

  private enterStage(stage: number, state: State): void {
    const chain = this.stages[stage]
    if (chain === undefined) {
      this.lastMark = state.mark
      this.end(state.accepted > 0 ? 'accept' : 'none', state, state.accepted)
      return
    }
    this.stage = stage
    this.walk(chain, 0, null, state)
  }

  private end(verdict: Leaf['verdict'], state: State, line: number, more: Partial<Leaf> = {}): void {
    this.leaves.push({
      verdict,
      with: '',
      address: '',
      port: 0,
      weight: state.weight,
      masquerade: false,
      hairpin: false,
      remembers: state.remembers,
      list: state.list,
      seconds: state.seconds,
      line,
      ...more,
    })
  }

  private walk(first: Chain, start: number, above: Frame | null, state: State): void {
    const stage = this.stage
    let chain = first
    let at = start
    let frame = above
    for (;;) {
      const found = this.nextRule(chain, at)
      if (found < 0) {
        if (frame === null) {
          this.enterStage(stage + 1, state)
          this.stage = stage
          return
        }
        chain = frame.chain
        at = frame.at
        frame = frame.above
        continue
      }
      at = found + 1
      const rule = chain.rules[found]!
      if (chain.base !== null && this.program.tool === 'iptables' && !isKubeProxys(rule)) continue
      const to = this.apply({ rule, chain, at, frame }, 0, state)
      if (to === null) continue
      if (to === 'ended') return
      switch (to.kind) {
        case 'jump':
        case 'goto': {
          const target = this.program.chains.get(to.chain)
          if (target === undefined) {
            this.unknown.add(`${this.lineText(rule)}: there is no chain ${to.chain}`)
            continue
          }
          if (to.kind === 'jump') {
            const depth = (frame?.depth ?? 0) + 1
            if (depth > DEEPEST) this.circles(rule)
            frame = { chain, at, above: frame, depth }
          }
          chain = target
          at = 0
          break
        }
        case 'return':
          chain = NOTHING
          at = 0
          break
        case 'accept':
          if (this.isInput(stage) && rule.steps.some((step) => this.isPort(step))) state.accepted = rule.line
          this.enterStage(stage + 1, state)
          this.stage = stage
          return
        case 'drop':
          this.end('drop', state, rule.line)
          return
        case 'reject':
          this.end('reject', state, rule.line, { with: to.with })
          return
        case 'masquerade':
          this.end('none', state, rule.line, { masquerade: true })
          return
        case 'dnat':
          this.translated(to.address, to.port, state, rule)
          return
      }
    }
  }

  private translated(address: string, port: number, state: State, rule: Rule): void {
    const own = ipToBigInt(address)
    let hairpinMark = state.mark
    for (const one of state.hairpins) if (one.address === own) hairpinMark = (hairpinMark & one.keep) ^ one.flip
    this.end('dnat', state, rule.line, {
      address,
      port,
      masquerade: this.masked(state.mark),
      hairpin: this.masked(hairpinMark),
    })
  }

  private isPort(step: Rule['steps'][number]): boolean {
    if (step.kind === 'port') return true
    return step.kind === 'member' && this.program.sets.get(step.set)?.parts[0] === 'port'
  }

  private isInput(stage: number): boolean {
    return this.stages[stage]!.base!.hook === 'input'
  }

  /**
   * The rule's steps from `from` on; `state` is changed.
   *
   * @returns the verdict, null where the packet goes on with the next rule, `ended` where every path has come to its end
   */
  private apply(position: Position, from: number, state: State): Verdict | null | 'ended' {
    const { steps } = position.rule
    for (let i = from; i < steps.length; i++) {
      const step = steps[i]!
      const to = isMatch(step) ? this.passes(step, i, position, state) : this.carryOut(step, position, state)
      if (to !== 'next step') return to
    }
    return null
  }

  /** Whether the packet gets past the rule's match number `i`; by chance or by memory it may do both, and one is followed here. */
  private passes(step: Match, i: number, position: Position, state: State): 'next step' | null {
    if (step.kind === 'random' && step.probability < 1) {
      if (step.probability > 0) this.branch(position, i + 1, { ...state, weight: state.weight * step.probability })
      state.weight *= 1 - step.probability
      return null
    }
    const affinity = this.affinityOf(step)
    if (affinity !== null) {
      if (affinity.not) return 'next step'
      const { list, seconds } = affinity
      if (state.list === '') this.branch(position, i + 1, { ...state, weight: 0, list, seconds })
      return null
    }
    if (this.matches(step, position.rule, state)) return 'next step'
    const hairpin = this.hairpinOf(position.rule, i)
    if (hairpin !== null) state.hairpins = [...state.hairpins, hairpin]
    return null
  }

  private carryOut(step: Statement, position: Position, state: State): Verdict | null | 'ended' | 'next step' {
    switch (step.kind) {
      case 'mark-as':
        state.mark = (state.mark & step.keep) ^ step.flip
        return 'next step'
      case 'remember':
        state.remembers = [...state.remembers, step.list]
        return 'next step'
      case 'choose': {
        const map = typeof step.map === 'string' ? this.program.maps.get(step.map) : step.map
        return map?.get(this.keyText(step.fields, false)) ?? map?.get(this.keyText(step.fields, true)) ?? null
      }
      case 'draw': {
        for (const [first, last, verdict] of step.verdicts) {
          const share = (last - first + 1) / step.modulus
          this.enter(verdict, position, { ...state, weight: state.weight * share })
        }
        const rest = step.verdicts.reduce((sum, [first, last]) => sum - (last - first + 1), step.modulus)
        if (rest <= 0) return 'ended'
        state.weight *= rest / step.modulus
        return null
      }
      case 'no-op':
        return 'next step'
      default:
        return step
    }
  }

  /** Follows one path to its end, and leaves the caller's state alone. */
  private branch(position: Position, from: number, state: State): void {
    const verdict = this.apply(position, from, state)
    if (verdict === 'ended') return
    if (verdict === null) this.goOn(position.chain, position.at, position.frame, state)
    else this.enter(verdict, position, state)
  }

  private enter(verdict: Verdict, { rule, chain, at, frame }: Position, state: State): void {
    const depth = (frame?.depth ?? 0) + 1
    if (depth > DEEPEST) this.circles(rule)
    // A chain of one rule stands for the verdict, so that there is one function that carries verdicts out.
    const only: Chain = { name: chain.name, rules: [{ steps: [verdict], comment: '', line: rule.line }], base: null }
    if (verdict.kind === 'jump') this.goOn(only, 0, { chain, at, above: frame, depth }, state)
    else this.goOn(only, 0, frame, state)
  }

  private goOn(chain: Chain, at: number, frame: Frame | null, state: State): void {
    const stage = this.stage
    this.walk(chain, at, frame, state)
    this.stage = stage
  }

  private affinityOf(step: Match): { readonly list: string; readonly seconds: number; readonly not: boolean } | null {
    if (step.kind === 'remembered') return step
    if (step.kind !== 'member' || step.fields.length !== 1 || step.fields[0] !== 'source') return null
    const set = this.program.sets.get(step.set)
    if (set === undefined || set.timeoutSeconds <= 0) return null
    return { list: step.set, seconds: set.timeoutSeconds, not: step.not }
  }

  /** A rule that failed by one source address, and would have marked: a hairpin's. */
  private hairpinOf(rule: Rule, failed: number): Hairpin | null {
    const step = rule.steps[failed]!
    if (step.kind !== 'source' || step.not || step.intervals.length !== 1) return null
    const [{ first, last }] = step.intervals as readonly [Interval]
    if (first !== last) return null
    const mark = this.markOf(rule.steps.slice(failed + 1))
    return mark === null ? null : { address: first, ...mark }
  }

  /** What steps do where they do nothing but set marks. */
  private markOf(steps: readonly (Match | Statement)[]): { readonly keep: number; readonly flip: number } | null {
    let found: { readonly keep: number; readonly flip: number } | null = null
    for (const step of steps) {
      if (step.kind === 'no-op') continue
      const inner =
        step.kind === 'mark-as'
          ? step
          : step.kind === 'jump'
            ? this.markOf((this.program.chains.get(step.chain)?.rules ?? []).flatMap((rule) => rule.steps))
            : null
      if (inner === null || found !== null) return null
      found = { keep: inner.keep, flip: inner.flip }
    }
    return found
  }

  private matches(step: Match, rule: Rule, state: State): boolean {
    const { packet } = this
    switch (step.kind) {
      case 'source': {
        // A hairpin's rule is no border between sources: it stands for its own endpoint.
        if (this.hairpinOf(rule, rule.steps.indexOf(step)) === null) {
          for (const interval of step.intervals) this.sources.add(interval)
        }
        return contains(step.intervals, packet.source) !== step.not
      }
      case 'destination':
        return contains(step.intervals, packet.destination) !== step.not
      case 'protocol':
        return step.protocols.has(packet.protocol) !== step.not
      case 'port':
        return step.ranges.some(([first, last]) => packet.port >= first && packet.port <= last) !== step.not
      case 'local':
        return (step.of === 'source' ? packet.sourceIsLocal : packet.destinationIsLocal) !== step.not
      case 'interface': {
        const is = step.isPrefix ? packet.interface.startsWith(step.name) : packet.interface === step.name
        return is !== step.not
      }
      case 'state':
        return (step.states.has('new') || (this.isPostrouting && step.states.has('dnat'))) !== step.not
      case 'member':
        return this.isMember(this.program.sets.get(step.set), step.fields, rule, step.set) !== step.not
      case 'mark':
        return ((state.mark & step.mask) === step.value) !== step.not
      case 'random':
        return true
      default:
        this.unknown.add(`${this.lineText(rule)}: ${step.kind === 'unknown' ? step.text : step.kind}`)
        return false
    }
  }

  private isMember(set: NamedSet | undefined, fields: readonly Field[], rule: Rule, name: string): boolean {
    if (set === undefined) {
      this.unknown.add(`${this.lineText(rule)}: there is no set ${name}`)
      return false
    }
    if (set.parts.length === 0) {
      if (set.members.has(this.keyText(fields, false)) || set.members.has(this.keyText(fields, true))) return true
      const [field] = fields
      if (set.intervals.length === 0 || fields.length !== 1) return false
      if (field === 'source') for (const interval of set.intervals) this.sources.add(interval)
      return contains(set.intervals, field === 'source' ? this.packet.source : this.packet.destination)
    }
    const { packet } = this
    const text = (part: string, field: Field | undefined): string => {
      if (part === 'port') return set.parts[0] === 'port' ? String(packet.port) : `${packet.protocol}:${packet.port}`
      return field === 'source' ? packet.sourceText : packet.destinationText
    }
    if (set.parts.at(-1) !== 'net') {
      return set.members.has(set.parts.map((part, i) => text(part, fields[i] ?? fields.at(-1))).join(','))
    }
    const before = set.parts
      .slice(0, -1)
      .map((part, i) => text(part, fields[i] ?? fields.at(-1)))
      .join(',')
    const networks = set.networks.get(before) ?? []
    const isSource = (fields[set.parts.length - 1] ?? fields.at(-1)) === 'source'
    if (isSource) for (const interval of networks) this.sources.add(interval)
    return contains(networks, isSource ? packet.source : packet.destination)
  }

  /** @param isNumeric  protocols as `nft -n` prints them */
  private keyText(fields: readonly Field[], isNumeric: boolean): string {
    const { protocol } = this.packet
    return fields
      .map((field) => (field === 'protocol' && isNumeric ? (NUMBERS[protocol] ?? protocol) : this.fieldText(field)))
      .join(' . ')
  }

  private fieldText(field: Field): string {
    switch (field) {
      case 'source':
        return this.packet.sourceText
      case 'destination':
        return this.packet.destinationText
      case 'protocol':
        return this.packet.protocol
      default:
        return String(this.packet.port)
    }
  }

  private nextRule(chain: Chain, at: number): number {
    if (++this.steps > MAX_STEPS) this.circles(chain.rules[at])
    return this.index.next(chain, at, this.packet.destination)
  }

  private lineText(rule: Rule): string {
    return placeOf(this.program, rule.line)
  }

  private circles(rule: Rule | undefined): never {
    throw new UserError('E_DUMP', 'the chains lead in circles, or into more ways than can be followed', {
      where: rule === undefined ? this.program.file : this.lineText(rule),
    })
  }
}

const NUMBERS = Object.fromEntries(Object.entries(PROTOCOLS).map(([number, name]) => [name, number]))
const NOTHING: Chain = { name: '', rules: [], base: null }
const NO_PACKET: Packet = {
  source: 0n,
  sourceText: '',
  destination: 0n,
  destinationText: '',
  protocol: 'tcp',
  port: 0,
  fromNode: false,
  sourceIsLocal: false,
  destinationIsLocal: false,
  interface: '',
}

/** Whether a rule of a built-in chain leads to one of kube-proxy's. */
export function isKubeProxys({ steps }: Rule): boolean {
  const last = steps.at(-1)
  return (last?.kind === 'jump' || last?.kind === 'goto') && KUBE_PROXY_ENTRIES.test(last.chain)
}

function contains(intervals: readonly Interval[], value: bigint): boolean {
  for (const { first, last } of intervals) if (value >= first && value <= last) return true
  return false
}
