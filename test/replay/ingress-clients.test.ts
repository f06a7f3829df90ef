/** Lists of allowed and denied clients in a replay: the proxy asks about whom the dataplane leaves it as its peer. */
import { describe, expect, test } from 'vitest'
import { allows, parseRanges, type SourceRanges } from '../../src/ingress/source-ranges.ts'
import { ClientClasses } from '../../src/replay/client-classes.ts'
import type { KubeObject } from './cluster.ts'
import { type SiteOptions, site, visitors } from './site.ts'
import { replayed, replayedOnce, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()
let traces = 0

/** Where the scenarios' clients outside come from, of which NODES hold nothing. */
const OUTSIDE = '198.18.0.0/15'
const NODES = '192.168.40.0/24'
const ALLOWED = 'nginx.ingress.kubernetes.io/whitelist-source-range'
const DENIED = 'nginx.ingress.kubernetes.io/denylist-source-range'

function settings(data: Record<string, string>): KubeObject {
  const metadata = { name: 'ingress-nginx-controller', namespace: 'edge' }
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata, data } as unknown as KubeObject
}

function withHeader(objects: readonly KubeObject[], annotations: Record<string, string>): KubeObject[] {
  return objects.map((one) =>
    one.kind === 'Service' && one.metadata.name === 'proxy'
      ? ({ ...one, metadata: { ...one.metadata, annotations } } as KubeObject)
      : one,
  )
}

async function statuses(objects: readonly KubeObject[], stream: object = {}): Promise<Record<string, number>> {
  const from = { external: { cidr: OUTSIDE, addresses: 100 } }
  const scenario = { seed: 3, duration: '20s', traffic: [visitors(40, { from, ...stream })] }
  const file = await traceOf(folder, `clients-${traces++}`, scenario, objects)
  const { ingress } = await replayedOnce(file, { ingressPaths: ['proxy'] })
  return ingress!.byStatus
}

/** The policy is that of the Service before the proxy. */
const guarded = (annotations: Record<string, string>, policy: 'Local' | 'Cluster'): KubeObject[] =>
  site({ annotations, policy } satisfies SiteOptions)

describe('an Ingress that lets in some clients only', () => {
  test.each<[string, readonly KubeObject[], object, Record<string, number>]>([
    ['Local: the client is seen, and let in', guarded({ [ALLOWED]: OUTSIDE }, 'Local'), {}, { 200: 40 }],
    ['Cluster: the node is seen, and refused', guarded({ [ALLOWED]: OUTSIDE }, 'Cluster'), {}, { 403: 40 }],
    [
      'Cluster, where nodes are let in: everybody is',
      guarded({ [ALLOWED]: `${NODES},10.244.0.0/16` }, 'Cluster'),
      {},
      { 200: 40 },
    ],
    ['a list of denied clients, Local', guarded({ [DENIED]: OUTSIDE }, 'Local'), {}, { 403: 40 }],
    ['which Cluster makes useless', guarded({ [DENIED]: OUTSIDE }, 'Cluster'), {}, { 200: 40 }],
    [
      'the list of the ConfigMap counts where the Ingress has none',
      [...guarded({}, 'Cluster'), settings({ 'whitelist-source-range': OUTSIDE })],
      {},
      { 403: 40 },
    ],
    [
      'PROXY protocol: the client is seen under Cluster too',
      [...guarded({ [ALLOWED]: OUTSIDE }, 'Cluster'), settings({ 'use-proxy-protocol': 'true' })],
      {},
      { 200: 40 },
    ],
    [
      'which the load balancer must send: told not to, every connection is closed',
      withHeader([...guarded({}, 'Cluster'), settings({ 'use-proxy-protocol': 'true' })], {
        'service.beta.kubernetes.io/do-loadbalancer-enable-proxy-protocol': 'false',
      }),
      {},
      { 444: 40 },
    ],
    [
      'and which the proxy must expect: else it takes the header for a bad request',
      withHeader(guarded({}, 'Cluster'), {
        'service.beta.kubernetes.io/do-loadbalancer-enable-proxy-protocol': 'true',
      }),
      {},
      { 400: 40 },
    ],
    [
      'pods pass the load balancer by, and bring no header',
      [...guarded({}, 'Cluster'), settings({ 'use-proxy-protocol': 'true' })],
      { from: { pods: { selector: { app: 'web' } } } },
      { 444: 40 },
    ],
  ])('%s', async (_words, objects, stream, expected) => {
    expect(await statuses(objects, stream)).toEqual(expected)
  })

  test.each([
    ['leads to the proxy’s own port for TLS: served', 443, { 200: 40 }],
    ['leads to its plain port, TLS has ended at the load balancer: sent to HTTPS for ever', 80, { 308: 40 }],
  ])('with force-ssl-redirect port 443 %s', async (_words, targetPort, expected) => {
    const ports = [
      { name: 'http', protocol: 'TCP', port: 80, targetPort: 80, nodePort: 30080 },
      { name: 'https', protocol: 'TCP', port: 443, targetPort, nodePort: 30443 },
    ]
    const annotations = { 'nginx.ingress.kubernetes.io/force-ssl-redirect': 'true' }
    const objects = site({ annotations, frontSpec: { ports } })
    expect(await statuses(objects, { to: { ingress: 'site', port: 443 } })).toEqual(expected)
  })

  test('whichever the number of workers, and X-Forwarded-For says whom the proxy saw', async () => {
    const objects = [...guarded({ [ALLOWED]: '198.18.0.0/26' }, 'Cluster'), settings({ 'use-proxy-protocol': 'true' })]
    const from = { external: { cidr: OUTSIDE, addresses: 100 } }
    const scenario = { seed: 3, duration: '20s', traffic: [visitors(200, { from })] }
    const file = await traceOf(folder, `clients-${traces++}`, scenario, objects)
    const [one, two] = await Promise.all(
      [1, 2].map((workers) => replayedOnce(file, { ingressPaths: ['proxy'], workers })),
    )
    expect(two!.ingress).toEqual(one!.ingress)
    expect(one!.ingress!.xForwardedForClientFraction).toBe(1)
    const { byStatus } = one!.ingress!
    expect(Object.keys(byStatus).sort()).toEqual(['200', '403'])
    for (const requests of Object.values(byStatus)) expect(requests).toBeGreaterThan(50)
  })

  test('both policies side by side', async () => {
    const from = { external: { cidr: OUTSIDE, addresses: 100 } }
    const scenario = {
      seed: 3,
      duration: '20s',
      traffic: [visitors(40, { from })],
    }
    const file = await traceOf(folder, `clients-${traces++}`, scenario, guarded({ [ALLOWED]: OUTSIDE }, 'Cluster'))
    const { runs } = await replayed(file, { ingressPaths: ['proxy'], policies: ['local', 'cluster'] })
    expect(runs.map(({ ingress }) => Object.keys(ingress!.byStatus))).toEqual([['200'], ['403']])
  })
})

describe('classes of clients', () => {
  const lists = (...texts: string[]): SourceRanges[] =>
    texts.map((text) => ({ allow: parseRanges(text).ranges, deny: [] }))
  test.each([
    ['nothing is asked: one', [], 1],
    ['a block: in it or not', ['10.0.0.0/8'], 2],
    ['a block in a block', ['10.0.0.0/8', '10.1.0.0/16'], 3],
    ['two blocks that are one list', ['10.0.0.0/8,192.0.2.0/24'], 2],
    ['everything', ['0.0.0.0/0'], 2],
    ['the last block there is', ['255.255.255.0/24,2001:db8::/32'], 2],
  ])('%s', (_words, texts, count) => {
    expect(new ClientClasses(lists(...texts), new Set()).list).toHaveLength(count)
  })

  test('an address has a class of which every list says what it says of the address', () => {
    const asked = lists('10.0.0.0/8,10.4.4.0/30', '10.4.0.0/14', '2001:db8::/33,10.255.255.255', '0.0.0.0/1')
    const classes = new ClientClasses(asked, new Set(['10.4.4.1']))
    for (const address of [
      '9.255.255.255',
      '10.0.0.0',
      '10.4.4.1',
      '10.4.4.4',
      '10.8.0.0',
      '10.255.255.255',
      '11.0.0.0',
      '128.0.0.1',
      '2001:db8::1',
      '2001:db8:8000::',
      '::1',
    ]) {
      const { address: other, isInside } = classes.list[classes.of(address)]!
      expect(asked.map((ranges) => allows(ranges, other))).toEqual(asked.map((ranges) => allows(ranges, address)))
      expect(isInside).toBe(address === '10.4.4.1')
    }
  })
})
