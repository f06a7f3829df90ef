/**
 * Source ports for masquerade, as the kernel searches them.
 *
 * The port must make the reply tuple unique on the node. Ranges by the original source port: below 512 → 1..511, 512..1023 →
 * 600..1023, else 1024..65535. Fully random: a start of `min + (16 random bits mod size)`, which makes the lowest ports
 * of the big range twice as likely, then a linear walk; 128, 64, 32, 16 and 8 tries, each walk from a new start; a range of
 * at most 128 ports is tried once through. So the search begins to fail well before the range is used up.
 * Without `random-fully` the original port is kept where it is free.
 * A shard uses only the ports of its own residue class (port mod shards), so that no two shards can pick the same one;
 * with one shard the search is the kernel's own. Original ports know no classes: where they are kept, one shard does all.
 * In the last 31 tries of each walk the ports of closing TCP connections may be taken over (NF_NAT_HARDER_THRESH).
 * Cost: one index lookup a try. Source: linux net/netfilter/nf_nat_core.c; failure curve measured.
 */

import { finish, mix } from './hash.ts'
import type { Port, RandomWord, Shard } from './kinds.ts'

const WINDOWS = [128, 64, 32, 16, 8]
const HARDER_THRESHOLD = 32

export const PORTS_LOW: readonly [number, number] = [1, 511]
export const PORTS_PRIVILEGED: readonly [number, number] = [600, 1023]
export const PORTS_USER: readonly [number, number] = [1024, 65535]

/** The range that a source port may be mapped into: first and last port. */
export function portRange(port: Port): readonly [number, number] {
  return port < 512 ? PORTS_LOW : port < 1024 ? PORTS_PRIVILEGED : PORTS_USER
}

/**
 * @param port    the original source port
 * @param random    random word of the connection for this purpose
 * @param keep    try the original port first
 * @param taken   whether the reply tuple with this source port exists already; `harder` in the last tries of a walk, where
 *                the kernel takes over ports of closing connections
 * @returns       the port, or 0 when the search gave up
 * Twin: fast-setup.ts `translate` (`firstTry`).
 */
export function findPort(
  port: Port,
  random: RandomWord,
  keep: boolean,
  shard: Shard,
  shards: number,
  taken: (port: Port, harder: boolean) => boolean,
): number {
  if (keep && !taken(port, false)) return port
  const range = portRange(port)
  const own = firstOwn(range, shard, shards)
  const size = sizeOf(range, own, shards)
  if (size === 0) return 0
  let drawn: RandomWord = random
  for (let walk = 0; walk < WINDOWS.length; walk++) {
    const start = startOf(range, size, drawn, shards)
    const tries = size <= 128 ? size : WINDOWS[walk]
    for (let i = 0; i < tries; i++) {
      const nth = start + i < size ? start + i : start + i - size
      const candidate = own + nth * shards
      if (!taken(candidate, tries - i < HARDER_THRESHOLD)) return candidate
    }
    if (size <= 128) return 0
    drawn = finish(mix(drawn, WINDOWS[walk]))
  }
  return 0
}

/** The port that a fully random search tries first, or 0 where the shard has none. */
export function firstTry(port: Port, random: RandomWord, shard: Shard, shards: number): number {
  const range = portRange(port)
  const own = firstOwn(range, shard, shards)
  const size = sizeOf(range, own, shards)
  return size === 0 ? 0 : own + startOf(range, size, random, shards) * shards
}

/** The first port of the range in this shard's class. */
function firstOwn(range: readonly [number, number], shard: Shard, shards: number): number {
  // Nothing negative: a remainder of -0 would make all of this doubles (`fprem`).
  return range[0] + ((shard + (shards << 16) - range[0]) % shards)
}

/** How many there are. */
function sizeOf(range: readonly [number, number], own: number, shards: number): number {
  return own > range[1] ? 0 : (((range[1] - own) / shards) | 0) + 1
}

/** 16 random bits over the whole range, then down to the class: keeps the kernel's bias towards the lowest ports. */
function startOf(range: readonly [number, number], size: number, random: number, shards: number): number {
  return Math.min(size - 1, (((random >>> 16) % (range[1] - range[0] + 1)) / shards) | 0)
}
