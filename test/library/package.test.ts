/**
 * The package as somebody gets it: packed, unpacked into an empty project, its types checked and every example of the library's
 * documentation run there. Its dependencies are this checkout's, so that no network is needed.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { publint } from 'publint'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const ROOT = join(import.meta.dirname, '..', '..')
const project = mkdtempSync(join(tmpdir(), 'dpemu-package-'))
const installed = join(project, 'node_modules', 'dpemu')
let tarball: string
let packed: string[]

interface PackedFile {
  readonly path: string
}

beforeAll(() => {
  const output = execFileSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', project], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  const [{ filename, files }] = JSON.parse(output) as [{ filename: string; files: PackedFile[] }]
  tarball = join(project, filename)
  packed = files.map(({ path }) => path)
  execFileSync('tar', ['-xzf', tarball, '-C', project])
  mkdirSync(join(project, 'node_modules', '@types'), { recursive: true })
  cpSync(join(project, 'package'), installed, { recursive: true })
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>
  }
  for (const name of Object.keys(dependencies)) {
    symlinkSync(join(ROOT, 'node_modules', name), join(project, 'node_modules', name))
  }
  for (const name of ['@types/node', 'undici-types']) {
    symlinkSync(join(ROOT, 'node_modules', name), join(project, 'node_modules', name))
  }
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'user', private: true, type: 'module' }))
  cpSync(join(ROOT, 'traces/storefront/trace.msgpack'), join(project, 'trace.msgpack'))
  for (const folder of ['manifests', 'old', 'new'])
    cpSync(join(ROOT, 'traces/two-plus-one/manifests'), join(project, folder), { recursive: true })
  const scenario = readFileSync(join(ROOT, 'traces/two-plus-one/scenario.yaml'), 'utf8')
  writeFileSync(join(project, 'scenario.yaml'), scenario)
})

afterAll(() => rmSync(project, { recursive: true, force: true }))

describe('what is packed', () => {
  test('no tests, no benchmarks, no traces in binary, no maps; under a megabyte', () => {
    expect(packed.filter((path) => /(^|\/)(test|bench)\/|\.(msgpack|map|tsbuildinfo)$/.test(path))).toEqual([])
    expect(packed).toContain('dist/cli/index.js')
    expect(statSync(tarball).size).toBeLessThan(1_000_000)
  })

  test('publint has nothing to say', async () => {
    const { messages } = await publint({ pkgDir: installed, strict: true, pack: false })
    expect(messages.map(({ code, path }) => `${code} ${path.join('.')}`)).toEqual([])
  })

  test('its types resolve as they will run: arethetypeswrong finds nothing', async () => {
    const { problems } = (await checkPackage(createPackageFromTarballData(new Uint8Array(readFileSync(tarball))))) as {
      problems: { kind: string; resolutionKind?: string }[]
    }
    // The package is ESM alone, which Node 20.19 can require as well; node10 resolution knows no exports.
    const others = problems.filter(
      ({ kind, resolutionKind }) => kind !== 'CJSResolvesToESM' && resolutionKind !== 'node10',
    )
    expect(others).toEqual([])
  })

  test('the command starts, and benchmark.js is not among what it needs', () => {
    const { status, stdout } = spawnSync(process.execPath, [join(installed, 'bin/dpemu.js'), '--version'], {
      encoding: 'utf8',
    })
    expect(status).toBe(0)
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n/)
    const bench = spawnSync(process.execPath, [join(installed, 'bin/dpemu.js'), 'bench'], { encoding: 'utf8' })
    expect([bench.status, bench.stderr]).toEqual([2, expect.stringContaining('E_BENCH_FILES')])
  })
})

interface Example {
  readonly name: string
  readonly code: string
}

/** The `@example` of each exported function of the library. */
function examples(): Example[] {
  return readdirSync(join(ROOT, 'src/library')).flatMap((file) => {
    const text = readFileSync(join(ROOT, 'src/library', file), 'utf8')
    return [...text.matchAll(/@example\n((?: \* .*\n)+?) \*\/\nexport (?:async )?function (\w+)/g)].map(
      ([, block, name]) => ({ name: name!, code: block!.replace(/^ \* /gm, '') }),
    )
  })
}

/** What an example takes for granted: the values that the examples before it made. */
const GIVEN: Readonly<Record<string, string>> = {
  explain: "const loaded = loadCluster(['manifests/'])\n",
  dig: 'const loaded = parseCluster(MYSQL)\n',
  compare:
    "const report = await replay({ trace: 'trace.msgpack' })\nconst other = await replay({ trace: 'trace.msgpack' })\n",
  judge: "const report = await replay({ trace: 'trace.msgpack' })\n",
}

describe('examples of the documentation', () => {
  test('each function of the library has one', () => {
    const functions = readdirSync(join(ROOT, 'src/library')).flatMap((file) =>
      [...readFileSync(join(ROOT, 'src/library', file), 'utf8').matchAll(/^export (?:async )?function (\w+)/gm)].map(
        ([, name]) => name!,
      ),
    )
    expect(examples().map(({ name }) => name)).toEqual(functions)
  })

  test('they are right for the compiler and run', () => {
    const mysql = `---\napiVersion: v1\nkind: Service\nmetadata: { name: mysql }\nspec: { clusterIP: None, selector: { app: mysql }, ports: [{ port: 3306 }] }
---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: { name: mysql }\nspec: { serviceName: mysql, selector: { matchLabels: { app: mysql } }, template: { metadata: { labels: { app: mysql } }, spec: { containers: [{ name: mysql, image: mysql }] } } }
---\napiVersion: v1\nkind: Pod\nmetadata: { name: my-app }\nspec: { containers: [{ name: app, image: app }] }\n`
    const names = examples().map(({ name }) => name)
    for (const { name, code } of examples()) {
      const file = join(project, `${name}.ts`)
      // The search for a knee takes minutes; one run of one rate shows that it can be called.
      const short =
        name === 'capacity' ? code.replace("['local'] }", "['local'], knee: false, connections: 500 }") : code
      writeFileSync(
        file,
        `import { ${names.join(', ')} } from 'dpemu'\nconst MYSQL: string = ${JSON.stringify(mysql)}\n${GIVEN[name] ?? ''}${short}\nvoid [MYSQL, ${names.join(', ')}]\n`,
      )
    }
    writeFileSync(
      join(project, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          module: 'nodenext',
          target: 'es2022',
          strict: true,
          types: ['node'],
          skipLibCheck: false,
          outDir: 'out',
        },
        include: ['*.ts'],
      }),
    )
    const compiled = spawnSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', project], {
      encoding: 'utf8',
    })
    expect(compiled.stdout + compiled.stderr).toBe('')
    for (const name of names) {
      const run = spawnSync(process.execPath, [join(project, 'out', `${name}.js`)], { cwd: project, encoding: 'utf8' })
      expect([name, run.status, run.stderr]).toEqual([name, 0, ''])
    }
  })
})
