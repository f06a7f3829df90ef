/**
 * Hashes that decide what a cluster decides at random: the ends of pod names, cluster IPs, node ports.
 *
 * A hash of the object's name rather than a counter: adding an object to the manifests does not rename or renumber others.
 * Source: FNV-1a with the finaliser of MurmurHash3; the alphabet is apimachinery's pkg/util/rand (no vowels, no 0, 1, 3).
 */

const SAFE_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789'

/** 32 bits that depend on every character of `text`. */
export function stableHash(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** `length` characters as the API server ends generated names with. */
export function stableSuffix(text: string, length: number): string {
  let suffix = ''
  for (let i = 0; suffix.length < length; i++)
    suffix += SAFE_ALPHABET[stableHash(`${i} ${text}`) % SAFE_ALPHABET.length]
  return suffix
}
