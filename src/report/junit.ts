/**
 * Thresholds and expectations as JUnit XML, for CI systems that list test cases: each is one, in their order.
 *
 * Source: the JUnit schema that Jenkins, GitLab and GitHub's reporters read (testsuites, testsuite, testcase, failure).
 * There is no clock in it: the times that those would show are no part of a result.
 */
import { cellText } from './document.ts'
import type { ThresholdResult } from './threshold.ts'
import { thresholdLines } from './threshold-lines.ts'

export interface JunitCase {
  readonly name: string
  /** null: it passed. */
  readonly failure: { readonly type: string; readonly message: string; readonly text: string } | null
}

/** @param suite  `dpemu replay: storefront` */
export function renderJunit(suite: string, results: readonly ThresholdResult[]): string {
  return renderJunitCases(suite, results.map(caseOf))
}

function caseOf(result: ThresholdResult): JunitCase {
  const name = result.threshold.text
  if (result.pass) return { name, failure: null }
  const values = result.matches.filter(({ pass }) => !pass).length
  const message = `${values} of ${result.matches.length} ${result.matches.length === 1 ? 'value' : 'values'} outside the threshold`
  const text = thresholdLines([result]).map(cellText).join('\n')
  return { name, failure: { type: 'threshold', message, text } }
}

/** Any list of cases, in their order. */
export function renderJunitCases(suite: string, cases: readonly JunitCase[]): string {
  const failures = cases.filter(({ failure }) => failure !== null).length
  const counts = `tests="${cases.length}" failures="${failures}" errors="0" skipped="0"`
  const lines = cases.map(({ name, failure }) => {
    const start = `    <testcase classname="${escaped(suite)}" name="${escaped(name)}"`
    if (failure === null) return `${start}/>`
    return `${start}>\n      <failure type="${failure.type}" message="${escaped(failure.message)}">${escaped(failure.text)}</failure>\n    </testcase>`
  })
  return `${[
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="dpemu" ${counts}>`,
    `  <testsuite name="${escaped(suite)}" ${counts}>`,
    ...lines,
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
