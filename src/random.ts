/**
 * Seeded random numbers for all that is drawn before a packet moves (traffic, seeds, placements): sfc32 (PractRand's small fast counter), 32 bits a step.
 *
 * Every purpose (arrivals of a stream, sizes of a stream, …) has a sequence of its own, so that a change in one does not
 * shift the others. The same seed and purpose give the same numbers on every machine.
 * Cost: a dozen operations of 32 bits a number. Source: Chris Doty-Humphrey, PractRand, sfc32; seeding by MurmurHash3's finalizer.
 */
export class Random {
  private a: number
  private b: number
  private c: number
  private counter = 1

  /** @param seed  a non-negative safe integer; both of its 32-bit halves count */
  constructor(seed: number, purpose: string) {
    this.a = mix(seed >>> 0)
    this.b = mix(Math.floor(seed / 2 ** 32) ^ 0x9e3779b9)
    let hash = 0x811c9dc5
    for (let i = 0; i < purpose.length; i++) hash = Math.imul(hash ^ purpose.charCodeAt(i), 0x01000193)
    this.c = mix(hash)
    // sfc32 needs some steps until nearby seeds have nothing in common.
    for (let i = 0; i < 15; i++) this.next()
  }

  /** 0 to 2^32 - 1. */
  next(): number {
    const sum = (this.a + this.b + this.counter) | 0
    this.counter = (this.counter + 1) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = (((this.c << 21) | (this.c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** At least 0, below 1, in steps of 2^-32. */
  fraction(): number {
    return this.next() * 2 ** -32
  }

  /** 0 to `count` - 1, each as likely as the others to one part in 2^32 / count. */
  below(count: number): number {
    return Math.floor(this.fraction() * count)
  }
}

function mix(value: number): number {
  let hash = value | 0
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}

/** Seeds for repetitions that have nothing in common, of 32 bits each; the first is the base itself. */
export function seedsFrom(base: number, count: number): number[] {
  const random = new Random(base, 'seeds of draws')
  const seeds = new Set([base])
  while (seeds.size < count) seeds.add(random.next())
  return [...seeds]
}
