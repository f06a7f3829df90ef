import { expect, test } from 'vitest'
import { renderMarkdown } from '../../src/report/markdown.ts'
import { evaluateThresholds, parseThreshold } from '../../src/report/threshold.ts'
import { clusterRun, endpoint, localRun, report } from './fixture.ts'

test('the report as GitHub Markdown', () => {
  const results = evaluateThresholds([parseThreshold('connections.failed == 0')], report())
  expect(renderMarkdown(report(), results)).toMatchInlineSnapshot(`
    "# dpemu replay: two-plus-one

    6,000 connections, 24,000 packets (11.4 MiB) over 60 s from 500 clients; proxy mode nftables

    externalTrafficPolicy set on default/web

    ## Thresholds

    - ✓ connections.failed == 0

    ## In short

    Local: pod web-2 gets 50.0 % of the connections to default/web:http (fair share 33.3 %, Cluster 33.4 %).  
    Local keeps the client address on every connection; Cluster hides it on every connection.  
    Cluster takes 3,000 connections (50.0 % of all) over a second node that Local does not.  
    Advice: Local, if pods see client addresses and fewer hops are worth it; but the load is less even. As many pods on each node that gets traffic (topologySpreadConstraints over kubernetes.io/hostname, or a DaemonSet) make it even. It depends most on where the pods of default/web:http are.

    ## Throughput

    |  | Cluster | Local |
    | :--- | ---: | ---: |
    | offered connections | 100 /s | 100 /s |
    | delivered connections | 100 /s | 100 /s |
    | offered packets | 400 /s | 400 /s |
    | delivered packets | 400 /s | 400 /s |
    | offered bandwidth | 1.60 Mbit/s | 1.60 Mbit/s |
    | delivered bandwidth | 1.60 Mbit/s | 1.60 Mbit/s |

    ## Connections

    |  | Cluster | Local |
    | :--- | ---: | ---: |
    | attempted | 6,000 | 6,000 |
    | established | 6,000 | 6,000 |
    | failed | 0 | 0 |
    | client address kept | 0 % | 100 % |
    | masqueraded | 100 % | 0 % |
    | crossed nodes | 50.0 % | 0 % |
    | packets accepted | 24,000 | 24,000 |

    ## Path latency (model)

    |  | Cluster | Local |
    | :--- | ---: | ---: |
    | packet mean | 57.2 µs | 45.1 µs |
    | packet p50 | 52.0 µs | 41.0 µs |
    | packet p90 | 121 µs | 80.5 µs |
    | packet p95 | 121 µs | 80.5 µs |
    | packet p99 | 190 µs | 120 µs |
    | packet p99.9 | 285 µs | 180 µs |
    | packet max | 380 µs | 240 µs |
    | first packet p50 | 64.0 µs | 50.0 µs |
    | first packet p99 | 226 µs | 150 µs |
    | connection setup p50 | 104 µs | 82.0 µs |
    | connection setup p99 | 380 µs | 240 µs |
    | packets, 32.0 µs to 192 µs | █·▄▄·······▁ | █·▄▄·······▁ |

    ## Share of connections: default/web:http (3 endpoints, fair share 33.3 %)

    | endpoint | node | Cluster | Local |
    | :--- | :--- | ---: | ---: |
    | default/web-0 | node-a | █████▍ 33.5 % | ████ 25.0 % |
    | default/web-1 | node-a | █████▎ 33.1 % | ████ 25.0 % |
    | default/web-2 | node-b | █████▍ 33.4 % | ████████ 50.0 % |
    | fullest over mean |  | 1.00 | 1.50 |
    | coefficient of variation |  | 0.01 | 0.35 |

    ## Nodes

    | node | run | entered | conntrack peak / max | source ports |
    | :--- | :--- | ---: | ---: | ---: |
    | node-a | Cluster | 3,000 | 1,200 / 131,072 0.9 % | 40 |
    |  | Local | 3,000 | 1,200 / 131,072 0.9 % | 0 |
    | node-b | Cluster | 3,000 | 1,900 / 131,072 1.4 % | 55 |
    |  | Local | 3,000 | 1,200 / 131,072 0.9 % | 0 |

    entered: connections whose first packet met the dataplane on this node  
    source ports: most in use at once for masquerading to one destination

    ## Warnings (1)

    - web.yaml, document 2, spec.clientIP: spec.clientIP is not a field of Service; did you mean spec.sessionAffinityConfig.clientIP? \\[W\\_UNKNOWN\\_FIELD\\]

    ## Filled in, as a cluster would

    - Service default/web: clusterIP 10.96.0.12

    ## Emulated

    Kubernetes 1.31 to 1.35, Linux 6.18, CoreDNS 1.14.7, ingress-nginx 1.12 and later

    ## Constants of the model

    - linkMicros = 45 us (calibration.json rtt\\_us.sameAz, half of avg)

    ## dpemu's own speed (measured; no part of the result)

    packets emulated: 229 k/s for 210 ms (2 workers, 16 shards)  
    processing time per packet: p50 310 ns, p99 820 ns  
    peak memory: 120 MiB; native add-ons: none  
    dpemu 0.1.0, Node 20.20.2, linux x64, 2 cpus
    "
  `)
})

test('every row of a table has as many cells as its head', () => {
  for (const block of renderMarkdown(report([clusterRun(), localRun(), localRun({ proxyMode: 'ipvs' })])).split(
    '\n\n',
  )) {
    const rows = block.split('\n').filter((line) => line.startsWith('|'))
    const cells = rows.map((row) => row.split('|').length)
    expect(new Set(cells).size).toBeLessThanOrEqual(1)
  }
})

test('names cannot become markup', () => {
  const odd = { ...endpoint(0, 'node|a', 10, 10), pod: 'default/<img src=x>|*b*' }
  const text = renderMarkdown(report([localRun({ endpoints: [odd, endpoint(1, 'node-b', 10, 10)] })]))
  expect(text).toContain('default/&lt;img src=x&gt;\\|\\*b\\*')
  expect(text).toContain('node\\|a')
})
