/**
 * Puts code into few files: first the core, then the command line with it. The manual page is written at the end.
 *
 * dist/native-free-core/index.js, the core's only door, becomes one module with its constants written out. Imported, each of the some
 * sixty that a packet meets (`FLOW_CLIENT`, `ENTRY_STATE` …) is a cell of memory to the compiler of Node 20, which it reads and checks
 * at each use: eight instructions in place of none, and half as much time again a packet (bench: packet-step). It is made from the source, since it takes the
 * place of what the compiler has written; the compiler's other files stay beside it for their types.
 *
 * dist/cli is the command line out of dist/src: a program of 250 modules, 70 of them other packages’, spends more time looking for files
 * than running them. In one file a command, `dpemu --help` takes a fifth less time (`time`), and so does a replay of a million
 * packets (bench: replay). Code that only one command uses stays in a chunk of its own. Not in it are the packages that look for files beside
 * their own (piscina) or run apart (benchmark).
 *
 * Licences of what is in it are written beside it (`licenses.txt`), since the code is copied.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..')
const FROM = join(ROOT, 'dist/src')
const TO = join(ROOT, 'dist/cli')
/** The command line and the library; what threads and processes run stands beside them, where `new URL('./worker.js', import.meta.url)` finds it. */
const PROGRAMS = { cli: 'cli.js', index: 'index.js', worker: 'replay/worker.js', child: 'capacity/child.js' }
/** Read as files at run time. */
const DATA = ['k8s/fields.json', 'trace/profiles.json']
const OUTSIDE = ['piscina', 'benchmark']

/** Folder of the package that a module is of, or null for our own. */
function packageOf(module) {
  const within = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(module.replaceAll('\\', '/'))
  return within === null ? null : within[1]
}

function licenceOf(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry))
  const text = file === undefined ? '' : readFileSync(join(folder, file), 'utf8').trim()
  return `${name} ${version} (${license})\n\n${text}\n`
}

/** Adds what is no code. */
const data = {
  name: 'data',
  generateBundle(_options, bundle) {
    for (const file of DATA) {
      this.emitFile({ type: 'asset', fileName: file.split('/').at(-1), source: readFileSync(join(FROM, file)) })
    }
    const modules = Object.values(bundle).flatMap((chunk) => (chunk.type === 'chunk' ? chunk.moduleIds : []))
    const folders = [...new Set(modules.map(packageOf))].filter((folder) => folder !== null && existsSync(folder))
    const licences = folders.sort().map(licenceOf)
    this.emitFile({ type: 'asset', fileName: 'licenses.txt', source: licences.join(`\n${'-'.repeat(72)}\n\n`) })
  },
}

const optimization = { inlineConst: true }

const core = await rolldown({ input: join(ROOT, 'native-free-core/index.ts'), platform: 'neutral', optimization })
await core.write({ file: join(ROOT, 'dist/native-free-core/index.js'), format: 'esm' })
await core.close()

const bundle = await rolldown({
  input: Object.fromEntries(Object.entries(PROGRAMS).map(([name, file]) => [name, join(FROM, file)])),
  platform: 'node',
  external: OUTSIDE,
  optimization,
  plugins: [data],
})
// Of comments only licences: what exported things are for is in their types.
await bundle.write({ dir: TO, format: 'esm', cleanDir: true, comments: { jsdoc: false } })
await bundle.close()

// What `-o html` fills in: one file with its style and its program, and a policy that knows both by their hashes and lets in nothing else.
const page = await rolldown({ input: join(ROOT, 'page/main.ts'), platform: 'browser', optimization })
const { output } = await page.generate({ format: 'iife', minify: true })
await page.close()
const [{ code, moduleIds }] = output
// A report carries the code of these packages to whoever opens it, and so their licences.
const notices = [...new Set(moduleIds.map(packageOf))]
  .filter((folder) => folder !== null)
  .sort()
  .map(licenceOf)
const script = `/*!\n${notices.join('\n')}*/${code.trim()}`
const style = readFileSync(join(ROOT, 'page/style.css'), 'utf8').trim()
// Inside a script element these would end it or begin a comment.
if (/<\/script|<!--/i.test(script) || /<\/style/i.test(style))
  throw new Error('the page holds what would end its own elements')
const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
const parts = {
  POLICY: `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; base-uri 'none'; form-action 'none'`,
  STYLE: style,
  SCRIPT: script,
}
const template = readFileSync(join(ROOT, 'page/page.html'), 'utf8')
writeFileSync(
  join(TO, 'page.html'),
  template.replace(/<!--(POLICY|STYLE|SCRIPT)-->/g, (_, name) => parts[name]),
)

// The manual page is made by the command line itself, from the list of its commands.
const { manPage } = await import('../dist/src/commands/man.js')
const { COMMANDS } = await import('../dist/src/commands/catalogue.js')
mkdirSync(join(ROOT, 'dist/man'), { recursive: true })
writeFileSync(join(ROOT, 'dist/man/dpemu.1'), manPage(COMMANDS))
