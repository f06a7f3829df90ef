/** What every report ends with: thresholds, warnings, what was filled in, constants with their sources, and how to make it again. */

import type { CapacityPage, ReplayPage, RolloutPage } from '../../src/report/html/page-data.ts'
import { emulatesText, formatCount } from '../../src/report/units.ts'
import { h, shown } from '../dom.ts'
import { table } from '../table.ts'
import { type Part, part } from './section.ts'

type Reported = ReplayPage | CapacityPage | RolloutPage

export function thresholdsPart({ report: { thresholds } }: Reported): Part | null {
  if (thresholds.length === 0) return null
  const rows = thresholds.flatMap(({ threshold, pass, matches }) =>
    matches.map((match) => ({ threshold, pass, match })),
  )
  return part(
    'thresholds',
    'Thresholds',
    `${formatCount(thresholds.filter(({ pass }) => pass).length)} of ${formatCount(thresholds.length)} hold.`,
    table(
      'Thresholds',
      [
        { head: 'threshold', value: ({ threshold }) => threshold },
        { head: 'holds', value: ({ pass }) => (pass ? '✓ yes' : '✗ no'), tone: ({ pass }) => (pass ? 'good' : 'bad') },
        { head: 'of', value: ({ match }) => match.path },
        { head: 'value', value: ({ match }) => (typeof match.value === 'number' ? match.value : String(match.value)) },
      ],
      rows,
    ),
  )
}

export function finePrint({ report, command, kind }: Reported): (Part | null)[] {
  const { warnings } = report
  const derived = 'derived' in report ? report.derived : []
  const model = 'model' in report ? report.model : []
  return [
    warnings.length === 0
      ? null
      : part(
          'warnings',
          `Warnings (${formatCount(warnings.length)})`,
          'What the manifests or the trace have that counts differently here, or not at all.',
          table(
            'Warnings',
            [
              { head: 'code', value: ({ code }) => code },
              { head: 'where', value: ({ where }) => where },
              { head: 'what', value: ({ message }) => message },
            ],
            warnings,
          ),
        ),
    derived.length === 0
      ? null
      : part(
          'derived',
          kind === 'rollout' ? 'Assumed' : 'Filled in',
          'What was not written down, and what a cluster would have made of it.',
          table(
            'Filled in',
            [
              { head: 'object', value: ({ object }) => object },
              { head: 'what', value: ({ what }) => what },
            ],
            derived,
          ),
        ),
    model.length === 0
      ? null
      : part(
          'constants',
          'Constants of the model',
          'Every number that path latency and capacity rest on; --model FILE sets them.',
          table(
            'Constants',
            [
              { head: 'constant', value: ({ name }) => name },
              { head: 'value', value: ({ value }) => value },
              { head: 'unit', value: ({ unit }) => unit },
              { head: 'set', value: ({ isSet }) => (isSet ? 'by a model file' : '') },
              { head: 'source', value: ({ source }) => source },
            ],
            model,
          ),
        ),
    part(
      'again',
      'The same again',
      `As ${emulatesText(report.emulates)}.`,
      command === '' ? h('p', {}, 'This report was made by a program.') : commandLine(command),
    ),
  ]
}

function commandLine(command: string): HTMLElement {
  const text = h('code', {}, shown(command))
  const said = h('span', { role: 'status' })
  const copy = h(
    'button',
    {
      type: 'button',
      onclick: () => {
        // A file opened from disk may not reach the clipboard: then the text is selected, for the reader to copy.
        const range = document.createRange()
        range.selectNodeContents(text)
        getSelection()?.removeAllRanges()
        getSelection()?.addRange(range)
        said.textContent = document.execCommand('copy') ? ' copied' : ' selected'
      },
    },
    'Copy',
  )
  return h('div', { class: 'command' }, h('pre', { tabindex: 0 }, text), copy, said)
}
