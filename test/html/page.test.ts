/** Pages in a browser: what they show is what the JSON has, they answer to mouse and keyboard, and everybody can read them. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { runRollout } from '../../src/commands/rollout.ts'
import { compareReports } from '../../src/compare/compare.ts'
import { parseReport } from '../../src/compare/read.ts'
import { renderComparison } from '../../src/compare/text.ts'
import { renderCapacityHtml } from '../../src/report/html/capacity.ts'
import { renderJson } from '../../src/report/json.ts'
import { formatCount, formatMicros, formatPercent } from '../../src/report/units.ts'
import { capacityReport, capacityRun, figures, kneeCell, plainCell } from '../capacity/fixture.ts'
import { fakeIo } from '../cli/fake-io.ts'
import { clusterRun, localRun, report } from '../report/fixture.ts'
import { chromiumPath, Pages, seriousFaults } from './browser.ts'
import { BINS, COMMAND, fullReport, hostileReport, page as pageOf } from './reports.ts'

if (chromiumPath === null)
  console.log('tests of pages in a browser are skipped: no Chromium is installed (CHROMIUM names one)')

const ROLLOUT = join(import.meta.dirname, '../../traces/rollout-nlb')
const pages = new Pages()
const folder = mkdtempSync(join(tmpdir(), 'dpemu-page-'))
afterAll(async () => {
  await pages.close()
  rmSync(folder, { recursive: true })
})
/** Nothing is asked for over a network, and nothing is said to the console: no error, no breach of the policy. */
afterEach(() => expect(pages.said.splice(0)).toEqual([]))

/** The rows of a table by its caption, as text. */
async function rowsOf(page: Page, caption: string): Promise<string[][]> {
  const table = page.getByRole('table', { name: caption, exact: true })
  return table
    .locator('tbody tr')
    .evaluateAll((rows) =>
      rows.map((row) =>
        [...(row as unknown as { cells: { textContent: string }[] }).cells].map((cell) => cell.textContent),
      ),
    )
}

/** A section's first slider: a chart with a cursor. */
function chart(page: Page, section: string) {
  return page.locator(`#${section} [role=slider]`).first()
}

describe.skipIf(chromiumPath === null)('the page of a replay report', () => {
  test('shows the figures of the JSON: bars, tables, and what the cursor reads out of a distribution', async () => {
    const { runs } = fullReport()
    const page = await pages.open(pageOf())
    expect(await page.title()).toBe('dpemu replay: two-plus-one')
    const table = new Map((await rowsOf(page, 'The runs')).map(([name, ...values]) => [name, values]))
    expect(table.get('connections established')).toEqual(runs.map((run) => formatCount(run.connections.established)))
    expect(table.get('masqueraded')).toEqual(runs.map((run) => formatPercent(run.masqueradedFraction)))
    const shares = await page
      .locator('#shares rect.bar[data-value]')
      .evaluateAll((bars) => bars.map((bar) => Number(bar.getAttribute('data-value'))))
    expect(shares).toEqual(runs[0]!.endpoints.flatMap((_, i) => runs.map((run) => run.endpoints[i]!.share)))
    const bands = await page
      .locator('#flow .titled')
      .first()
      .locator('.band')
      .evaluateAll((all) => all.map((one) => Number(one.getAttribute('data-value'))))
    expect(bands).toContain(1_500)
    expect(await rowsOf(page, 'Drop reasons')).toEqual([
      ['conntrack-full', expect.stringContaining('table'), '12', '0'],
    ])
    // 12,000 and 11,000 of 24,000 packets took less than 52 µs.
    await chart(page, 'latency').focus()
    const place = chart(page, 'latency')
    await page.keyboard.press('End')
    expect(await place.getAttribute('aria-valuetext')).toBe(`at ${formatMicros(192)}: Cluster 100 %, Local 100 %`)
    await page.keyboard.press('Home')
    expect(await place.getAttribute('aria-valuetext')).toBe(`at ${formatMicros(32)}: Cluster 0 %, Local 0 %`)
    expect(await page.locator('.command code').textContent()).toBe(COMMAND)
    await page.close()
  })

  test('moves one cursor through all series, zooms by keyboard, by drawing and back', async () => {
    const page = await pages.open(pageOf())
    const charts = page.locator('#time [role=slider]')
    const first = charts.first()
    const axis = (): Promise<string[]> => charts.nth(1).locator('.axis').first().locator('text').allTextContents()
    const whole = await axis()
    const svg = first.locator('svg')
    await svg.scrollIntoViewIfNeeded()
    const box = (await svg.boundingBox())!
    await page.mouse.move(box.x + box.width * 0.5, box.y + box.height / 2)
    const readings = await charts.evaluateAll((all) => all.map((one) => one.getAttribute('aria-valuetext')!))
    const at = /^at ([\d.]+ s): /.exec(readings[0]!)![1]!
    expect(Number.parseFloat(at)).toBeGreaterThan(20)
    expect(readings.every((text) => text.startsWith(`at ${at}: `))).toBe(true)
    const bin = Math.floor(Number.parseFloat(at) / 1.5)
    expect(readings[0]).toContain(`Cluster ${Number((bin / 1.5).toPrecision(3))} /s`)
    await page.mouse.down()
    await page.mouse.move(box.x + box.width * 0.7, box.y + box.height / 2, { steps: 4 })
    await page.mouse.up()
    const part = await axis()
    expect(part).not.toEqual(whole)
    expect(Number.parseFloat(part.at(-1)!)).toBeLessThan(BINS * 1.5 * 0.8)
    await page.getByRole('button', { name: 'Show all of the time' }).click()
    expect(await axis()).toEqual(whole)
    await first.focus()
    await page.keyboard.press('+')
    expect(await axis()).not.toEqual(whole)
    await page.keyboard.press('Escape')
    expect(await axis()).toEqual(whole)
    await page.close()
  })

  test('sorts and filters tables, and draws another Service, the tail, and the other colours', async () => {
    const page = await pages.open(pageOf())
    const endpoints = page.locator('#shares .table').first()
    await endpoints.getByRole('button', { name: 'connections' }).click()
    const counts = (await rowsOf(page, 'All endpoints')).map((row) => Number(row[5]!.replaceAll(',', '')))
    expect(counts).toEqual([...counts].sort((a, b) => b - a))
    expect(await endpoints.locator('th[aria-sort]').getAttribute('aria-sort')).toBe('descending')
    const constants = page.locator('#runs .table')
    await constants.getByLabel('Filter').fill('packets drop')
    expect((await rowsOf(page, 'The runs')).map(([name]) => name)).toEqual(['packets dropped'])
    expect(await constants.getByRole('status').textContent()).toContain('1 of ')
    await page.locator('#latency').getByLabel('as', { exact: true }).selectOption('longer than (the tail)')
    await chart(page, 'latency').focus()
    await page.keyboard.press('Home')
    expect(await chart(page, 'latency').getAttribute('aria-valuetext')).toContain('Cluster 100 %')
    const ground = (): Promise<unknown> => page.evaluate('getComputedStyle(document.documentElement).backgroundColor')
    const before = await ground()
    await page.getByRole('button', { name: 'Dark' }).click()
    expect(await ground()).not.toBe(before)
    await page.close()
  })

  test('prints with everything unfolded', async () => {
    const page = await pages.open(pageOf())
    const pdf = await page.pdf({ format: 'A4' })
    expect(pdf.subarray(0, 5).toString()).toBe('%PDF-')
    expect(await page.locator('details:not([open])').count()).toBe(0)
    expect((await rowsOf(page, 'distribution of packets')).length).toBe(6)
    await page.close()
  })

  test.each([
    [1280, 'light'],
    [768, 'dark'],
    [390, 'light'],
  ] as const)('at %i pixels, %s: nothing serious by axe, and no wider than the screen', async (width, scheme) => {
    const page = await pages.open(pageOf(), { width, scheme })
    expect(await seriousFaults(page)).toEqual([])
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width)
    await page.close()
  })

  test('ten thousand endpoints on a thousand nodes with hostile names are names, and few elements', async () => {
    const page = await pages.open(pageOf(hostileReport(10_000, 1_000)), { width: 390 })
    expect(await page.locator('script').count()).toBe(2)
    expect(await page.locator('img').count()).toBe(0)
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390)
    expect(await page.evaluate('document.querySelectorAll("*").length')).toBeLessThan(12_000)
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe(
      'dpemu replay: </script><script>alert(1)</script>',
    )
    const endpoints = page.locator('#shares .table').first()
    await endpoints.getByLabel('Filter').fill('\\u202e -9999')
    expect((await rowsOf(page, 'All endpoints')).length).toBe(0)
    await endpoints.getByLabel('Filter').fill('-9995 cluster')
    expect((await rowsOf(page, 'All endpoints')).map(([name]) => name)).toEqual([
      'default/\\u202egnirts desrever\\u2066-9995',
    ])
    await page.close()
  })
})

describe.skipIf(chromiumPath === null)('pages of other reports', () => {
  test('compare: what differs, sorted by the size of the change', async () => {
    const reports = [report(), report([clusterRun({ drops: { 'conntrack-full': 12 } }), localRun()])].map((one, i) =>
      parseReport(`${i}.json`, Buffer.from(renderJson(one))),
    )
    const comparison = compareReports(reports, [])
    const page = await pages.open(renderComparison('html', comparison, { color: false, command: COMMAND }))
    const rows = await rowsOf(page, 'What differs, the largest first: table')
    expect(rows[0]![0]).toContain('conntrack-full')
    await page.getByRole('button', { name: '1.json' }).click()
    expect(await page.locator('th[aria-sort]').getAttribute('aria-sort')).toBe('descending')
    expect(await seriousFaults(page)).toEqual([])
    await page.close()
  })

  test('capacity: knees, searches and a map', async () => {
    const cells = [3, 6].flatMap((nodes) =>
      [0.5, 1].flatMap((rate) =>
        (['cluster', 'local'] as const).map((policy) =>
          plainCell(nodes, {
            name: `nodes=${nodes}, rate=${rate}, policy=${policy}`,
            policy,
            parameters: { nodes, rate },
            run: capacityRun({ holds: rate < 1, figures: figures({ conntrackFraction: rate * nodes * 0.1 }) }),
          }),
        ),
      ),
    )
    const sweep = capacityReport(cells, {
      search: null,
      axes: [
        { name: 'nodes', values: [3, 6] },
        { name: 'rate', values: [0.5, 1] },
      ],
    })
    const page = await pages.open(renderCapacityHtml(sweep, [], COMMAND), { scheme: 'dark' })
    await page.locator('#map').getByLabel('figure').selectOption('fullest conntrack table')
    const values = await page
      .locator('#map .cell rect')
      .evaluateAll((all) => all.map((one) => Number(one.getAttribute('data-value'))))
    expect(values.slice(0, 4).map((value) => Number(value.toFixed(3)))).toEqual([0.15, 0.3, 0.3, 0.6])
    expect(await page.locator('#map rect.failed').count()).toBe(4)
    expect(await seriousFaults(page)).toEqual([])
    await page.close()
    const search = await pages.open(
      renderCapacityHtml(capacityReport([kneeCell(), kneeCell({ name: 'policy=local' })]), [], COMMAND),
    )
    expect((await rowsOf(search, 'Knees'))[0]!.slice(0, 3)).toEqual(['policy=cluster', '4.00 k/s', '4.00'])
    expect(await search.locator('#search circle').count()).toBe(6)
    await search.close()
  })

  test('rollout: losses, the timeline, and a table of preStops', async () => {
    const file = join(folder, 'rollout.html')
    const io = fakeIo()
    await runRollout(
      {
        manifests: [join(ROLLOUT, 'manifests')],
        timeline: join(ROLLOUT, 'timeline.yaml'),
        runs: '3',
        safe: true,
        threshold: [],
        quiet: true,
        output: [`html=${file}`, 'json'],
      },
      io,
    )
    const json = JSON.parse(io.written.stdout) as {
      losses: { cause: string }[]
      preStopTable: unknown[]
      firstRun: { pods: unknown[] }
    }
    const page = await pages.open(readFileSync(file, 'utf8'))
    expect((await rowsOf(page, 'Losses')).map(([cause]) => cause)).toEqual(json.losses.map(({ cause }) => cause))
    expect((await rowsOf(page, 'By preStop')).length).toBe(json.preStopTable.length)
    expect((await rowsOf(page, 'Pods')).length).toBe(json.firstRun.pods.length)
    expect(await page.locator('#timeline rect.span.ready').count()).toBeGreaterThan(3)
    expect(await seriousFaults(page)).toEqual([])
    await page.close()
  })
})
