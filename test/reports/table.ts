/** One half of the public reports as tests: each case by its question, and what every case has to say of itself. */
import { afterAll, describe, expect, test } from 'vitest'
import { casesIn, Runner } from './cases.ts'

export function testReports(folder: string): void {
  const runner = new Runner()
  afterAll(() => runner.close())
  const cases = casesIn(folder)
  for (const one of cases) {
    const run = one.now === 'wrong' ? test.fails : test
    run(`${one.name}: ${one.question}`, () => runner.check(one))
  }

  describe('the table', () => {
    test('says of every case where it is from and what was said at first sight', () => {
      for (const { name, source, year, area, answer, firstSight } of cases) {
        expect(source, name).toMatch(/^[\w.-]+\/[\w.-]+#\d+(, [\w.-]+\/[\w.-]+#\d+)*$/)
        expect(year, name).toBeGreaterThan(2014)
        expect(area, name).not.toBe('')
        expect(answer.length, name).toBeGreaterThan(40)
        expect(['right', 'wrong'], name).toContain(firstSight)
      }
    })
  })
}
