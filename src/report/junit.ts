/**
 * Thresholds and expectations as JUnit XML, for CI systems that list test cases: each is one, in their order.
 *
 * Source: the JUnit schema that Jenkins, GitLab and GitHub's reporters read (testsuites, testsuite, testcase, failure).
 * There is no clock in it: the times that those would show are no part of a result.
 */
import { cellText } from './document.ts'
import type { ThresholdResult } from './threshold.ts'
import { thresholdLines } from './threshold-lines.ts'
import { xmlText } from './xml.ts'

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
    const start = `    <testcase classname="${xmlText(suite)}" name="${xmlText(name)}"`
    if (failure === null) return `${start}/>`
    return `${start}>\n      <failure type="${failure.type}" message="${xmlText(failure.message)}">${xmlText(failure.text)}</failure>\n    </testcase>`
  })
  return `${[
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="dpemu" ${counts}>`,
    `  <testsuite name="${xmlText(suite)}" ${counts}>`,
    ...lines,
    '  </testsuite>',
    '</testsuites>',
  ].join('\n')}\n`
}
