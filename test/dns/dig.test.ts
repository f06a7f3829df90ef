/** `dpemu dig` as people and scripts call it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type DigOptions, runDig } from '../../src/commands/dig.ts'
import { UserError } from '../../src/errors.ts'
import { coredns, type Manifest, service, slice } from './support.ts'

/** The headless Service and the StatefulSet of the project's first manifests, and an ExternalName with its client. */
const YAML = `
apiVersion: v1
kind: Service
metadata:
  name: mysql
spec:
  clusterIP: None
  ports:
    - port: 3306
      name: mysql
  selector:
    app: mysql
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: mysql
spec:
  serviceName: mysql
  replicas: 3
  selector:
    matchLabels:
      app: mysql
  template:
    metadata:
      labels:
        app: mysql
    spec:
      containers:
      - name: mysql
        image: mysql:5.7
        ports:
        - containerPort: 3306
---
apiVersion: v1
kind: Pod
metadata:
  name: my-app
spec:
  containers:
  - name: my-app-container
    image: my-app-image
---
apiVersion: v1
kind: Service
metadata:
  name: my-external-db
spec:
  type: ExternalName
  externalName: example.mysql.whichimade
`

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dpemu-dig-'))
  writeFileSync(join(folder, 'mysql.yaml'), YAML)
})
afterAll(() => rmSync(folder, { recursive: true }))

interface Run {
  code: number
  stdout: string
  stderr: string
}

function dig(options: Partial<DigOptions>, stdin = ''): Run {
  const run = { code: -1, stdout: '', stderr: '' }
  const io = {
    stdout: (text: string) => {
      run.stdout += text
    },
    stderr: (text: string) => {
      run.stderr += text
    },
    width: null,
    stdin: () => stdin,
  }
  run.code = runDig({ manifests: [join(folder, 'mysql.yaml')], output: [], ...options }, io)
  return run
}

function errorOf(options: Partial<DigOptions>, stdin = ''): UserError {
  try {
    dig(options, stdin)
  } catch (error) {
    if (error instanceof UserError) return error
    throw error
  }
  throw new Error('no error')
}

const list = (objects: readonly Manifest[]) => JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects })

describe('one name', () => {
  test('reads like dig', () => {
    const { code, stdout } = dig({ name: 'mysql-0.mysql.default.svc.cluster.local' })
    expect(code).toBe(0)
    const address = /IN A (10\.244\.\d+\.\d+)$/m.exec(stdout)?.[1]
    expect(stdout.split('\n')).toEqual([
      ';; Got answer (emulated: no packet was sent):',
      ';; ->>HEADER<<- opcode: QUERY, status: NOERROR',
      ';; flags: qr aa rd; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 0',
      '',
      ';; QUESTION SECTION:',
      ';mysql-0.mysql.default.svc.cluster.local.\tIN\tA',
      '',
      ';; ANSWER SECTION:',
      `mysql-0.mysql.default.svc.cluster.local. 30 IN A ${address}`,
      '',
      ';; SERVER: 10.96.0.10#53 (CoreDNS: cluster.local in-addr.arpa ip6.arpa) (UDP)',
      ';; MSG SIZE  rcvd: 112',
      '',
    ])
  })
  test('a negative answer has its SOA under AUTHORITY, and exit code 0 as with dig', () => {
    const { code, stdout } = dig({ name: 'mysql-9.mysql.default.svc.cluster.local', type: 'aaaa' })
    expect(code).toBe(0)
    expect(stdout).toContain('status: NXDOMAIN')
    expect(stdout).toContain(
      ';; AUTHORITY SECTION:\ncluster.local. 30 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 30',
    )
  })
  test('--short is the data alone', () => {
    expect(dig({ name: 'my-external-db.default.svc.cluster.local', type: 'CNAME', short: true }).stdout).toBe(
      'example.mysql.whichimade.\n',
    )
    expect(dig({ name: 'mysql.default.svc.cluster.local', short: true }).stdout).toMatch(/^(10\.244\.\d+\.\d+\n){3}$/)
  })
  test('-o json is the documented document', () => {
    const { stdout } = dig({ name: 'my-external-db.default.svc.cluster.local', output: ['json'] })
    expect(stdout.startsWith('{\n  "schemaVersion": 1,')).toBe(true)
    expect(JSON.parse(stdout)).toEqual({
      schemaVersion: 1,
      qname: 'my-external-db.default.svc.cluster.local.',
      qtype: 'A',
      rcode: 'NOERROR',
      authoritative: true,
      truncated: false,
      transport: 'udp',
      sizeBytes: 58 + 26 + 52,
      answer: [
        {
          name: 'my-external-db.default.svc.cluster.local.',
          ttl: 30,
          type: 'CNAME',
          data: 'example.mysql.whichimade.',
        },
      ],
      authority: [],
      additional: [],
    })
  })
  test('an address is asked for backwards', () => {
    const address = dig({ name: 'mysql-1.mysql.default.svc.cluster.local', short: true }).stdout.trim()
    expect(dig({ name: address, short: true }).stdout).toBe('mysql-1.mysql.default.svc.cluster.local.\n')
  })
  test('a short name without --from is absolute, and the hint says so', () => {
    const { stdout, stderr } = dig({ name: 'mysql' })
    expect(stdout).toContain('status: UNKNOWN')
    expect(stderr).toContain('--from POD')
    expect(dig({ name: 'mysql', quiet: true }).stderr).toBe('')
    expect(dig({ name: 'example.com' }).stderr).toBe('')
  })
})

describe('the world outside', () => {
  const www = { name: 'www.example.com', from: 'my-app' }
  test('of which nothing was said, is unknown and not without the name', () => {
    const { stdout } = dig(www)
    expect(stdout).toContain(';;  4. www.example.com.                           A unknown: asked outside the cluster')
    expect(stdout).toContain('status: UNKNOWN')
    expect(JSON.parse(dig({ ...www, output: ['json'] }).stdout)).toMatchObject({ rcode: 'NXDOMAIN', unknown: true })
  })
  test('--upstream says what it knows, and then it knows no other name', () => {
    const naming = { upstream: ['www.example.com. 60 A 192.0.2.80'] }
    expect(dig({ ...www, naming, short: true }).stdout).toBe('192.0.2.80\n')
    expect(dig({ ...www, naming, name: 'ftp.example.com' }).stdout).toContain('status: NXDOMAIN')
  })
  test('--upstream @FILE has a record a line', () => {
    writeFileSync(join(folder, 'zone'), '; of the company\nwww.example.com. 60 IN A 192.0.2.80\n\n')
    expect(dig({ ...www, naming: { upstream: [`@${join(folder, 'zone')}`] }, short: true }).stdout).toBe('192.0.2.80\n')
  })
  test('a search domain of the nodes with a wildcard swallows names below ndots dots', () => {
    writeFileSync(
      join(folder, 'resolv.conf'),
      'nameserver 192.0.2.1\nsearch corp.example.net\noptions edns0 trust-ad\n',
    )
    const naming = {
      nodeResolvConf: join(folder, 'resolv.conf'),
      upstream: ['*.corp.example.net. 60 A 192.0.2.99', 'www.example.com. 60 A 192.0.2.80'],
    }
    expect(dig({ ...www, naming, short: true }).stdout).toBe('192.0.2.99\n')
    expect(dig({ ...www, name: 'www.example.com.', naming, short: true }).stdout).toBe('192.0.2.80\n')
  })
  test('queries of a file have theirs, else that of the flag', () => {
    const naming = { upstream: ['a.example. 60 A 192.0.2.1'] }
    const lines = ['{"qname":"a.example."}', '{"qname":"a.example.","upstream":["a.example. 60 A 192.0.2.2"]}']
    expect(dig({ queries: '-', naming, output: ['text'], short: true }, lines.join('\n')).stdout).toBe(
      '192.0.2.1\n192.0.2.2\n',
    )
  })
  test.each([
    ['a record that is none', { upstream: ['a.example. A'] }, 'E_UPSTREAM'],
    ['a file that is none', { upstream: ['@/nowhere/zone'] }, 'E_NAMING'],
    ['a resolver that is none', { resolver: 'bionic' }, 'E_USAGE'],
    ['a resolv.conf that is none', { nodeResolvConf: '/nowhere/resolv.conf' }, 'E_NAMING'],
  ])('%s', (_, naming, code) => {
    expect(errorOf({ ...www, naming }).code).toBe(code)
  })
})

describe('who walks', () => {
  test.each([
    ['glibc', 4],
    ['go', 4],
    // The name has as many dots as ndots: musl does not search.
    ['musl', 1],
  ])('%s', (resolver, queries) => {
    const run = dig({ name: 'a.b.c.d.e.f', from: 'my-app', naming: { resolver }, output: ['json'] })
    expect(JSON.parse(run.stdout).queries).toHaveLength(queries)
  })
  const many = list([
    service('many', { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] }),
    slice(
      'many',
      Array.from({ length: 60 }, (_, i) => `10.244.3.${i + 1}`),
    ),
    { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'c' }, spec: { containers: [{ name: 'c', image: 'c' }] } },
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'tcp' },
      spec: {
        containers: [{ name: 'c', image: 'c' }],
        dnsConfig: { options: [{ name: 'use-vc' }, { name: 'trust-ad' }] },
      },
    },
  ])
  test.each([
    ['glibc asks again over TCP', 'c', 'glibc', 'tcp', 60],
    ['musl before 1.2.4 takes what came', 'c', 'musl-1.1', 'udp', 29],
    ['musl of today asks again', 'c', 'musl', 'tcp', 60],
    ['Go says 1232 bytes and asks again where that is too little', 'c', 'go', 'udp', 60],
    ['use-vc: TCP at once', 'tcp', 'glibc', 'tcp', 60],
    ['which musl does not know', 'tcp', 'musl-1.1', 'udp', 29],
  ])('60 addresses: %s', (_, from, resolver, transport, answers) => {
    const run = dig({ manifests: ['-'], name: 'many', from, naming: { resolver }, output: ['json'], quiet: true }, many)
    const { answer, ...reply } = JSON.parse(run.stdout)
    expect({ transport: reply.transport, answers: answer.length }).toEqual({ transport, answers })
  })
})

describe('--from walks the search list of a pod', () => {
  test('and shows what it cost', () => {
    const { stdout } = dig({ name: 'mysql-0.mysql', from: 'pod/my-app' })
    expect(stdout.split('\n').slice(0, 5)).toEqual([
      ';; Pod default/my-app looks up mysql-0.mysql: nameserver 10.96.0.10',
      ';; search default.svc.cluster.local svc.cluster.local cluster.local; options ndots:5',
      ';;  1. mysql-0.mysql.default.svc.cluster.local. A NOERROR',
      ';; 1 query; a client that asks A and AAAA together sends twice as many',
      '',
    ])
  })
  test('in JSON too', () => {
    const answer = JSON.parse(dig({ name: 'www.example.com', from: 'default/my-app', output: ['json'] }).stdout)
    expect(answer).toMatchObject({
      from: 'default/my-app',
      name: 'www.example.com',
      qname: 'www.example.com.',
      rcode: 'NXDOMAIN',
    })
    expect(answer.queries.map((query: { qname: string }) => query.qname)).toEqual([
      'www.example.com.default.svc.cluster.local.',
      'www.example.com.svc.cluster.local.',
      'www.example.com.cluster.local.',
      'www.example.com.',
    ])
    expect(answer.resolvConf.options).toEqual(['ndots:5'])
  })
  test('a pod that is not there, or is in two namespaces, is an error with a hint', () => {
    expect(errorOf({ name: 'mysql', from: 'my-ap' })).toMatchObject({
      code: 'E_POD_UNKNOWN',
      exitCode: 2,
      hint: 'did you mean default/my-app?',
    })
    const pods = ['a', 'b'].map((namespace) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'box', namespace },
      spec: { containers: [{ name: 'c' }] },
    }))
    expect(errorOf({ manifests: ['-'], name: 'x', from: 'box' }, list(pods))).toMatchObject({
      code: 'E_USAGE',
      hint: 'write --from a/box',
    })
  })
})

describe('replies too large for UDP', () => {
  const many = list([
    service('big', { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] }),
    slice(
      'big',
      Array.from({ length: 40 }, (_, i) => `10.244.7.${i}`),
    ),
  ])
  const ask = (options: Partial<DigOptions>) =>
    dig({ manifests: ['-'], name: 'big.default.svc.cluster.local', ...options }, many).stdout
  test('are fetched over TCP, as clients do', () => {
    const text = ask({})
    expect(text).toMatch(/^;; Truncated, retrying in TCP mode\.\n/)
    expect(text).toContain('ANSWER: 40')
    expect(text).toContain('(TCP)')
    expect(text).toContain(';; loadbalance: CoreDNS shuffles')
    expect(JSON.parse(ask({ output: ['json'] }))).toMatchObject({ transport: 'tcp', truncated: false })
  })
  test('--bufsize shows what came over UDP', () => {
    const text = ask({ bufsize: '512' })
    expect(text).toContain('flags: qr aa tc rd; QUERY: 1, ANSWER: 28')
    expect(text).toContain('; EDNS: version: 0, flags:; udp: 512')
    expect(ask({ bufsize: '1232' })).toContain('ANSWER: 40')
  })
  test('--tcp asks at once', () => {
    expect(ask({ tcp: true })).not.toContain('Truncated')
  })
})

describe('--queries', () => {
  const lines = (...rows: unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('')
  test('one answer a line, in order, with the id', () => {
    const input = lines(
      { id: 'q1', qname: 'mysql.default.svc.cluster.local.', qtype: 'SRV' },
      {
        id: 7,
        qname: 'my-external-db.default.svc.cluster.local.',
        qtype: 'A',
        upstream: { records: ['example.mysql.whichimade. 60 A 192.0.2.3'] },
      },
      { qname: 'missing.default.svc.cluster.local.' },
    )
    const { stdout } = dig({ queries: '-', output: ['ndjson'] }, input)
    const rows = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(rows.map(({ id, rcode, answer }) => [id, rcode, answer.length])).toEqual([
      ['q1', 'NOERROR', 3],
      [7, 'NOERROR', 2],
      [3, 'NXDOMAIN', 0],
    ])
    expect(rows[1].answer[1]).toEqual({ name: 'example.mysql.whichimade.', ttl: 60, type: 'A', data: '192.0.2.3' })
  })
  test('from a file, to a file', () => {
    const path = join(folder, 'queries.ndjson')
    writeFileSync(path, lines({ qname: 'mysql.default.svc.cluster.local.' }))
    const target = join(folder, 'answers.ndjson')
    expect(dig({ queries: path, output: [`ndjson=${target}`] }).stdout).toBe('')
    expect(JSON.parse(readFileSync(target, 'utf8'))).toMatchObject({ id: 1, rcode: 'NOERROR' })
  })
  test.each([
    ['{"qname":', 'E_QUERY', 'standard input, line 2'],
    ['[]', 'E_QUERY', 'standard input, line 2'],
    ['{"qtype":"A"}', 'E_QUERY', 'standard input, line 2'],
    ['{"qname":"a.","qtype":"NONE"}', 'E_QUERY', 'standard input, line 2'],
    ['{"id":{},"qname":"a."}', 'E_QUERY', 'standard input, line 2'],
    ['{"qname":"a.","upstream":"db"}', 'E_UPSTREAM', 'standard input, line 2'],
    ['{"qname":"a.","upstream":["a. 60 A"]}', 'E_UPSTREAM', 'standard input, line 2, record 1'],
    ['{"qname":"a.","upstream":["a. 60 A 1.2.3"]}', 'E_UPSTREAM', 'standard input, line 2, record 1'],
    ['{"qname":"a.","upstream":[{"name":"a.","type":"A"}]}', 'E_UPSTREAM', 'standard input, line 2, record 1'],
    ['{"qname":"a.","upstream":{"rcode":"OOPS"}}', 'E_UPSTREAM', 'standard input, line 2'],
    ['{"qname":"a.","upstream":{"records":1}}', 'E_UPSTREAM', 'standard input, line 2'],
  ])('%s is refused, and nothing is printed', (line, code, where) => {
    expect(errorOf({ queries: '-' }, `${lines({ qname: 'a.' })}${line}\n`)).toMatchObject({ code, where, exitCode: 3 })
  })
})

describe('wrong usage', () => {
  test.each<[string, Partial<DigOptions>, string]>([
    ['no name', {}, 'E_USAGE'],
    ['a name and --queries', { name: 'a', queries: 'b' }, 'E_USAGE'],
    ['an unknown type', { name: 'a', type: 'BOGUS' }, 'E_USAGE'],
    ['an unknown format', { name: 'a', output: ['yaml'] }, 'E_USAGE'],
    ['a size that is none', { name: 'a', bufsize: 'big' }, 'E_USAGE'],
    ['standard input twice', { manifests: ['-'], queries: '-' }, 'E_USAGE'],
    ['a file of queries that is not there', { queries: '/nonexistent/q' }, 'E_QUERIES'],
  ])('%s', (_, options, code) => {
    expect(errorOf(options)).toMatchObject({ code, exitCode: 2 })
  })
  test('a broken Corefile names the ConfigMap and the line', () => {
    const broken = list([coredns('.:53 {\n    kubernetes cluster.local {\n        ttl soon\n    }\n}\n')])
    expect(errorOf({ manifests: ['-'], name: 'a' }, broken)).toMatchObject({
      code: 'E_COREFILE',
      where: 'ConfigMap kube-system/coredns, line 3',
      exitCode: 3,
    })
  })
  test('what the Corefile asks for and dpemu does not model is a warning', () => {
    const { stderr } = dig(
      { manifests: ['-'], name: 'a.' },
      list([coredns('.:53 {\n    kubernetes cluster.local\n    hosts\n    forward . 1.1.1.1\n}\n')]),
    )
    expect(stderr).toBe(
      'dpemu: warning: ConfigMap kube-system/coredns, line 3: the hosts file /etc/hosts, which is not in the Corefile, is not modelled: answers are as without it [W_NOT_MODELLED]\n',
    )
  })
})
