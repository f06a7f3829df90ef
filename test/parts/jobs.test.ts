/** What deploy/ holds: an image that runs as nobody, Jobs that the API would take, and pods as a Job makes them. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadAll } from 'js-yaml'
import type { Job } from 'kubernetes-types/batch/v1.js'
import type { Container, PersistentVolumeClaim } from 'kubernetes-types/core/v1.js'
import { describe, expect, test } from 'vitest'
import { COMMANDS } from '../../src/commands/catalogue.ts'
import { parseManifests } from '../../src/k8s/load.ts'
import { DPEMU, ROOT, temporaryFolder } from '../replay/support.ts'

const folder = temporaryFolder()
const DEPLOY = join(ROOT, 'deploy')
const JOBS = readdirSync(join(DEPLOY, 'jobs')).sort()

function textOf(name: string): string {
  return readFileSync(join(DEPLOY, name), 'utf8')
}

function objectsOf(name: string): (Job | PersistentVolumeClaim)[] {
  return loadAll(textOf(join('jobs', name))) as (Job | PersistentVolumeClaim)[]
}

const jobs = JOBS.flatMap((name) =>
  objectsOf(name)
    .filter((one): one is Job => one.kind === 'Job')
    .map((job) => ({ name, job })),
)

describe('the image', () => {
  const lines = textOf('Dockerfile')
    .replace(/\\\n/g, ' ')
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => /^([A-Z]+) +(.*)$/.exec(line)!.slice(1) as [string, string])
  const last = lines.slice(lines.map(([instruction]) => instruction).lastIndexOf('FROM'))

  test('has instructions that there are', () => {
    const known = ['FROM', 'WORKDIR', 'COPY', 'RUN', 'ENV', 'USER', 'ENTRYPOINT']
    expect(lines.map(([instruction]) => instruction).filter((one) => !known.includes(one))).toEqual([])
    expect(lines[0]![0]).toBe('FROM')
  })

  test('is of a base that names its version and no host', () => {
    for (const [, from] of lines.filter(([instruction]) => instruction === 'FROM')) {
      expect(from).toMatch(/^[\w-]+:\d+-[\w.]+( AS \w+)?$/)
    }
  })

  test('holds what runs and nothing that built it', () => {
    expect(last.filter(([instruction]) => instruction === 'RUN')).toEqual([])
    for (const [, copied] of last.filter(([instruction]) => instruction === 'COPY')) {
      const [from, ...paths] = copied.split(' ')
      expect(from).toBe('--from=build')
      for (const path of paths.slice(0, -1)) expect(existsSync(join(ROOT, path.replace('/src/', '')))).toBe(true)
    }
  })

  test('runs dpemu as a user with a number, which a kubelet can tell from root', () => {
    expect(last.find(([instruction]) => instruction === 'USER')![1]).toMatch(/^[1-9]\d*:[1-9]\d*$/)
    expect(JSON.parse(last.find(([instruction]) => instruction === 'ENTRYPOINT')![1])).toEqual([
      'node',
      '/opt/dpemu/bin/dpemu.js',
    ])
  })

  test('what it holds is enough: the command starts from those files alone', () => {
    const image = join(folder, 'image')
    for (const path of ['package.json', 'bin', 'dist/cli', 'schemas']) {
      cpSync(join(ROOT, path), join(image, path), { recursive: true })
    }
    symlinkSync(join(ROOT, 'node_modules'), join(image, 'node_modules'))
    const { status, stdout } = spawnSync(process.execPath, [join(image, 'bin/dpemu.js'), '--version'], {
      encoding: 'utf8',
    })
    expect([status, stdout.split('\n')[0]]).toEqual([
      0,
      JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version,
    ])
  })
})

describe('manifests', () => {
  test.each(JOBS)('%s is read without a warning', (name) => {
    const { objects, warnings } = parseManifests([{ name, text: textOf(join('jobs', name)) }])
    expect(warnings.filter(({ code }) => code !== 'W_PASSED_OVER')).toEqual([])
    expect(objects.map(({ kind }) => kind)).toEqual(name === 'volume.yaml' ? [] : ['Job'])
  })

  test("have the API's fields and no others, of its types", () => {
    const project = join(folder, 'types')
    mkdirSync(project)
    symlinkSync(join(ROOT, 'node_modules'), join(project, 'node_modules'))
    const literals = JOBS.flatMap((name, i) =>
      objectsOf(name).map((one, j) => `export const object${i}x${j}: ${one.kind} = ${JSON.stringify(one)}`),
    )
    const imports = [
      "import type { Job } from 'kubernetes-types/batch/v1'",
      "import type { PersistentVolumeClaim } from 'kubernetes-types/core/v1'",
    ]
    const check = (lines: readonly string[]): string => {
      writeFileSync(join(project, 'objects.ts'), [...imports, ...lines].join('\n'))
      const flags = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'preserve', '--types', '']
      const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
      return spawnSync(process.execPath, [tsc, ...flags, 'objects.ts'], { cwd: project, encoding: 'utf8' }).stdout
    }
    expect(check(literals)).toBe('')
    const misspelt = literals.map((one) => one.replace('"completionMode"', '"completionMod"'))
    expect(check(misspelt)).toContain('completionMod')
  }, 60_000)

  test.each(jobs)('$name: what the API server checks beyond that', ({ job }) => {
    const { completionMode, completions, parallelism, backoffLimitPerIndex, podFailurePolicy, template } = job.spec!
    const { containers, restartPolicy, volumes } = template.spec!
    // A policy for failures, and a limit for each index, are only allowed with pods that are not restarted in place.
    expect(restartPolicy).toBe('Never')
    expect(backoffLimitPerIndex === undefined).toBe(completionMode !== 'Indexed')
    expect(podFailurePolicy!.rules!.length).toBeGreaterThan(0)
    for (const { onExitCodes } of podFailurePolicy!.rules!) {
      if (onExitCodes != null) expect(onExitCodes.containerName).toBe(containers[0]!.name)
    }
    const shard = /^--shard=auto\/(\d+)$/.exec(containers[0]!.args!.at(-1)!)?.[1]
    expect(shard === undefined ? undefined : Number(shard)).toBe(completions)
    expect(parallelism).toBe(completions)
    expect(containers[0]!.volumeMounts!.map(({ name }) => name)).toEqual(volumes!.map(({ name }) => name))
  })

  test.each(jobs)('$name: runs as nobody, on a file system that only its volumes can be written to', ({ job }) => {
    const { automountServiceAccountToken, containers, securityContext } = job.spec!.template.spec!
    expect([automountServiceAccountToken, securityContext!.runAsNonRoot]).toEqual([false, true])
    expect(securityContext!.seccompProfile).toEqual({ type: 'RuntimeDefault' })
    const { resources, securityContext: own } = containers[0]! as Container
    expect(own).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
    expect([resources!.requests, resources!.limits].map((one) => Object.keys(one!))).toEqual([
      ['cpu', 'memory'],
      ['memory'],
    ])
  })

  test.each(jobs)('$name: its arguments are flags of the command', ({ job }) => {
    const [command, ...args] = job.spec!.template.spec!.containers[0]!.args!
    const { flags } = COMMANDS.find(({ name }) => name === command)!
    for (const flag of args.filter((arg) => arg.startsWith('--'))) {
      expect(Object.keys(flags)).toContain(flag.slice(2).split('=')[0])
    }
  })
})

describe('pods as an Indexed Job makes them', () => {
  const SCENARIO = {
    name: 'web',
    seed: 5,
    duration: '4s',
    manifests: ['web.yaml'],
    traffic: [{ from: { external: { addresses: 9 } }, to: { service: 'web' }, arrivals: { rate: 100 } }],
  }
  const WEB = `apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec: { replicas: 3, template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: web }] } } }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { type: LoadBalancer, selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
`
  const SWEEP = ['capacity', 'scenario.yaml', '--parameter-list=rate=1,2,3,4', '--connections=200', '--workers=1']

  function workingFolder(name: string): string {
    const path = join(folder, name)
    mkdirSync(join(path, 'tmp'), { recursive: true })
    writeFileSync(join(path, 'scenario.yaml'), JSON.stringify(SCENARIO))
    writeFileSync(join(path, 'web.yaml'), WEB)
    return path
  }

  /** What the kubelet gives such a pod, with no variables of this process. */
  function environment(cwd: string, index: number | null): Record<string, string> {
    return {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      HOSTNAME: `dpemu-capacity-${index ?? 'merge'}-x7k2p`,
      HOME: '/',
      NODE_ENV: 'production',
      NO_COLOR: '1',
      TMPDIR: join(cwd, 'tmp'),
      KUBERNETES_SERVICE_HOST: '10.96.0.1',
      KUBERNETES_SERVICE_PORT: '443',
      KUBERNETES_SERVICE_PORT_HTTPS: '443',
      KUBERNETES_PORT: 'tcp://10.96.0.1:443',
      KUBERNETES_PORT_443_TCP: 'tcp://10.96.0.1:443',
      KUBERNETES_PORT_443_TCP_PROTO: 'tcp',
      KUBERNETES_PORT_443_TCP_PORT: '443',
      KUBERNETES_PORT_443_TCP_ADDR: '10.96.0.1',
      ...(index === null ? {} : { JOB_COMPLETION_INDEX: String(index) }),
    }
  }

  function start(cwd: string, index: number | null, args: readonly string[]): ChildProcess {
    return spawn(process.execPath, [DPEMU, ...args], {
      cwd,
      env: environment(cwd, index),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  }

  async function ended(pod: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
    let [stdout, stderr] = ['', '']
    pod.stdout!.on('data', (data) => (stdout += String(data)))
    pod.stderr!.on('data', (data) => (stderr += String(data)))
    const code = await new Promise<number | null>((resolve) => pod.on('close', resolve))
    return { code, stdout, stderr }
  }

  const stateIn = (path: string): string | undefined => readdirSync(path).find((name) => name.endsWith('.state.json'))

  test('three, one of them killed and started again, and what follows', async () => {
    const pods = [0, 1, 2].map((index) => workingFolder(`pod-${index}`))
    const args = [...SWEEP, '--shard=auto/3']
    const victim = start(pods[1]!, 1, args)
    const dead = ended(victim)
    while (stateIn(pods[1]!) === undefined && victim.exitCode === null) await new Promise((done) => setTimeout(done, 5))
    victim.kill('SIGKILL')
    expect((await dead).code).toBeNull()
    expect(stateIn(pods[1]!)).toMatch(/\.2-of-3\.state\.json$/)
    expect(existsSync(join(pods[1]!, 'part-capacity-2-of-3.json'))).toBe(false)

    const all = await Promise.all(pods.map((cwd, index) => ended(start(cwd, index, args))))
    expect(all.map(({ code, stdout }) => [code, stdout])).toEqual([0, 1, 2].map(() => [0, '']))
    expect(all[1]!.stderr).toMatch(/\d+ runs? that were there/)
    expect(all[0]!.stderr).not.toContain('were there')
    expect(pods.map(stateIn)).toEqual([undefined, undefined, undefined])

    // A pod whose node went away after it had written: nothing is made twice.
    const part = join(pods[0]!, 'part-capacity-1-of-3.json')
    const { mtimeMs } = statSync(part)
    const again = await ended(start(pods[0]!, 0, args))
    expect([again.code, again.stderr]).toEqual([0, expect.stringContaining('shard 1 of 3 was in part-capacity-1-of-3')])
    expect(statSync(part).mtimeMs).toBe(mtimeMs)

    const one = workingFolder('one')
    const whole = await ended(start(one, null, [...SWEEP, '--output=json=capacity.json', '--output=csv']))
    expect(whole.code).toBe(0)
    const last = workingFolder('merge')
    for (const [i, cwd] of pods.entries()) {
      cpSync(join(cwd, `part-capacity-${i + 1}-of-3.json`), join(last, `part-capacity-${i + 1}-of-3.json`))
    }
    const merge = ['merge', 'part-capacity-*-of-3.json', '--output=json=capacity.json', '--output=csv']
    const merged = await ended(start(last, null, merge))
    expect([merged.code, merged.stdout]).toEqual([0, whole.stdout])
    expect(readFileSync(join(last, 'capacity.json'), 'utf8')).toBe(readFileSync(join(one, 'capacity.json'), 'utf8'))
  }, 60_000)

  test('a Job that tells no count is refused, and nothing is written', async () => {
    const cwd = workingFolder('no-count')
    const { code, stderr } = await ended(start(cwd, 1, [...SWEEP, '--shard=auto']))
    expect([code, stderr]).toEqual([
      2,
      expect.stringContaining('JOB_COMPLETION_INDEX is 1, and nothing tells of how many'),
    ])
    expect(readdirSync(cwd).sort()).toEqual(['scenario.yaml', 'tmp', 'web.yaml'])
  })

  test('no part is called so', async () => {
    const cwd = workingFolder('none')
    const { code, stderr } = await ended(start(cwd, null, ['merge', 'part-capacity-*.json']))
    expect([code, stderr]).toEqual([3, expect.stringContaining('no file is called so [E_PART]')])
  })
})
