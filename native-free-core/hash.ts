/**
 * Seeded integer mixing: the hash of a tuple and the source of every "random" choice.
 *
 * All arithmetic is int32 (`Math.imul`, `|0`), results are int32. Constants and finaliser are murmur3's (public domain,
 * Austin Appleby); the finaliser passes every bit to every other, which linear probing over low bits needs.
 * Cost: two multiplications a word and two at the end (bench: lookup-hit has it with the look-up).
 */
import type { AddressId, NodeProtocol, PortPair, RandomWord, TupleHash } from './kinds.ts'

/** Mix one more word into a running hash. */
export function mix(hash: number, word: number): number {
  // An argument that is no known int32 would go through a double and back for Math.imul.
  let k = Math.imul(word | 0, 0xcc9e2d51)
  k = (k << 15) | (k >>> 17)
  let h = hash ^ Math.imul(k, 0x1b873593)
  h = (h << 13) | (h >>> 19)
  return (Math.imul(h, 5) + 0xe6546b64) | 0
}

/** Spread a running hash over all 32 bits. */
export function finish(hash: number): number {
  let h = hash | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}

/** What a connection is known by on a node, in one direction. */
export interface Tuple {
  source: AddressId
  destination: AddressId
  ports: PortPair
  nodeProtocol: NodeProtocol
}

/**
 * Hash of a tuple: source id, destination id, ports, protocol in the low 8 bits of `nodeProtocol`. The node does not enter, so that
 * both nodes of a connection share what was hashed for the first.
 */
export function hashTuple(
  source: AddressId,
  destination: AddressId,
  ports: PortPair,
  nodeProtocol: NodeProtocol,
): TupleHash {
  return finish(mix(mix(mix(mix(0x2f0b4a2d, source), destination), ports), nodeProtocol & 0xff))
}

/** What a random choice is for: keeps the choices of one connection independent of each other. */
export const PURPOSE_LOAD_BALANCER = 1
export const PURPOSE_ENDPOINT = 2
export const PURPOSE_SNAT = 3
export const PURPOSE_ENTRY_NODE = 4
export const PURPOSE_COST = 5
export const PURPOSE_NAME_PORT = 6
export const PURPOSE_NAME_ANSWER = 7
export const PURPOSE_NAME_CACHE = 8
export const PURPOSE_SERVICE = 9
export const PURPOSE_PROXY_WORKER = 10
export const PURPOSE_PROXY_TARGET = 11

/** The random word of (seed, connection, node, purpose); the same inputs give the same word on any worker. */
export function draw(seed: number, connection: number, node: number, purpose: number): RandomWord {
  return finish(mix(mix(mix(seed | 0, connection), node), purpose))
}

/** A uniform index in 0..n-1 from a random word: multiply-shift, exact to 2^-32, no modulo bias worth the name. */
export function below(word: RandomWord, n: number): number {
  // The same in integers: two halves of the product.
  if (n < 0x8000) return (Math.imul(word >>> 16, n) + (Math.imul(word & 0xffff, n) >>> 16)) >>> 16
  return Math.floor(((word >>> 0) / 4294967296) * n)
}
