/** ipvs' own UDP connections against a plain Map, with `selfCheck` after each step. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { IpvsConnections } from '../../native-free-core/ipvs-connections.ts'

const NODES = 3

interface Tuple {
  readonly source: number
  readonly destination: number
  readonly ports: number
  readonly nodeProtocol: number
}
interface Known extends Tuple {
  readonly endpoint: number
  readonly frontend: number
  readonly expiresMs: number
}

const tuple: fc.Arbitrary<Tuple> = fc.record({
  source: fc.nat(5),
  destination: fc.nat(2),
  ports: fc.nat(3).map((port) => ((40_000 + port) << 16) | 53),
  nodeProtocol: fc.nat(NODES - 1).map((node) => (node << 8) | 17),
})
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('lose' as const), tuple, endpoint: fc.nat(5), ms: fc.nat(900) }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('find' as const), tuple }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('take' as const), tuple }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(300) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('sweep' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('change' as const), served: fc.nat(63) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('clear' as const) }) },
)

test('random losses, looks, sweeps and changes give what the Map gives', () => {
  let longest = 0
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 400, size: 'max' }),
      // Times are the low 32 bits of milliseconds: the clock may wrap on the way.
      fc.constantFrom(0, 2 ** 31 - 2000, 2 ** 32 - 2000),
      (steps, startMs) => {
        const table = new IpvsConnections()
        const map = new Map<string, Known>()
        const keyOf = (one: Tuple): string => `${one.source} ${one.destination} ${one.ports} ${one.nodeProtocol}`
        const slotOf = (one: Tuple): number => table.find(one.source, one.destination, one.ports, one.nodeProtocol)
        let nowMs = startMs
        const forgotten: string[] = []
        const told = (node: number, frontend: number, endpoint: number): void => {
          forgotten.push(`${node} ${frontend} ${endpoint}`)
        }
        const dropped = (stays: (one: Known) => boolean): string[] => {
          const gone = [...map.values()].filter((one) => !stays(one))
          for (const one of gone) map.delete(keyOf(one))
          return gone.map((one) => `${one.nodeProtocol >> 8} ${one.frontend} ${one.endpoint}`)
        }
        for (const one of steps) {
          forgotten.length = 0
          let expected: string[] = []
          if (one.do === 'lose') {
            const key = keyOf(one.tuple)
            if (map.has(key)) continue
            const known = {
              ...one.tuple,
              endpoint: one.endpoint,
              frontend: one.endpoint + 7,
              expiresMs: nowMs + one.ms,
            }
            map.set(key, known)
            table.add(one.tuple, known.endpoint, known.frontend, known.expiresMs | 0)
          } else if (one.do === 'find' || one.do === 'take') {
            const known = map.get(keyOf(one.tuple))
            const slot = slotOf(one.tuple)
            expect(slot >= 0).toBe(known !== undefined)
            if (known === undefined) continue
            expect([table.endpoint(slot), table.frontend(slot)]).toEqual([known.endpoint, known.frontend])
            expect(table.isAlive(slot, nowMs | 0)).toBe(known.expiresMs > nowMs)
            if (one.do === 'take') {
              table.remove(slot)
              map.delete(keyOf(one.tuple))
            }
          } else if (one.do === 'wait') nowMs += one.ms
          else if (one.do === 'sweep') {
            table.sweep(nowMs | 0, told)
            expected = dropped(({ expiresMs }) => expiresMs > nowMs)
          } else if (one.do === 'change') {
            const isServed = (destination: number, endpoint: number): boolean =>
              ((one.served >> endpoint) & 1) === 1 && destination !== 2
            table.keepServed((_source, destination, port, protocol, node, endpoint) => {
              expect([port, protocol, node < NODES]).toEqual([53, 17, true])
              return isServed(destination, endpoint)
            }, told)
            expected = dropped(({ destination, endpoint }) => isServed(destination, endpoint))
          } else {
            table.clear()
            map.clear()
          }
          expect(forgotten.sort()).toEqual(expected.sort())
          table.selfCheck()
          expect(table.size).toBe(map.size)
          longest = Math.max(longest, map.size)
        }
      },
    ),
    { seed: 20_311, numRuns: 150 },
  )
  // It has grown on the way.
  expect(longest).toBeGreaterThan(32)
})
