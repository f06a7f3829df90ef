/**
 * What the batched driver builds on: without source ranges `decide` gives one answer to all sources of a class. It caches answers by
 * (frontend, node, class), so a rule that looks at anything else must be punted there (fast-setup.ts `ask`).
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { classifySource } from '../../native-free-core/decide.ts'
import { createDecision, decide } from '../../native-free-core/index.ts'
import { labOf, SEED, setting } from './random-worlds.ts'

test('sources of one class get one answer, at every frontend and node', () => {
  let compared = 0
  fc.assert(
    fc.property(setting, (world) => {
      const lab = labOf(world)
      const rules = lab.rules.columns
      const sources = world.clients.map((client) => lab.client(client))
      lab.rules.columns.destinationAddress.forEach((destination, i) => {
        const port = rules.destinationPort[i]
        const protocol = rules.destinationProtocol[i]
        lab.nodeNames.forEach((_, node) => {
          const answers = new Map<number, { source: number; answer: unknown }>()
          for (const source of sources) {
            const decision = createDecision()
            decide(rules, node, { source, destination, port, protocol }, decision)
            const { frontend } = decision
            if (frontend >= 0 && rules.frontendRangeCount[frontend] > 0) continue
            const kind = classifySource(rules, node, source)
            const answer = { ...decision }
            const before = answers.get(kind)
            if (before === undefined) answers.set(kind, { source, answer })
            else {
              compared++
              expect(answer, `sources ${before.source} and ${source} at node ${node}, dial ${i}`).toEqual(before.answer)
            }
          }
        })
      })
    }),
    { seed: SEED, numRuns: 60 },
  )
  expect(compared).toBeGreaterThan(1000)
})
