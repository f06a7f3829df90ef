/**
 * What one packet costs on its way, in nanoseconds: propagation between places and CPU time on each node it crosses.
 *
 * A packet that crosses a node pays the established cost there, more where the entry masquerades; the first packet of a
 * connection pays rule evaluation in addition, which grows with the position of the Service's rule in iptables mode and
 * does not in the others. Between places: client to load balancer, load balancer to node, node to node by zone, node to pod.
 * Constants come with the rule set (`settings`, `propagation`); src/replay/model.ts holds their defaults, units and sources.
 * Cost: a handful of additions, on the slow path; the fast path adds up two numbers that were stored with the connection.
 */
import {
  type RuleColumns,
  SETTING_COST_ESTABLISHED,
  SETTING_COST_FIRST,
  SETTING_COST_FIRST_MASQUERADE,
  SETTING_COST_MASQUERADED,
  SETTING_COST_PER_RULE_PICOS,
  SETTING_RULE_COUNT,
  SETTING_ZONES,
} from './ruleset.ts'

/** One-way time between two nodes; 0 for a node and itself. */
export function propagationBetween(rules: RuleColumns, from: number, to: number): number {
  if (from === to) return 0
  const zones = rules.settings[SETTING_ZONES]
  return rules.propagation[(rules.nodeZone[from] + 1) * (zones + 1) + rules.nodeZone[to] + 1]
}

/** CPU time of a packet of a known flow on one node. */
export function establishedCost(rules: RuleColumns, masqueraded: boolean): number {
  return rules.settings[SETTING_COST_ESTABLISHED] + (masqueraded ? rules.settings[SETTING_COST_MASQUERADED] : 0)
}

/** CPU time that the first packet pays more on a node. @param servicePort -1 where no Service matched: the full scan */
export function firstPacketCost(rules: RuleColumns, servicePort: number, masqueraded: boolean): number {
  const { settings } = rules
  const position = servicePort < 0 ? settings[SETTING_RULE_COUNT] : rules.servicePosition[servicePort]
  return (
    settings[SETTING_COST_FIRST] +
    (masqueraded ? settings[SETTING_COST_FIRST_MASQUERADE] : 0) +
    Math.round((settings[SETTING_COST_PER_RULE_PICOS] * position) / 1000)
  )
}
