/** What HTTP requests came to, in words: tables that are left out where there is nothing to say. */
import { describe, expect, test } from 'vitest'
import { renderMarkdown } from '../../src/report/markdown.ts'
import { renderText } from '../../src/report/text.ts'
import type { IngressReport } from '../../src/report/types.ts'
import { clusterRun, ingressReport, localRun, report } from './fixture.ts'

const CLOUD: IngressReport['proxies'][number] = {
  pod: null,
  address: '203.0.113.80',
  node: null,
  workers: 16,
  connections: 2_000,
  requests: 6_000,
  share: 1,
}

/** The tables about requests, as text. */
function tables(...ingresses: readonly (IngressReport | null)[]): string {
  const runs = ingresses.map((ingress, i) => (i === 0 ? clusterRun({ ingress }) : localRun({ ingress })))
  const blocks = renderText(report(runs)).split('\n\n')
  return blocks.filter((block) => /^(Ingress|Requests by)/.test(block)).join('\n\n')
}

test('side by side', () => {
  expect(tables(ingressReport(), ingressReport({ xForwardedForClientFraction: 1 }))).toMatchInlineSnapshot(`
    "Ingress
                                                     Cluster           Local
      requests                                         6,000           6,000
      answered 200                                     5,700           5,700
      answered 404                                       300             300
      client connections                               2,000           2,000
      requests each                                     3.00            3.00
      client address in X-Forwarded-For                  0 %           100 %
      connections to backends                             60              60
      requests each                                     95.0            95.0
      crossed nodes                                   50.0 %          50.0 %
      masqueraded                                        0 %             0 %

    Requests by rule
                                                     Cluster           Local
      Prefix / of Ingress default/site → 200  5,700 (95.0 %)  5,700 (95.0 %)
      no rule → 404                              300 (5.0 %)     300 (5.0 %)

    Requests by pod
                                                     Cluster           Local
      default/web-0 on node-a                 1,900 (33.3 %)  1,900 (33.3 %)
      default/web-1 on node-a                 1,900 (33.3 %)  1,900 (33.3 %)
      10.244.1.12:8080                        1,900 (33.3 %)  1,900 (33.3 %)

    Requests by proxy
                                                     Cluster           Local
      edge/proxy-0 on node-a                   6,000 (100 %)   6,000 (100 %)"
  `)
})

test('as Markdown', () => {
  const text = renderMarkdown(report([clusterRun({ ingress: ingressReport() })]), [])
  expect(text.slice(text.indexOf('## Ingress'), text.indexOf('## Warnings'))).toMatchInlineSnapshot(`
    "## Ingress

    |  | Cluster |
    | :--- | ---: |
    | requests | 6,000 |
    | answered 200 | 5,700 |
    | answered 404 | 300 |
    | client connections | 2,000 |
    | requests each | 3.00 |
    | client address in X-Forwarded-For | 0 % |
    | connections to backends | 60 |
    | requests each | 95.0 |
    | crossed nodes | 50.0 % |
    | masqueraded | 0 % |

    ## Requests by rule

    |  | Cluster |
    | :--- | ---: |
    | Prefix / of Ingress default/site → 200 | 5,700 (95.0 %) |
    | no rule → 404 | 300 (5.0 %) |

    ## Requests by pod

    |  | Cluster |
    | :--- | ---: |
    | default/web-0 on node-a | 1,900 (33.3 %) |
    | default/web-1 on node-a | 1,900 (33.3 %) |
    | 10.244.1.12:8080 | 1,900 (33.3 %) |

    ## Requests by proxy

    |  | Cluster |
    | :--- | ---: |
    | edge/proxy-0 on node-a | 6,000 (100 %) |

    "
  `)
})

describe('is said', () => {
  const failing = ingressReport({
    byStatus: { 200: 5_000, 404: 300, 502: 400, 504: 300 },
    upstream: {
      ...ingressReport().upstream,
      failed: 700,
      closed: { idle: 0, poolFull: 12, worn: 0, aborted: 7, broken: 3 },
    },
  })
  const row = (text: string, label: string): string | undefined =>
    text.split('\n').find((line) => line.trim().startsWith(label))

  test.each([
    ['answered 502', '400'],
    ['answered 504', '300'],
    ['closed, pool full', '12'],
    ['closed, client gone', '7'],
    ['failed', '700'],
    ['broken', '3'],
  ])('%s: %s, where there is such a thing', (label, value) => {
    expect(row(tables(failing), label)?.trim().split(/ {2,}/)).toEqual([label, value])
    expect(row(tables(ingressReport()), label)).toBeUndefined()
  })

  test('for a run that has it, beside one that has not', () => {
    expect(row(tables(ingressReport(), failing), 'answered 502')?.trim().split(/ {2,}/)).toEqual([
      'answered 502',
      '0',
      '400',
    ])
    expect(row(tables(failing, null), 'requests')?.trim().split(/ {2,}/)).toEqual(['requests', '6,000'])
  })

  test('nothing at all where no request goes through a proxy', () => {
    expect(tables(null, null)).toBe('')
    expect(tables(null)).toBe('')
  })

  test('what the load balancer outside took, by its address', () => {
    expect(tables(ingressReport({ proxies: [CLOUD] }))).toMatch(/load balancer 203\.0\.113\.80 +6,000 \(100 %\)/)
  })

  test('of a rule that led to two Services, and a pod behind both, the sum', () => {
    const [rule] = ingressReport().rules
    const [pod] = ingressReport().pods
    const half = { requests: 3_000, share: 0.5 }
    const rules = [
      { ...rule, ...half },
      { ...rule, ...half, service: 'default/shop' },
    ]
    const pods = [
      { ...pod, ...half },
      { ...pod, ...half, service: 'default/shop:http' },
    ]
    const text = tables(ingressReport({ rules, pods }))
    expect(text.match(/Prefix .*/g)).toEqual([expect.stringContaining('6,000 (100 %)')])
    expect(text.match(/web-0 .*/g)).toEqual([expect.stringContaining('6,000 (100 %)')])
  })

  test('of many rules the 16 most frequent, and how many there are more', () => {
    const [rule] = ingressReport().rules
    const rules = Array.from({ length: 40 }, (_, i) => ({ ...rule, rule: `Prefix /${i} of Ingress default/site` }))
    const text = tables(ingressReport({ rules }))
    expect(text.match(/Prefix \/\d+ of/g)).toHaveLength(16)
    expect(text).toContain('24 more (-o json has all).')
  })
})
