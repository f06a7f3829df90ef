/**
 * Kinds of numbers: what an id, an offset or a time is of. For the compiler alone: nothing of it is left at run time.
 *
 * Two kinds never mix. A node id given for an address id, the two compared, or a column of one taken for a column of the other is
 * a compile error. A plain number (a literal, the result of arithmetic, a word of a mixed record) passes for any kind, and gets
 * it where it is declared: `const source: AddressId = flows[flow + FLOW_CLIENT]`.
 * That is why the property is optional: a required one would ask for a cast at each such read, which proves nothing either.
 */

declare const kind: unique symbol

export type Kind<Name extends string> = number & { readonly [kind]?: Name }

/** A column whose values are of one kind; any Int32Array may become one, none of another kind. */
export interface Int32Column<T extends number> extends Int32Array {
  [index: number]: T
}

/** Dense numbers that `src/compile` hands out; -1 stands for none. */
export type AddressId = Kind<'AddressId'>
export type NodeId = Kind<'NodeId'>
export type EndpointId = Kind<'EndpointId'>
export type ServicePortId = Kind<'ServicePortId'>
/** Index of an address and port that is dialled; only within one rule set. */
export type FrontendId = Kind<'FrontendId'>
/** Number of a set of endpoints, which is a run of `members`; 0 is empty. */
export type SetId = Kind<'SetId'>

export type Shard = Kind<'Shard'>
/** Offset of a flow record in `flows`: its number times FLOW_WORDS. */
export type FlowOffset = Kind<'FlowOffset'>
/** Number of a conntrack entry: its offset by ENTRY_WORDS. 0 for none. */
export type EntryNumber = Kind<'EntryNumber'>

export type Port = Kind<'Port'>
/** IANA's number: 6, 17, 132. */
export type Protocol = Kind<'Protocol'>
/** source port << 16 | destination port. */
export type PortPair = Kind<'PortPair'>
/** node << 8 | protocol; negative for none. */
export type NodeProtocol = Kind<'NodeProtocol'>
/** `hashTuple` of a tuple. */
export type TupleHash = Kind<'TupleHash'>
/** 32 bits that stand for chance: `draw`. */
export type RandomWord = Kind<'RandomWord'>

/** Virtual time since the start of the run, whole, in ticks (`TICKS_PER_MS`) and in ms; and the low 32 bits of either, which wrap. */
export type Tick = Kind<'Tick'>
export type Millis = Kind<'Millis'>
export type Tick32 = Kind<'Tick32'>
export type Millis32 = Kind<'Millis32'>
/** A duration. */
export type Nanos = Kind<'Nanos'>

export function portPair(source: Port, destination: Port): PortPair {
  return (source << 16) | destination
}

export function nodeProtocolOf(node: NodeId, protocol: Protocol): NodeProtocol {
  return (node << 8) | protocol
}
