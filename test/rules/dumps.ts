/** The rules of a small cluster's node in each mode's words, for tests that read them back. */
import { compileRules } from '../../src/compile/compile.ts'
import type { ProxyMode } from '../../src/compile/kube-proxy.ts'
import { DEFAULT_MODEL } from '../../src/compile/model.ts'
import { Registry } from '../../src/compile/registry.ts'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { emitRules, type Family } from '../../src/rules/index.ts'

export function dumpOf(cluster: Cluster, mode: ProxyMode, node = 'a', family: Family = 'IPv4'): string {
  const registry = new Registry()
  const compiled = compileRules(cluster, registry, {
    policy: null,
    mode,
    model: DEFAULT_MODEL,
    destinations: [],
    clientMap: new Int32Array(0),
    gcIntervalMs: 60_000,
  })
  return Object.values(emitRules(cluster, compiled, registry, node, family).native).join('')
}

export function dumpTexts(cluster: Cluster): string[] {
  return (['nftables', 'iptables', 'ipvs'] as const).map((mode) => dumpOf(cluster, mode))
}
