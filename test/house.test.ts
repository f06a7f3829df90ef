/** The rules of the house: which way imports point, what the core may not know, and what is written down exactly. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const UNTRACKED = new Set(['node_modules', 'dist', 'coverage', '.git'])

function filesUnder(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .filter((path) => !path.split('/').some((part) => UNTRACKED.has(part)))
    .sort()
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** Code without comments, so that a rule may be explained where it holds. Strings are kept: specifiers are strings. */
function codeOf(path: string): string {
  return read(path)
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/(^|[^:'"`])\/\/[^\n]*/g, '$1')
}

interface Import {
  readonly file: string
  /** As written for a package, from the root for a file of ours. */
  readonly target: string
}

function importsOf(file: string): Import[] {
  const found = codeOf(file).matchAll(/(?:\bfrom|\bimport)\s*\(?\s*['"]([^'"\n]+)['"]/g)
  return [...found].map(([, specifier]) => ({
    file,
    target: specifier.startsWith('.') ? relative(ROOT, resolve(ROOT, dirname(file), specifier)) : specifier,
  }))
}

const core = filesUnder('native-free-core').filter((path) => path.endsWith('.ts'))
const src = filesUnder('src').filter((path) => path.endsWith('.ts'))
const page = filesUnder('page').filter((path) => path.endsWith('.ts'))
const bench = filesUnder('bench').filter((path) => path.endsWith('.ts'))
const imports = [...core, ...src, ...bench].flatMap(importsOf)

function offenders(rule: (one: Import) => boolean): string[] {
  return imports.filter(rule).map(({ file, target }) => `${file} imports ${target}`)
}

test('the rules below look at something', () => {
  expect(core.length).toBeGreaterThan(10)
  expect(src.length).toBeGreaterThan(50)
  expect(imports.some(({ file, target }) => file === 'src/replay/pool.ts' && target === 'piscina')).toBe(true)
  expect(imports.some(({ target }) => target === 'native-free-core/index.ts')).toBe(true)
})

describe('the core', () => {
  test('imports only files beside it', () => {
    expect(
      offenders(({ file, target }) => file.startsWith('native-free-core/') && dirname(target) !== 'native-free-core'),
    ).toEqual([])
  })

  test.each([
    ['Date', /(?<![\w.'-])Date\b(?!\w)/],
    ['Math.random', /Math\s*\.\s*random/],
    ['performance', /(?<![\w.'])performance\s*[.[]/],
    ['process', /(?<![\w.'])process\s*[.[]/],
    ['console', /(?<![\w.'])console\s*[.[]/],
    ['globalThis', /(?<![\w.'])globalThis\b/],
    ['require, fetch or timers', /(?<![\w.'])(require|fetch|setTimeout|setInterval|setImmediate|queueMicrotask)\s*\(/],
    ['import()', /(?<![\w.'])import\s*[(.]/],
  ])('does not know %s', (_name, pattern) => {
    expect(core.filter((path) => pattern.test(codeOf(path)))).toEqual([])
  })

  test('sees nothing of Node or of the browser when it is compiled', () => {
    const { compilerOptions } = JSON.parse(read('tsconfig.base.json')) as {
      compilerOptions: { types: string[]; lib: string[] }
    }
    const own = JSON.parse(read('native-free-core/tsconfig.json')) as {
      compilerOptions: { types?: string[]; lib?: string[] }
    }
    expect(own.compilerOptions.types ?? compilerOptions.types).toEqual([])
    expect((own.compilerOptions.lib ?? compilerOptions.lib).filter((name) => /dom|webworker/i.test(name))).toEqual([])
  })

  test('names twins that exist: what is written twice for speed knows its other half', () => {
    const twins = core.flatMap((file) => {
      const marks = read(file)
        .replace(/\n *\* /g, ' ')
        .matchAll(/Twin: ([\w-]+\.ts) ((?:`\w+`(?: \()?)+)/g)
      return [...marks].map(([, twin, names]) => ({
        file,
        twin,
        names: [...names.matchAll(/`(\w+)`/g)].map(([, name]) => name),
      }))
    })
    expect(twins.length).toBeGreaterThan(5)
    const missing = twins.filter(({ twin, names }) => {
      const code = codeOf(`native-free-core/${twin}`)
      return !names.every((name) => new RegExp(`\\b${name}\\(`).test(code))
    })
    expect(missing).toEqual([])
  })

  test('has one door', () => {
    expect(
      offenders(
        ({ file, target }) =>
          !file.startsWith('native-free-core/') &&
          target.startsWith('native-free-core/') &&
          target !== 'native-free-core/index.ts',
      ),
    ).toEqual([])
  })

  test('lists by name what its door lets out, and every name is asked for', () => {
    const door = read('native-free-core/index.ts')
    expect(door).not.toMatch(/export (type )?\*/)
    const names = [...door.matchAll(/\{([^}]*)\}/g)].flatMap(([, list]) =>
      list!.split(',').flatMap((name) => name.replace(/^\s*type\s/, '').trim() || []),
    )
    expect(names.length).toBeGreaterThan(100)
    const asked = new Set(
      [...src, ...bench].flatMap((file) =>
        [...read(file).matchAll(/\{([^}]*)\}\s+from\s+'[^']*native-free-core\/index\.ts'/g)].flatMap(([, list]) =>
          list!.split(',').map((name) =>
            name
              .replace(/^\s*type\s/, '')
              .replace(/ as .*/, '')
              .trim(),
          ),
        ),
      ),
    )
    expect(names.filter((name) => !asked.has(name))).toEqual([])
  })
})

describe('packages are known in one place each', () => {
  test.each([
    ['piscina', /^src\/replay\/pool\.ts$/],
    ['msgpackr', /^src\/trace\//],
    ['yargs', /^src\/cli\.ts$/],
    ['js-yaml', /^src\/(k8s\/|trace\/scenario|compile\/model\.ts$|explain\/expectations\.ts$)/],
    ['dns-packet', /^src\/dns\//],
    ['benchmark', /^bench\//],
  ])('%s', (name, allowed) => {
    expect(
      offenders(({ file, target }) => (target === name || target.startsWith(`${name}/`)) && !allowed.test(file)),
    ).toEqual([])
  })

  test('and every package that is imported is declared, for use or for development', () => {
    const { dependencies, devDependencies } = manifest()
    const packages = imports.flatMap(({ file, target }) => {
      if (target.startsWith('node:') || /^(native-free-core|src|bench)\//.test(target)) return []
      if (!/^[@a-z]/.test(target)) return []
      const name = target
        .split('/')
        .slice(0, target.startsWith('@') ? 2 : 1)
        .join('/')
      const declared = file.startsWith('bench/') ? { ...dependencies, ...devDependencies } : dependencies
      return name in declared ? [] : [`${file} imports ${name}`]
    })
    expect(packages).toEqual([])
  })
})

describe('imports point one way', () => {
  /** What a folder of src may not know. */
  test.each([
    ['k8s', ['compile', 'trace', 'replay', 'report', 'dns', 'ingress', 'commands', 'native-free-core']],
    ['compile', ['trace', 'replay', 'dns', 'ingress', 'commands']],
    ['dns', ['compile', 'trace', 'replay', 'report', 'ingress', 'commands', 'native-free-core']],
    ['ingress', ['compile', 'trace', 'replay', 'report', 'dns', 'commands', 'native-free-core']],
    ['trace', ['replay', 'dns', 'commands']],
    ['report', ['trace', 'replay', 'k8s', 'dns', 'ingress', 'commands']],
    ['replay', ['commands', 'capacity', 'explain']],
    ['capacity', ['commands', 'explain']],
    ['explain', ['commands', 'replay', 'report', 'capacity']],
  ])('src/%s', (folder, forbidden) => {
    const unwanted = forbidden.map((name) => (name === 'native-free-core' ? `${name}/` : `src/${name}/`))
    expect(
      offenders(
        ({ file, target }) => file.startsWith(`src/${folder}/`) && unwanted.some((start) => target.startsWith(start)),
      ),
    ).toEqual([])
  })

  test('the page knows of src what a browser can run: formats, fields and the types of the contract', () => {
    const known = ['src/report/units.ts', 'src/report/capacity-fields.ts', 'src/report/html/shown.ts']
    const found = page.flatMap((file) => {
      const code = codeOf(file).replace(/import\s+type\b[\s\S]*?from\s*['"][^'"]+['"]/g, '')
      return [...code.matchAll(/\bfrom\s*['"](\.[^'"]+)['"]/g)].map(([, specifier]) =>
        relative(ROOT, resolve(ROOT, dirname(file), specifier)),
      )
    })
    expect(found.filter((target) => target.startsWith('src/') && !known.includes(target))).toEqual([])
    expect(offenders(({ target }) => target.startsWith('page/'))).toEqual([])
  })

  test('src/trace knows src/ingress by its door', () => {
    expect(
      offenders(
        ({ file, target }) =>
          file.startsWith('src/trace/') && target.startsWith('src/ingress/') && target !== 'src/ingress/index.ts',
      ),
    ).toEqual([])
  })

  test.each([
    ['compile', 'the types of the JSON contract', ['src/report/types.ts']],
    ['trace', 'how numbers and JSON are written', ['src/report/units.ts', 'src/report/json.ts']],
    ['replay', 'the types of the JSON contract', ['src/report/types.ts']],
  ])('of src/report, src/%s knows only %s', (folder, _what, allowed) => {
    expect(
      offenders(
        ({ file, target }) =>
          file.startsWith(`src/${folder}/`) && target.startsWith('src/report/') && !allowed.includes(target),
      ),
    ).toEqual([])
  })

  test('nothing depends on the command line, the benchmarks or the tests', () => {
    expect(
      offenders(
        ({ file, target }) =>
          (target === 'src/cli.ts' && file !== 'bin/dpemu.js') ||
          target.startsWith('test/') ||
          (target.startsWith('bench/') && !file.startsWith('bench/')),
      ),
    ).toEqual([])
  })

  test('there are no circles among the modules of a folder and its neighbours', () => {
    const edges = new Map<string, string[]>()
    for (const file of [...core, ...src]) {
      const code = codeOf(file)
      // Types are erased: a circle of types alone is none when the program runs.
      const runtime = code.replace(/import\s+type\b[\s\S]*?from\s*['"][^'"]+['"]/g, '')
      const found = runtime.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*['"](\.[^'"\n]+)['"]/g)
      edges.set(
        file,
        [...found].map(([, specifier]) => relative(ROOT, resolve(ROOT, dirname(file), specifier))),
      )
    }
    const circles: string[] = []
    const done = new Set<string>()
    const walk = (file: string, path: readonly string[]): void => {
      if (path.includes(file)) {
        circles.push([...path.slice(path.indexOf(file)), file].join(' → '))
        return
      }
      if (done.has(file)) return
      for (const target of edges.get(file) ?? []) walk(target, [...path, file])
      done.add(file)
    }
    for (const file of edges.keys()) walk(file, [])
    expect(circles).toEqual([])
  })
})

describe('files', () => {
  test('of one idea have at most 600 lines', () => {
    const long = [...core, ...src, ...page, ...bench]
      .map((path) => ({ path, lines: read(path).trimEnd().split('\n').length }))
      .filter(({ lines }) => lines > 600)
      .map(({ path, lines }) => `${path}: ${lines} lines`)
    expect(long).toEqual([])
  })

  test('say at the top what they are', () => {
    const silent = [...core, ...src, ...page].filter((path) => !/^(#!.*\n)?\/\*\*/.test(read(path)))
    expect(silent).toEqual([])
  })

  test('hold no unfinished business', () => {
    const words = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX'].join('|')})\\b`)
    expect(
      [...core, ...src, ...page, ...bench, ...filesUnder('test')].filter((path) => words.test(read(path))),
    ).toEqual([])
  })

  test('name no package registry: where packages come from is the installer’s business', () => {
    const hosts = new RegExp(
      ['https?:\\/\\/regi' + 'stry', 'regi' + 'stry\\.(npmjs|yarnpkg)\\.', 'npm' + 'mirror\\.com'].join('|'),
    )
    const text = /\.(ts|js|mjs|cjs|json|md|ya?ml|py|sh|toml|txt)$|(^|\/)(\.npmrc|\.gitignore|run)$/
    const all = filesUnder('.').filter((path) => text.test(path))
    expect(all).toContain('package.json')
    expect(all.filter((path) => hosts.test(read(path)))).toEqual([])
  })
})

describe('package.json', () => {
  test('pins every dependency to one version', () => {
    const { dependencies, devDependencies } = manifest()
    const loose = Object.entries({ ...dependencies, ...devDependencies }).filter(
      ([, version]) => !/^\d+\.\d+\.\d+$/.test(version),
    )
    expect(loose).toEqual([])
  })

  test('keeps what is for development apart', () => {
    const { dependencies, devDependencies } = manifest()
    expect(Object.keys(dependencies).filter((name) => name in devDependencies)).toEqual([])
  })
})

function manifest(): {
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
} {
  return JSON.parse(read('package.json'))
}
