/** Corefiles as people have them, and what dpemu says about them. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { kubeadmCorefile, parseCorefile, readCorefile } from '../../src/dns/corefile.ts'
import { UserError } from '../../src/errors.ts'
import { corefileOf } from '../../src/k8s/corefile-parts.ts'

const warningsOf = (text: string) =>
  parseCorefile(text, 'cluster.local').warnings.map(({ code, where }) => `${code} ${where}`)
const pluginOf = (text: string) => parseCorefile(text, 'cluster.local').blocks[0].kubernetes!
const AT = 'ConfigMap kube-system/coredns, line'

function errorOf(text: string): UserError {
  try {
    parseCorefile(text, 'cluster.local')
  } catch (error) {
    if (error instanceof UserError) return error
    throw error
  }
  throw new Error(`accepted: ${text}`)
}

test("without a ConfigMap kubeadm's defaults hold, in the domain of the cluster", () => {
  const { blocks, warnings } = parseCorefile(null, 'k8s.example')
  expect(warnings).toEqual([])
  expect(blocks).toHaveLength(1)
  expect(blocks[0].kubernetes).toEqual({
    zones: ['k8s.example.', 'in-addr.arpa.', 'ip6.arpa.'],
    primaryZone: 'k8s.example.',
    pods: 'insecure',
    ttl: 30,
    namespaces: new Set(),
    fallthrough: ['in-addr.arpa.', 'ip6.arpa.'],
    endpointPodNames: false,
    ignoreEmptyService: false,
    noEndpoints: false,
    zonal: false,
  })
  expect(blocks[0].loadbalance).toBe(true)
  expect(blocks[0].cache).toEqual({
    zones: ['.'],
    success: { maxTtl: 30, minTtl: 5, disabledZones: [] },
    denial: { maxTtl: 30, minTtl: 5, disabledZones: [] },
    servfailTtl: 5,
  })
})

test("a Corefile that says little gets CoreDNS' own defaults: ttl 5, pods disabled, no fallthrough", () => {
  expect(pluginOf('.:53 {\n kubernetes cluster.local\n forward . 1.1.1.1\n}')).toMatchObject({
    ttl: 5,
    pods: 'disabled',
    fallthrough: [],
  })
})

test('every option that changes answers is read', () => {
  const text = `.:53 {
    kubernetes Cluster.Local 10.0.0.0/24 { # comment
      pods verified
      endpoint_pod_names
      ttl 60
      namespaces a b
      ignore empty_service
      noendpoints
      fallthrough
      endpoint https://10.0.0.1:6443
    }
    cache 60 cluster.local {
      success 5000 120 10
      denial 1000 20
      disable denial cluster.local
      servfail 3s
    }
    bufsize 1400
    forward . "/etc/resolv.conf"
  }`
  const [block] = parseCorefile(text, 'cluster.local').blocks
  expect(block.kubernetes).toEqual({
    zones: ['cluster.local.', '0.0.10.in-addr.arpa.'],
    primaryZone: 'cluster.local.',
    pods: 'verified',
    ttl: 60,
    namespaces: new Set(['a', 'b']),
    fallthrough: ['.'],
    endpointPodNames: true,
    ignoreEmptyService: true,
    noEndpoints: true,
    zonal: false,
  })
  expect(block.cache).toEqual({
    zones: ['cluster.local.'],
    success: { maxTtl: 120, minTtl: 10, disabledZones: [] },
    denial: { maxTtl: 20, minTtl: 5, disabledZones: ['cluster.local.'] },
    servfailTtl: 3,
  })
  expect(block.bufsize).toBe(1400)
  expect(warningsOf(text)).toEqual([])
})

describe('syntax', () => {
  test.each([
    [
      'several blocks and keys',
      'a.example:53, b.example:5300 {\n kubernetes\n}\ndns://.:53 {\n forward . 1.1.1.1\n}',
      [['a.example.', 'b.example.'], ['.']],
    ],
    ['keys over two lines', 'a.example,\nb.example {\n kubernetes\n}', [['a.example.', 'b.example.']]],
    ['a block without braces', 'cluster.local\nkubernetes\nerrors', [['cluster.local.']]],
    [
      'a snippet',
      '(common) {\n errors\n cache 30\n}\n. {\n import common\n kubernetes cluster.local\n forward . 1.1.1.1\n}',
      [['.']],
    ],
  ])('%s', (_, text, zones) => {
    expect(parseCorefile(text, 'cluster.local').blocks.map((block) => block.zones)).toEqual(zones)
  })
  test('braces and comment signs in quotes and inside words are text', () => {
    const text = '. {\n errors "}" "{" "# a"\n kubernetes cluster.local\n log a#b\n forward . 1.1.1.1 # }\n}'
    expect(parseCorefile(text, 'cluster.local')).toMatchObject({ blocks: [{ zones: ['.'] }], warnings: [] })
  })
  test('a snippet is in place', () => {
    const text = '(common) {\n cache 30\n}\n. {\n import common\n kubernetes cluster.local\n}'
    expect(parseCorefile(text, 'cluster.local').blocks[0].cache?.success.maxTtl).toBe(30)
  })
})

describe('what is not modelled is a warning with its line', () => {
  test.each([
    [
      'a hosts file',
      '. {\n kubernetes cluster.local\n forward . 1.1.1.1\n hosts /etc/coredns/NodeHosts {\n  fallthrough\n }\n}',
      [`W_NOT_MODELLED ${AT} 4`],
    ],
    [
      'serve_stale',
      '. {\n kubernetes a.example\n forward . 1.1.1.1\n cache {\n  serve_stale\n }\n}',
      [`W_NOT_MODELLED ${AT} 5`],
    ],
    [
      'a view by what is not known',
      '. {\n view v {\n  expr size() > 3\n }\n kubernetes cluster.local\n forward . 1.1.1.1\n}',
      [`W_NOT_MODELLED ${AT} 2`],
    ],
    [
      'autopath of a file, and one without verified pods',
      '. {\n autopath /etc/resolv.conf\n autopath @kubernetes\n kubernetes cluster.local\n forward . 1.1.1.1\n}',
      [`W_NOT_MODELLED ${AT} 2`, `W_AUTOPATH ${AT} 1`],
    ],
    [
      'options of older releases',
      '. {\n kubernetes cluster.local {\n  upstream\n }\n forward . 1.1.1.1\n}',
      [`W_COREFILE_OLD ${AT} 3`],
    ],
    [
      'labels',
      '. {\n kubernetes cluster.local {\n  labels app=a\n  namespace_labels b=c\n }\n forward . 1.1.1.1\n}',
      [`W_NOT_MODELLED ${AT} 3`, `W_NOT_MODELLED ${AT} 4`],
    ],
    [
      'import of a file',
      '. {\n import custom/*.override\n kubernetes cluster.local\n forward . 1.1.1.1\n}',
      [`W_NOT_MODELLED ${AT} 2`],
    ],
    ['no forward', '. {\n kubernetes cluster.local\n}', [`W_NO_FORWARD ${AT} 1`]],
    ['no kubernetes', '. {\n forward . 1.1.1.1\n}', ['W_NO_KUBERNETES_PLUGIN ConfigMap kube-system/coredns']],
  ])('%s', (_, text, warnings) => {
    expect(warningsOf(text)).toEqual(warnings)
  })
})

describe('what CoreDNS would not start with is an error with its line', () => {
  test.each([
    ['an open block', '. {\n kubernetes cluster.local {\n  ttl 5\n', `${AT} 2`],
    ['a closing brace too many', '. {\n}\n}', `${AT} 3`],
    ['an open quote', '. {\n forward . "1.1.1.1\n}', `${AT} 2`],
    ['ttl out of range', '. {\n kubernetes cluster.local {\n  ttl 3601\n }\n}', `${AT} 3`],
    ['ttl in words', '. {\n kubernetes cluster.local {\n  ttl 5s\n }\n}', `${AT} 3`],
    ['an unknown pods mode', '. {\n kubernetes cluster.local {\n  pods secure\n }\n}', `${AT} 3`],
    ['an unknown option', '. {\n kubernetes cluster.local {\n  podz insecure\n }\n}', `${AT} 3`],
    ['terminating_endpoints', '. {\n kubernetes cluster.local {\n  terminating_endpoints\n }\n}', `${AT} 3`],
    ['ptr_hostname_only', '. {\n kubernetes cluster.local {\n  ptr_hostname_only\n }\n}', `${AT} 3`],
    ['noendpoints with a word', '. {\n kubernetes cluster.local {\n  noendpoints all\n }\n}', `${AT} 3`],
    ['tls without its files', '. {\n kubernetes cluster.local {\n  tls a b\n }\n}', `${AT} 3`],
    ['an unknown plugin', '. {\n kubernets cluster.local\n}', `${AT} 2`],
    ['a policy that is none', '. {\n forward . 1.1.1.1 {\n  policy fastest\n }\n}', `${AT} 3`],
    ['forward to nowhere', '. {\n forward .\n}', `${AT} 2`],
    ['an unknown option of forward', '. {\n forward . 1.1.1.1 {\n  spray\n }\n}', `${AT} 3`],
    ['an unknown option of cache', '. {\n cache 30 {\n  successes 10\n }\n}', `${AT} 3`],
    ['hosts entries behind fallthrough', '. {\n hosts {\n  fallthrough\n  192.0.2.1 a.example\n }\n}', `${AT} 4`],
    ['hosts with ttl 0', '. {\n hosts {\n  ttl 0\n }\n}', `${AT} 3`],
    ['rewrite of one name', '. {\n rewrite name a.example\n}', `${AT} 2`],
    ['rewrite by no kind', '. {\n rewrite name glob a.example b.example\n}', `${AT} 2`],
    ['a replacement with too many groups', '. {\n rewrite name regex (.*)\\.a {1}.{2}.b\n}', `${AT} 2`],
    ['no regular expression', '. {\n rewrite name regex (a b\n}', `${AT} 2`],
    ['answer auto beside answer name', '. {\n rewrite name regex a b answer auto answer name b a\n}', `${AT} 2`],
    ['an unknown type of template', '. {\n template IN AX a.example\n}', `${AT} 2`],
    ['acl by no action', '. {\n acl {\n  deny net 10.0.0.0/8\n }\n}', `${AT} 3`],
    ['ignore what', '. {\n kubernetes cluster.local {\n  ignore all\n }\n}', `${AT} 3`],
    ['namespaces of none', '. {\n kubernetes cluster.local {\n  namespaces\n }\n}', `${AT} 3`],
    ['reverse zones only', '. {\n kubernetes in-addr.arpa\n}', `${AT} 2`],
    ['kubernetes twice', '. {\n kubernetes a.example\n kubernetes b.example\n}', `${AT} 3`],
    ['a block without a zone', '{\n kubernetes\n}', `${AT} 1`],
    ['a block without a plugin', '. {\n {\n }\n}', `${AT} 2`],
    ['a second block without braces', '. {\n}\nexample.org\nerrors', `${AT} 3`],
    ['a zone that is no name', '. {\n kubernetes a..b\n}', `${AT} 2`],
    ['endless nesting', `. {\n${'log {\n'.repeat(1000)}`, `${AT} 17`],
    ['a snippet of itself', '(a) {\n import a\n}\n. {\n import a\n}', `${AT} 2`],
    ['a directive that is none, before a brace too many', '. {\n hostz {\n }\n}\n}', `${AT} 2`],
    ['zonal without endpoints', '. {\n kubernetes c.example {\n  zonal\n  noendpoints\n }\n}', `${AT} 2`],
    ['nothing', '# empty\n', 'ConfigMap kube-system/coredns'],
  ])('%s', (_, text, where) => {
    const error = errorOf(text)
    expect(error.code).toBe('E_COREFILE')
    expect(error.where).toBe(where)
    expect(error.exitCode).toBe(3)
  })
})

describe('imported keys', () => {
  const map = (name: string, data: Record<string, string>) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap' as const,
    metadata: { name, namespace: 'kube-system' },
    data,
    origin: { file: 'coredns.yaml', document: 1, item: -1 },
  })
  const own =
    '.:53 {\n kubernetes cluster.local\n import /etc/coredns/custom/*.override\n forward . /etc/resolv.conf\n}\n'
  const read = (custom: Record<string, string>, main = own) =>
    readCorefile(corefileOf([map('coredns', { Corefile: main }), map('coredns-custom', custom)]), 'cluster.local')
  const faultOf = (custom: Record<string, string>, main?: string): string => {
    try {
      read(custom, main)
    } catch (error) {
      return (error as UserError).where
    }
    return 'none'
  }

  test('a fault and a warning name the key and the line in it', () => {
    expect(faultOf({ 'a.override': 'log\n', 'b.override': 'errors\n\nrewrte name a b' })).toBe(
      'ConfigMap kube-system/coredns-custom, key b.override, line 3',
    )
    expect(read({ 'a.override': 'log\n\ndns64\n' }).warnings).toMatchObject([
      { code: 'W_NOT_MODELLED', where: 'ConfigMap kube-system/coredns-custom, key a.override, line 3' },
    ])
  })

  test('what comes after them keeps the lines of the Corefile', () => {
    expect(faultOf({ 'a.override': 'log\nerrors\nready\n' }, `${own}example.org {\n forwrd . 1.1.1.1\n}`)).toBe(
      'ConfigMap kube-system/coredns, line 7',
    )
  })
})

test('any text is a Corefile or a UserError', () => {
  const words = [
    '.',
    '{',
    '}',
    '\n',
    ' ',
    '"',
    '#',
    '\\',
    ':53',
    ',',
    'kubernetes',
    'cluster.local',
    '10.0.0.0/9',
    'fd00::/7',
    'pods',
    'insecure',
    'ttl',
    '30',
    'cache',
    'success',
    'import',
    '(a)',
    'a',
    'fallthrough',
    'ĸ',
  ]
  const mutated = fc.tuple(fc.nat(), fc.constantFrom(...words)).map(([at, word]) => {
    const text = kubeadmCorefile('cluster.local')
    return text.slice(0, at % text.length) + word + text.slice((at % text.length) + 3)
  })
  const soup = fc.array(fc.constantFrom(...words), { maxLength: 30 }).map((parts) => parts.join(''))
  let accepted = 0
  fc.assert(
    fc.property(fc.oneof(soup, mutated, fc.string()), (text) => {
      try {
        expect(parseCorefile(text, 'cluster.local').blocks.length).toBeGreaterThan(0)
        accepted++
      } catch (error) {
        expect(error).toBeInstanceOf(UserError)
      }
    }),
    { seed: 20260820, numRuns: 2000 },
  )
  expect(accepted).toBeGreaterThan(100)
})
