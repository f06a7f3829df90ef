/**
 * A real kernel as judge: random clusters, the ruleset that `rules` prints for node `a`, real sockets, and what dpemu says of each.
 *
 * DPEMU_LIVE_CASES (default 2000) and DPEMU_LIVE_SEQUENCES (default 200) say how many; DPEMU_LIVE_SEED which. What disagrees is
 * made as small as it gets and printed as a row. See README.md beside this for what is judged and what cannot be.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Site, whyNot } from './site.ts'
import {
  type Case,
  CLIENTS,
  caseIn,
  DIALS,
  judge,
  type LiveFamily,
  randomOf,
  randomWorld,
  type World,
} from './worlds.ts'

const CASES = Number(process.env['DPEMU_LIVE_CASES'] ?? 2000)
const SEQUENCES = Math.min(200, Number(process.env['DPEMU_LIVE_SEQUENCES'] ?? 200))
const SEED = Number(process.env['DPEMU_LIVE_SEED'] ?? 20_266)
/** Milliseconds without an answer that mean that there is none; a retransmission would come after 1000. */
const SILENCE = 400
const PATIENCE = 4000
const A_WORLD = 60

type Answer = readonly [Case, string, ReadonlySet<string>]

const reason = whyNot()
if (reason !== null) console.log(`live tests are skipped: ${reason}`)

const site = new Site()

async function answersOf(world: World, cases: readonly Case[]): Promise<readonly Answer[]> {
  const judged = judge(world, cases)
  const family = world.family ?? 'IPv4'
  const legacy = world.masqueradeAll ? 'legacy' : 'nft'
  if (world.mode === 'nftables') site.load('nft', judged.native.nft!)
  else if (family === 'IPv6') site.load('ip6tables-restore', judged.native['ip6tables-restore']!)
  else site.load('iptables-restore', judged.native['iptables-restore']!, legacy)
  const known = cases.flatMap((one) => {
    const outcomes = judged.outcomes(one)
    return outcomes === null ? [] : [[one, outcomes] as const]
  })
  const places = [...new Set(known.map(([{ place }]) => place))]
  const lists = await Promise.all(
    places.map(async (place) => {
      const own = known.filter(([one]) => one.place === place)
      const said = await site.dial(
        place,
        own.map(([one]) => ({ ...caseIn(family, one), timeout: SILENCE })),
      )
      return own.map(([one, outcomes], i) => [one, said[i]!, outcomes] as const)
    }),
  )
  return lists.flat()
}

/**
 * Asks once more where nobody answered: silence may be a busy machine, or a refusal that came while the socket was still being connected,
 * which shows only when the SYN is sent again. All at once first, with time for two retransmissions; then each alone.
 *
 * @returns those that still go another way
 */
async function again(doubtful: readonly Answer[], family: LiveFamily): Promise<Answer[]> {
  const ask = (list: readonly Answer[]): Promise<Answer[]> => {
    const places = [...new Set(list.map(([{ place }]) => place))]
    return Promise.all(
      places.map(async (place) => {
        const own = list.filter(([one]) => one.place === place)
        const said = await site.dial(
          place,
          own.map(([one]) => ({ ...caseIn(family, one), timeout: PATIENCE })),
        )
        return own.map(([one, , outcomes], i): Answer => [one, said[i]!, outcomes])
      }),
    ).then((lists) => lists.flat())
  }
  const silent = doubtful.filter(([, said]) => said === 'silent')
  let left = (await ask(silent)).filter(([, said, outcomes]) => !agrees(said, outcomes))
  const alone: Answer[] = []
  for (const one of left.filter(([, said]) => said === 'silent')) alone.push(...(await ask([one])))
  left = [
    ...left.filter(([, said]) => said !== 'silent'),
    ...alone.filter(([, said, outcomes]) => !agrees(said, outcomes)),
  ]
  return [...doubtful.filter(([, said]) => said !== 'silent'), ...left]
}

/** `place` is the judge's own business; an unknown seen address (`*`) matches any. */
function agrees(said: string, outcomes: ReadonlySet<string>): boolean {
  const text = said.split(' ').slice(1).join(' ').replaceAll('::ffff:', '') || said
  return outcomes.has(text) || outcomes.has(text.replace(/ \S+$/, ' *'))
}

/** The smallest world in which the case still goes another way. */
async function shrink(world: World, one: Case): Promise<World> {
  let best = world
  for (let isSmaller = true; isSmaller; ) {
    isSmaller = false
    const smaller: World[] = [
      ...best.endpoints.map((_, i) => ({ ...best, endpoints: best.endpoints.filter((_, j) => j !== i) })),
      ...(best.ranges.length > 0 ? [{ ...best, ranges: [] }] : []),
      ...(best.masqueradeAll ? [{ ...best, masqueradeAll: false }] : []),
      ...(best.serviceCidrs ? [{ ...best, serviceCidrs: false }] : []),
      ...(best.internal === 'Local' ? [{ ...best, internal: 'Cluster' as const }] : []),
      ...(best.external === 'Local' ? [{ ...best, external: 'Cluster' as const }] : []),
    ]
    for (const candidate of smaller) {
      const again = await answersOf(candidate, [one, one, one])
      if (again.every(([, said, outcomes]) => agrees(said, outcomes))) continue
      best = candidate
      isSmaller = true
      break
    }
  }
  return best
}

describe.skipIf(reason !== null)('the kernel and dpemu agree', () => {
  beforeAll(() => site.open())
  afterAll(() => site.close())

  test('on verdict, endpoint and the address that is seen', async () => {
    const random = randomOf(SEED)
    const rows: string[] = []
    const kinds = new Map<string, number>()
    let judgedCases = 0
    const families = new Set<string>()
    while (judgedCases < CASES && rows.length < 5) {
      const family = random() < 0.3 ? ('IPv6' as const) : ('IPv4' as const)
      const world = { ...randomWorld(random), family }
      families.add(family)
      const cases = Array.from({ length: A_WORLD }, (): Case => {
        const [place, from] = CLIENTS[Math.floor(random() * CLIENTS.length)]!
        const [protocol, to, port] = DIALS[Math.floor(random() * DIALS.length)]!
        return { place, protocol, from, to, port }
      })
      const answers = await answersOf(world, cases)
      judgedCases += answers.length
      const wrong = await again(
        answers.filter(([, said, outcomes]) => !agrees(said, outcomes)),
        family,
      )
      for (const [, said] of answers) {
        const kind = said.includes(' ') ? 'answered' : said
        kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
      }
      const first = wrong[0]
      if (first === undefined) continue
      const [one] = first
      const small = await shrink(world, one)
      const [[, said, outcomes]] = (await answersOf(small, [one])) as [(typeof answers)[number]]
      rows.push(
        `${JSON.stringify({ ...small, ...one })}: kernel ${said}, dpemu ${[...outcomes].join(' | ')}; first seen: kernel ${first[1]}, dpemu ${[...first[2]].join(' | ')}`,
      )
    }
    console.log(`${judgedCases} cases: ${[...kinds].map(([kind, count]) => `${kind} ${count}`).join(', ')}`)
    expect(rows.join('\n')).toBe('')
    expect([...kinds.keys()].sort()).toEqual(['answered', 'refused', 'silent'])
    expect(families.size).toBe(2)
  }, 1_800_000)

  test.each(['nftables', 'iptables'] as const)(
    '%s: a client goes back to its endpoint for as long as the timeout runs since its last connection',
    async (mode) => {
      const T = 2
      const world: World = {
        mode,
        detector: 'ClusterCIDR',
        masqueradeAll: false,
        serviceCidrs: false,
        external: 'Cluster',
        internal: 'Cluster',
        ranges: [],
        affinitySeconds: T,
        endpoints: [5, 6, 7, 8].map((host) => ({ address: `10.1.0.${host}`, node: 'a' })),
      }
      const { native } = judge(world, [])
      if (mode === 'nftables') site.load('nft', native.nft!)
      else site.load('iptables-restore', native['iptables-restore']!)
      const random = randomOf(SEED)
      // iptables keeps a hundred clients a list, and forgets the rest early.
      const clients = Array.from({ length: Math.min(SEQUENCES, 100) }, (_, i) => `198.51.100.${10 + i}`)
      /** One connection of each client, and when they began and were over. */
      const round = async () => {
        const began = performance.now()
        const said = await site.dial(
          'client',
          clients.map((from) => {
            const [to, port] = random() < 0.5 ? (['10.96.0.10', 80] as const) : (['192.168.0.1', 30080] as const)
            return { protocol: 'tcp', from, to, port, timeout: 1000 } as const
          }),
        )
        return { began, ended: performance.now(), endpoints: said.map((text) => text.split(' ')[1]!) }
      }
      const pause = (share: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, T * 1000 * share))
      let moved = 0
      let kept = 0
      // On a busy machine a round may take so long that the timeout is over before the next: then it says nothing.
      for (let attempt = 0; attempt < 12 && kept < 2 * clients.length; attempt++) {
        const first = await round()
        await pause(0.65)
        const second = await round()
        await pause(0.65)
        const third = await round()
        await pause(1.6)
        const later = await round()
        await pause(1.6)
        const isInTime = second.ended - first.began < T * 1000 && third.ended - second.began < T * 1000
        if (!isInTime || third.began - first.ended < T * 1000) continue
        // More than a timeout after the first, less than one after the second: only renewal keeps them.
        expect([second.endpoints, third.endpoints]).toEqual([first.endpoints, first.endpoints])
        kept += third.endpoints.length
        moved += later.endpoints.filter((endpoint, k) => endpoint !== third.endpoints[k]).length
      }
      expect(kept).toBeGreaterThan(0)
      // Free again, three of four go elsewhere.
      expect(moved / kept).toBeGreaterThan(0.5)
    },
    600_000,
  )
})
