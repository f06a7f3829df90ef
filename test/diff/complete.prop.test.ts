/** Random pairs of clusters: no packet whose answer is another is without a line, and no line is without such a packet. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Registry } from '../../src/compile/registry.ts'
import { ENDPOINTS_THEMSELVES } from '../../src/diff/ask.ts'
import { diffClusters } from '../../src/diff/diff.ts'
import type { Diff } from '../../src/diff/types.ts'
import { Directory, ExplainContext } from '../../src/explain/context.ts'
import { explainPacket } from '../../src/explain/packet.ts'
import { type Asked, ask, packetOf, register } from '../../src/explain/resolve-packet.ts'
import type { Answer } from '../../src/explain/types.ts'
import type { Cluster } from '../../src/k8s/cluster.ts'
import type { Protocol } from '../../src/k8s/types.ts'
import { clusterOf } from '../core/cluster.ts'
import { policedSetting, SEED, type Setting } from '../core/random-worlds.ts'

const fail = (message: string): Error => new Error(message)

function worldOf({ cluster, mode }: Setting): Cluster {
  return clusterOf({ ...cluster, kubeProxy: { ...cluster.kubeProxy, mode } })
}

interface Wanted {
  readonly from: string
  readonly to: string
  readonly protocol: Protocol
  readonly node?: string
}

/** As a run of `explain` on one side answers. */
function explainAll(cluster: Cluster, wanted: readonly Wanted[]): Answer[] {
  const directory = new Directory(cluster)
  const registry = new Registry()
  const asked = wanted.map(({ node, ...one }) => {
    const packet = ask({ ...one, node: node ?? null }, directory, fail) as Asked
    register(packet, registry)
    return packet
  })
  const context = new ExplainContext(directory, registry)
  return asked.map((one) => explainPacket(context, packetOf(one, registry)))
}

/** What a client can tell: nobody's names. */
function tellable({ explanation }: Answer, client: string): string {
  const { verdict, endpoints, seen, reason, blocked, service } = explanation
  // What iptables lets a node's own processes send to an address without endpoints goes where the address is.
  // And nobody sees anything at an endpoint that policies let nothing through to.
  const whom = verdict === 'none' && service !== null ? [client] : blocked === undefined ? seen : []
  return JSON.stringify([verdict, endpoints, whom.map((one) => (one === client ? 'client' : one)), reason, blocked])
}

function dialsOf(world: Setting): { readonly to: string; readonly protocol: Protocol }[] {
  return world.dials
    .filter((dial) => !dial.startsWith('!'))
    .map((dial) => {
      const [to, protocol] = dial.split('/')
      return { to: to!, protocol: protocol!.toUpperCase() as Protocol }
    })
}

/** Whether a class of the diff's may be the client's. */
function isOf(name: string, client: string, old: Cluster): boolean {
  const node = old.nodes.find(({ addresses }) => addresses.includes(client))
  if (node !== undefined) return name === `node ${node.name}` || name === 'other nodes'
  const pod = old.pods.find(({ addresses }) => addresses.includes(client))
  const isEndpoint = old.slices.some(({ endpoints }) => endpoints.some(({ addresses }) => addresses.includes(client)))
  if (pod === undefined && !isEndpoint) return name.startsWith('outside')
  return name.startsWith('pods on ') || name === ENDPOINTS_THEMSELVES
}

/** On both sides, and the same there: anyone else has nothing to compare. */
function isShared(client: string, old: Cluster, changed: Cluster): boolean {
  const who = ({ nodes, pods, slices }: Cluster): string => {
    const node = nodes.find(({ addresses }) => addresses.includes(client))?.name ?? ''
    const pod = pods.find(({ addresses }) => addresses.includes(client))?.name ?? ''
    const endpoint = slices.flatMap(({ endpoints }) => endpoints).find(({ addresses }) => addresses.includes(client))
    return `${node} ${pod} ${node === '' && endpoint !== undefined ? 'endpoint' : ''}`
  }
  return who(old) === who(changed)
}

function covers(diff: Diff, target: string, client: string, old: Cluster): boolean {
  return diff.changes.some(({ effects }) =>
    effects.some(
      ({ targets, clientClasses }) => targets.includes(target) && clientClasses.some((name) => isOf(name, client, old)),
    ),
  )
}

const pair = fc.tuple(policedSetting, policedSetting, fc.constantFrom('any', 'policy', 'endpoints', 'mode', 'one'))

/** Worlds that differ in all they can, or in one thing. */
function pairOf([a, b, kind]: [Setting, Setting, string]): [Setting, Setting] {
  if (kind === 'any') return [a, b]
  if (kind === 'mode') return [a, { ...a, mode: b.mode }]
  if (kind === 'policy') {
    const { policies = [], podLabels = [] } = b.cluster
    return [a, { ...a, cluster: { ...a.cluster, policies, podLabels } }]
  }
  if (kind === 'one') {
    // One Service of three: the others need not be asked about.
    const { external, internal, sourceRanges = [], affinitySeconds = 0 } = b.cluster.services[0]!
    const [web, ...others] = a.cluster.services
    const other = { ...web!, external: external!, internal: internal!, sourceRanges, affinitySeconds }
    return [a, { ...a, cluster: { ...a.cluster, services: [other, ...others] } }]
  }
  const services = a.cluster.services.map((service, i) => ({
    ...service,
    endpoints: b.cluster.services[i]!.endpoints.filter(
      ({ node }) => a.cluster.nodes >= b.cluster.nodes || node === 'a',
    ),
  }))
  return [a, { ...a, cluster: { ...a.cluster, services } }]
}

describe('random pairs of clusters', () => {
  test('a packet whose answer differs has a line, and a line has a packet', () => {
    let differing = 0
    fc.assert(
      fc.property(pair, (drawn) => {
        const [a, b] = pairOf(drawn)
        const [old, changed] = [worldOf(a), worldOf(b)]
        const diff = diffClusters({ cluster: old, warnings: [] }, { cluster: changed, warnings: [] })
        const clients = [...new Set([...a.clients, ...b.clients])].filter((client) => isShared(client, old, changed))
        const dials = [...dialsOf(a), ...dialsOf(b)].filter(
          ({ to }, i, all) => all.findIndex((one) => one.to === to) === i,
        )
        // Nothing brings a packet from outside to a cluster IP.
        const wanted = clients.flatMap((from) =>
          dials.flatMap((dial) => (isInside(from, old) || !dial.to.startsWith('10.96.') ? [{ from, ...dial }] : [])),
        )
        const [before, after] = [explainAll(old, wanted), explainAll(changed, wanted)]
        for (const [i, { from, to, protocol }] of wanted.entries()) {
          if (tellable(before[i]!, from) === tellable(after[i]!, from)) continue
          differing++
          const target = `${to}/${protocol.toLowerCase()}`
          if (!covers(diff, target, from, old)) {
            throw new Error(
              `${from} → ${target}: no line.\n${before[i]!.conclusion}\n${after[i]!.conclusion}\n${tellable(before[i]!, from)}\n${tellable(after[i]!, from)}`,
            )
          }
        }
        expect(diff.differences === 0).toBe(diff.changes.length === 0)
        backed(diff, old, changed)
      }),
      { seed: SEED, numRuns: 150 },
    )
    expect(differing).toBeGreaterThan(1000)
  }, 120_000)

  test('a cluster does not differ from itself', () => {
    fc.assert(
      fc.property(policedSetting, (world) => {
        const side = { cluster: worldOf(world), warnings: [] }
        expect(diffClusters(side, { cluster: worldOf(world), warnings: [] }).changes).toEqual([])
      }),
      { seed: SEED, numRuns: 40 },
    )
  })
})

function isInside(client: string, { nodes, pods, slices }: Cluster): boolean {
  return (
    [...nodes, ...pods].some(({ addresses }) => addresses.includes(client)) ||
    slices.some(({ endpoints }) => endpoints.some(({ addresses }) => addresses.includes(client)))
  )
}

/** Each example is what `explain` says by itself, and says otherwise of the other side. */
function backed({ changes }: Diff, old: Cluster, changed: Cluster): void {
  for (const { effects } of changes) {
    for (const { kind, example } of effects) {
      if (!example.command.startsWith('explain ')) continue
      const words = example.command.split(' ')
      const value = (flag: string): string | undefined => words[words.indexOf(flag) + 1 || words.length]
      const protocol = (value('--protocol') ?? 'tcp').toUpperCase() as Protocol
      const node = value('--node')
      const wanted = [{ from: example.from, to: example.to, protocol, ...(node === undefined ? {} : { node }) }]
      const [before, after] = [explainAll(old, wanted)[0]!, explainAll(changed, wanted)[0]!]
      expect({ kind, old: before.conclusion, new: after.conclusion }).toEqual({
        kind,
        old: example.old,
        new: example.new,
      })
      expect({ ...before.explanation, title: '' }).not.toEqual({ ...after.explanation, title: '' })
    }
  }
}
