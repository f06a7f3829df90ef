/**
 * What one packet costs on its way, in nanoseconds: propagation between places and CPU time on each node it crosses.
 *
 * A packet that crosses a node pays the established cost there, more where the entry masquerades; the first packet of a
 * connection pays rule evaluation in addition, which grows with the position of the Service's rule in iptables mode and
 * does not in the others. Between places: client to load balancer, load balancer to node, node to node by zone, node to pod.
 * Constants come with the rule set (`settings`, `propagation`); src/replay/model.ts holds their defaults, units and sources.
 * Cost: a handful of additions, on the slow path; the fast path adds up two numbers that were stored with the connection.
 */
import type { Nanos, NodeId, RandomWord, ServicePortId } from './kinds.ts'
import {
  type RuleColumns,
  SETTING_COLD_SCAN_PERMILLE,
  SETTING_COST_ESTABLISHED,
  SETTING_COST_FIRST_MASQUERADE,
  SETTING_COST_FIRST_MEAN,
  SETTING_COST_FIRST_P50,
  SETTING_COST_FIRST_P90,
  SETTING_COST_FIRST_P99,
  SETTING_COST_MASQUERADED,
  SETTING_COST_PER_RULE_PICOS,
  SETTING_RULE_COUNT,
  SETTING_ZONES,
} from './rule-columns.ts'

/** One-way time between two nodes; 0 for a node and itself. */
export function propagationBetween(rules: RuleColumns, from: NodeId, to: NodeId): Nanos {
  if (from === to) return 0
  const zones = rules.settings[SETTING_ZONES]
  return rules.propagation[(rules.nodeZone[from] + 1) * (zones + 1) + rules.nodeZone[to] + 1]
}

/** CPU time of a packet of a known flow on one node. */
export function establishedCost(rules: RuleColumns, masqueraded: boolean): Nanos {
  return rules.settings[SETTING_COST_ESTABLISHED] + (masqueraded ? rules.settings[SETTING_COST_MASQUERADED] : 0)
}

/**
 * CPU time that the first packet pays more on a node: a cold path, so a distribution and no constant, and then the rules
 * before the Service's own.
 * @param servicePort  -1 where no Service matched: the full scan
 * @param random       random word of the connection on this node
 */
export function firstPacketCost(
  rules: RuleColumns,
  servicePort: ServicePortId,
  masqueraded: boolean,
  random: RandomWord,
): Nanos {
  const { settings } = rules
  const cold = coldCost(settings, (random >>> 0) / 4294967296)
  const masquerade = masqueraded ? settings[SETTING_COST_FIRST_MASQUERADE] : 0
  if (settings[SETTING_COST_PER_RULE_PICOS] === 0) return cold + masquerade
  const position = servicePort < 0 ? settings[SETTING_RULE_COUNT] : rules.servicePosition[servicePort]
  const scan = (settings[SETTING_COST_PER_RULE_PICOS] * position) / 1000
  // What makes the path cold makes part of the scan slow too; the mean of the scan stays what it is.
  const share = settings[SETTING_COLD_SCAN_PERMILLE] / 1000
  const mean = settings[SETTING_COST_FIRST_MEAN]
  const slowdown = mean === 0 ? 1 : 1 - share + (share * cold) / mean
  return cold + masquerade + Math.round(scan * slowdown)
}

/** Straight lines between the quantiles 0, 0.5, 0.9 and 0.99, and the last one carried on. */
function coldCost(settings: Int32Array, u: number): number {
  const p50 = settings[SETTING_COST_FIRST_P50]
  const p90 = settings[SETTING_COST_FIRST_P90]
  const p99 = settings[SETTING_COST_FIRST_P99]
  if (u < 0.5) return Math.round((p50 * u) / 0.5)
  if (u < 0.9) return Math.round(p50 + ((p90 - p50) * (u - 0.5)) / 0.4)
  return Math.round(p90 + ((p99 - p90) * (u - 0.9)) / 0.09)
}
