/** The virtual servers that are printed for ipvs, and the endpoints that `decide` gives for the same address, on random clusters. */
import { expect, test } from 'vitest'
import { ACTION_DNAT, createDecision, decide } from '../../native-free-core/index.ts'
import { compileRules } from '../../src/compile/compile.ts'
import { DEFAULT_MODEL } from '../../src/compile/model.ts'
import { Registry } from '../../src/compile/registry.ts'
import { emitRules } from '../../src/rules/index.ts'
import { clusterOf } from '../core/cluster.ts'
import { randomOf, randomWorld } from '../live/worlds.ts'

test('each virtual server has the real servers that a client outside may be given', () => {
  const random = randomOf(5)
  let compared = 0
  for (let i = 0; i < 300; i++) {
    const { external, internal, endpoints } = randomWorld(random)
    const cluster = clusterOf({
      nodes: 3,
      services: [
        {
          name: 'web',
          external,
          internal,
          endpoints,
          nodePort: 30080,
          balancer: ['203.0.113.1'],
          externalIPs: ['203.0.113.9'],
        },
      ],
    })
    const registry = new Registry()
    const client = registry.address('198.51.100.7')
    const compiled = compileRules(cluster, registry, {
      policy: null,
      mode: 'ipvs',
      model: DEFAULT_MODEL,
      destinations: [],
      clientMap: new Int32Array(0),
      gcIntervalMs: 60_000,
    })
    const { columns: rules } = compiled
    const out = createDecision()
    for (const name of ['a', 'b', 'c']) {
      const node = registry.node(name)
      const lines = emitRules(cluster, compiled, registry, name, 'IPv4').native.ipvsadm!.split('\n')
      const servers = lines.flatMap((line) => /^-A -t (\S+):(\d+) /.exec(line) ?? []).filter((_, k) => k % 3 !== 0)
      expect(servers).toHaveLength(8)
      for (let k = 0; k < servers.length; k += 2) {
        const [address, port] = [servers[k]!, Number(servers[k + 1])]
        decide(rules, node, { source: client, destination: registry.address(address), port, protocol: 6 }, out)
        const members =
          out.action === ACTION_DNAT ? rules.members.subarray(out.setStart, out.setStart + out.setCount) : []
        const expected = Array.from(members, (id) => registry.endpointText(id))
        const printed = lines.flatMap((line) => {
          const [, server, real] = /^-a -t (\S+) -r (\S+) -m -w 1$/.exec(line) ?? []
          return server === `${address}:${port}` ? [real!] : []
        })
        expect(printed, `${name} ${address}:${port}`).toEqual(expected)
        compared += printed.length
      }
    }
  }
  expect(compared).toBeGreaterThan(1000)
})
