/** Every command's text fits the columns that there are, down to 60; what must stay whole (records, addresses) may not. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runDig } from '../../src/commands/dig.ts'
import { runInspect } from '../../src/commands/inspect.ts'
import { runRules } from '../../src/commands/rules.ts'
import { ROOT, temporaryFolder } from '../replay/support.ts'
import { fakeIo } from './fake-io.ts'

const folder = temporaryFolder()
const WIDTHS = [60, 72, 80, 100] as const

function tooWide(text: string, width: number, whole: RegExp = /^(?!)/): string[] {
  return text.split('\n').filter((line) => [...line].length > width && !whole.test(line))
}

describe.each(WIDTHS)('%d columns', (width) => {
  test('inspect', async () => {
    const io = fakeIo({ width })
    await runInspect({ trace: join(ROOT, 'traces/storefront/trace.msgpack'), output: [] }, io)
    expect(io.written.stdout).toMatch(/frontend/)
    expect(tooWide(io.written.stdout, width)).toEqual([])
  })

  test('dig: comments, not records', () => {
    const io = fakeIo({ width })
    runDig(
      {
        manifests: [join(ROOT, 'traces/mysql/manifests')],
        name: 'mysql-0.mysql',
        from: 'default/my-app',
        output: [],
        derived: true,
      },
      io,
    )
    expect(io.written.stdout).toContain('status: NOERROR')
    expect(tooWide(io.written.stdout, width, /^[^;]/)).toEqual([])
    expect(tooWide(io.written.stderr, width, /warning/)).toEqual([])
  })

  test('rules --against', () => {
    const dump = join(folder, 'dump.nft')
    const manifests = [join(ROOT, 'traces/two-plus-one/manifests')]
    const other = fakeIo()
    // The rules of the other node: much is the same, and something is not.
    runRules({ manifests, node: 'node-one', against: [], output: [], quiet: true }, other)
    writeFileSync(dump, other.written.stdout.replaceAll('192.0.2.21', '192.0.2.99'))
    const io = fakeIo({ width })
    const code = runRules({ manifests, node: 'node-one', against: [dump], output: [], quiet: true }, io)
    expect(code).toBe(99)
    expect(io.written.stdout).toContain('difference')
    expect(tooWide(io.written.stdout, width, /^\s*\S+$/)).toEqual([])
  })
})
