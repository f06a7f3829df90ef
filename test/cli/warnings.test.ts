/** Warnings as a user meets them: the code behind each, how to stop one, and that a replay still knows what `explain` says. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { disabledWarnings, withoutDisabled } from '../../src/commands/disabled-warnings.ts'
import { failure } from '../k8s/helpers.ts'

const BIN = fileURLToPath(new URL('../../bin/dpemu.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'dpemu-warnings-'))
afterAll(() => rmSync(folder, { recursive: true }))

function dpemu(args: readonly string[], env: Record<string, string> = {}, input = '') {
  const { status, stdout, stderr } = spawnSync(process.execPath, [BIN, ...args], {
    encoding: 'utf8',
    input,
    cwd: folder,
    env: { ...process.env, ...env },
  })
  return { status, stdout, stderr }
}

writeFileSync(
  join(folder, 'web.yaml'),
  `apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, sessionAffinity: ClientIP, clientIP: { timeoutSeconds: 60 }, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: gone }
spec: { selector: { app: gone }, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: web, labels: { app: web } }
spec: { containers: [{ name: web }] }
`,
)
writeFileSync(
  join(folder, 'scenario.yaml'),
  `name: w
seed: 1
duration: 1s
manifests: [web.yaml]
traffic:
  - { name: a, from: { pods: { selector: { app: web } } }, to: { service: web }, arrivals: { process: poisson, connections: 20 }, requests: 0, rtt: 10ms, close: client-rst }
`,
)
const ASK = ['explain', '-f', 'web.yaml', '--from', 'default/web', '--to', 'web:80']
const UNKNOWN = /clientIP is not a field of Service; did you mean .*\? \[W_UNKNOWN_FIELD\]\n/
const NONE = /Service default\/gone \(web\.yaml, document 2\): no pod has the labels app=gone .* \[W_NO_ENDPOINTS\]\n/

describe('the command line', () => {
  test('says the code behind each', () => {
    const { stderr } = dpemu(ASK)
    expect(stderr).toMatch(UNKNOWN)
    expect(stderr).toMatch(NONE)
  })

  test.each<[string, string[], Record<string, string>]>([
    ['a code', ['--disable-warning', 'W_NO_ENDPOINTS'], {}],
    ['a code and a text', ['--disable-warning', 'W_NO_ENDPOINTS:default/gone'], {}],
    ['the environment', [], { DPEMU_DISABLE_WARNING: 'W_OTHER,W_NO_ENDPOINTS' }],
  ])('stops by %s', (_, flags, env) => {
    const { status, stderr } = dpemu([...ASK, ...flags], env)
    expect(status).toBe(0)
    expect(stderr).toMatch(UNKNOWN)
    expect(stderr).not.toContain('W_NO_ENDPOINTS')
  })

  test('what is no code is wrong usage', () => {
    expect(dpemu([...ASK, '--disable-warning', 'endpoints']).status).toBe(2)
  })

  test('a replay of a trace warns of what the manifests had, and can be told not to', () => {
    const made = dpemu(['generate', 'scenario.yaml', '-o', 'w.msgpack'])
    expect(made).toMatchObject({ status: 0 })
    expect(made.stderr).toMatch(UNKNOWN)
    const replayed = dpemu(['replay', 'w.msgpack', '-o', 'json'])
    expect(replayed.stderr).toMatch(UNKNOWN)
    const codes = (stdout: string) =>
      (JSON.parse(stdout) as { warnings: { code: string }[] }).warnings.map(({ code }) => code)
    expect(codes(replayed.stdout)).toContain('W_UNKNOWN_FIELD')
    const silent = dpemu(['replay', 'w.msgpack', '-o', 'json', '--disable-warning', 'W_UNKNOWN_FIELD'])
    expect(silent.stderr).not.toMatch(UNKNOWN)
    expect(codes(silent.stdout)).not.toContain('W_UNKNOWN_FIELD')
  })

  test('nothing to read from standard input is an error', () => {
    const { status, stderr } = dpemu(['dig', '-f', '-', 'web'])
    expect(status).toBe(3)
    expect(stderr).toContain('no Kubernetes object in it [E_MANIFEST_EMPTY]\n  at standard input')
  })
})

describe('rules', () => {
  const warning = (code: string, message: string) => ({ code, where: '', message })
  const some = [warning('W_A', 'hostPort 80'), warning('W_A', 'NetworkPolicy x'), warning('W_B', 'hostPort 81')]
  test.each<[string[], number]>([
    [[], 3],
    [['W_A'], 1],
    [['W_A,W_B'], 0],
    [['W_A:hostPort', ' W_B '], 1],
    [['W_A:nothing'], 3],
    [['W_'], -1],
    [['A:hostPort'], -1],
  ])('%j leaves %i of three', (given, left) => {
    if (left < 0) expect(failure(() => disabledWarnings(given))).toMatchObject({ code: 'E_USAGE', exitCode: 2 })
    else expect(withoutDisabled(some, disabledWarnings(given))).toHaveLength(left)
  })
})
