/**
 * Thresholds as JUnit XML, for CI systems that list test cases: each threshold is one, in their order.
 *
 * Source: the JUnit schema that Jenkins, GitLab and GitHub's reporters read (testsuites, testsuite, testcase, failure).
 * There is no clock in it: the times that those would show are no part of a result.
 */
import { cellText } from './document.ts'
import type { ThresholdResult } from './threshold.ts'
import { thresholdLines } from './threshold-lines.ts'

/** @param suite  `dpemu replay: storefront` */
export function renderJunit(suite: string, results: readonly ThresholdResult[]): string {
  const failures = results.filter(({ pass }) => !pass).length
  const counts = `tests="${results.length}" failures="${failures}" errors="0" skipped="0"`
  const cases = results.map((result) => {
    const name = `    <testcase classname="${escaped(suite)}" name="${escaped(result.threshold.text)}"`
    if (result.pass) return `${name}/>`
    const lines = thresholdLines([result]).map(cellText)
    const values = result.matches.filter(({ pass }) => !pass).length
    const message = `${values} of ${result.matches.length} ${result.matches.length === 1 ? 'value' : 'values'} outside the threshold`
    return `${name}>\n      <failure type="threshold" message="${escaped(message)}">${escaped(lines.join('\n'))}</failure>\n    </testcase>`
  })
  return `${[
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="dpemu" ${counts}>`,
    `  <testsuite name="${escaped(suite)}" ${counts}>`,
    ...cases,
    '  </testsuite>',
    '</testsuites>',
  ].join('\n')}\n`
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

/** Letters that XML 1.0 cannot hold at all become question marks. */
function escaped(text: string): string {
  return text
    .replace(/[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/gu, '?')
    .replace(/[&<>"]/g, (letter) => ENTITIES[letter]!)
}
