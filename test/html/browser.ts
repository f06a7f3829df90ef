/** A Chromium that opens pages from disk, one for all tests of a file; what a page says to its console is an error. */
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Browser, chromium, type Page } from 'playwright-core'

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome', '/snap/bin/chromium']
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** null where none is installed. CHROMIUM names another. */
export const chromiumPath: string | null =
  [...(process.env['CHROMIUM'] === undefined ? [] : [process.env['CHROMIUM']]), ...PLACES].find(isProgram) ?? null

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

export interface View {
  readonly width?: number
  readonly scheme?: 'light' | 'dark'
}

export class Pages {
  private readonly folder = mkdtempSync(join(tmpdir(), 'dpemu-html-'))
  private browser: Browser | null = null
  private count = 0
  /** What pages said, which is never anything. */
  readonly said: string[] = []

  /** Opens a file with this text and waits until it is drawn. */
  async open(html: string, { width = 1280, scheme = 'light' }: View = {}): Promise<Page> {
    this.browser ??= await chromium.launch({
      executablePath: chromiumPath!,
      args: [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    })
    const file = join(this.folder, `${this.count++}.html`)
    writeFileSync(file, html)
    const page = await this.browser.newPage({ viewport: { width, height: 900 }, colorScheme: scheme })
    page.on('console', (message) => this.said.push(`${message.type()}: ${message.text()}`))
    page.on('pageerror', (error) => this.said.push(`error: ${error.message}`))
    page.on('request', (request) => {
      if (!request.url().startsWith('file:')) this.said.push(`request: ${request.url()}`)
    })
    await page.goto(pathToFileURL(file).href)
    await page.locator('html[data-ready]').waitFor({ state: 'attached' })
    return page
  }

  async close(): Promise<void> {
    await this.browser?.close()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** What axe-core finds that is serious or critical: `rule: element`. */
export async function seriousFaults(page: Page): Promise<string[]> {
  // By the debugger's way in, which a page's policy does not concern.
  await page.evaluate(AXE)
  return page.evaluate(async () => {
    const axe = (globalThis as unknown as { axe: { run(): Promise<AxeResults> } }).axe
    const { violations } = await axe.run()
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .flatMap(({ id, nodes }) =>
        nodes.slice(0, 3).map(({ target, failureSummary }) => `${id}: ${target.join(' ')} ${failureSummary}`),
      )
  })
}

interface AxeResults {
  readonly violations: readonly {
    readonly id: string
    readonly impact: string
    readonly nodes: readonly { readonly target: readonly string[]; readonly failureSummary: string }[]
  }[]
}
