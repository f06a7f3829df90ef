/** The page: reads what the file holds and draws the parts of its kind of report beneath what stands there already. */

import type { PageData } from '../src/report/html/page-data.ts'
import { readData } from './data.ts'
import { h } from './dom.ts'
import { capacityParts } from './views/capacity.ts'
import { documentParts } from './views/document.ts'
import { replayParts } from './views/replay.ts'
import { rolloutParts } from './views/rollout.ts'
import type { Part } from './views/section.ts'

async function start(): Promise<void> {
  const page = await readData()
  const main = document.querySelector('main')!
  const parts = partsOf(page).filter((part) => part !== null)
  main.append(...parts.map(({ element }) => element))
  const contents = document.querySelector('nav')!
  contents.append(
    h(
      'ul',
      {},
      page.inShort.length === 0 ? null : h('li', {}, h('a', { href: '#in-short' }, 'In short')),
      ...parts.map(({ id, title }) => h('li', {}, h('a', { href: `#${id}` }, title))),
    ),
    themeButton(),
  )
  contents.hidden = false
  openForPrint()
  document.documentElement.dataset['ready'] = page.kind
}

function partsOf(page: PageData): (Part | null)[] {
  switch (page.kind) {
    case 'replay':
      return replayParts(page)
    case 'capacity':
      return capacityParts(page)
    case 'document':
      return documentParts(page)
    case 'rollout':
      return rolloutParts(page)
  }
}

/** As the system has it, until it is pressed. */
function themeButton(): HTMLElement {
  const root = document.documentElement
  const isDark = (): boolean =>
    (root.dataset['theme'] ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark'
  const text = (): string => (isDark() ? 'Light' : 'Dark')
  const button = h(
    'button',
    {
      type: 'button',
      class: 'theme',
      onclick: () => {
        root.dataset['theme'] = isDark() ? 'light' : 'dark'
        button.textContent = text()
      },
    },
    text(),
  )
  return button
}

/** On paper nothing can be unfolded. */
function openForPrint(): void {
  addEventListener('beforeprint', () => {
    for (const details of document.querySelectorAll('details')) {
      details.open = true
      // The browser's own comes too late for the paper.
      details.dispatchEvent(new Event('toggle'))
    }
  })
}

start().catch((error: unknown) => {
  document
    .querySelector('main')!
    .append(
      h(
        'p',
        { class: 'bad', role: 'alert' },
        `The report could not be drawn: ${String(error)}. It needs a browser of 2023 or later.`,
      ),
    )
})
