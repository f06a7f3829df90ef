/**
 * Generated parts of documents are up to date. `UPDATE=1 npx vitest run test/docs/generated.test.ts` writes them anew.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { filled, hasGenerated } from './generators.ts'
import { markdownFiles, ROOT, read } from './markdown.ts'

const generated = markdownFiles().filter((file) => hasGenerated(read(file)))

test('there are generated parts', () => {
  expect(generated).toEqual(expect.arrayContaining(['docs/commands.md', 'docs/report.md']))
})

test.each(generated)('%s is up to date', (file) => {
  const text = read(file)
  const now = filled(text)
  if (process.env['UPDATE'] === '1') writeFileSync(join(ROOT, file), now)
  else expect(text).toBe(now)
})
