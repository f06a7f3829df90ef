/** What kube-proxy would program on a node, in the words of the tools that load it: the door of this folder. */
import type { Compiled } from '../compile/compile.ts'
import type { Registry } from '../compile/registry.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { iptablesRules } from './iptables.ts'
import { ipvsRules } from './ipvs.ts'
import { nftablesRules } from './nftables.ts'
import { type Family, type NodeRules, nodeRules, type PortRules } from './node-rules.ts'

export type { Family, NodeRules, PortRules }

export type Tool = 'nft' | 'iptables-restore' | 'ip6tables-restore' | 'ipvsadm' | 'ipset'

export interface Emitted {
  readonly rules: NodeRules
  /** Input of each tool. */
  readonly native: Readonly<Partial<Record<Tool, string>>>
}

/** @throws UserError `E_NODE` for a node that the manifests do not have */
export function emitRules(
  cluster: Cluster,
  compiled: Compiled,
  registry: Registry,
  node: string,
  family: Family,
): Emitted {
  const rules = nodeRules(cluster, compiled, registry, node, family)
  switch (compiled.settings.mode) {
    case 'nftables':
      return { rules, native: { nft: nftablesRules(rules) } }
    case 'iptables': {
      const text = iptablesRules(rules)
      return { rules, native: family === 'IPv4' ? { 'iptables-restore': text } : { 'ip6tables-restore': text } }
    }
    default: {
      const { ipvsadm, ipset, iptables } = ipvsRules(rules)
      // The sets come before the rules that look into them.
      const tool = family === 'IPv4' ? 'iptables-restore' : 'ip6tables-restore'
      return { rules, native: { ipvsadm, ipset, [tool]: iptables } }
    }
  }
}
