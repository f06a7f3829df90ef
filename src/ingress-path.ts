/**
 * The ways in of an Ingress, as users name them: `instance`, a cloud load balancer sends requests to node ports; `ip`, one sends
 * them to pod addresses; `proxy`, pods in the cluster do. A file of its own, since commands and traces need no more of routing.
 */
export const INGRESS_PATHS = ['instance', 'ip', 'proxy'] as const
export type IngressPath = (typeof INGRESS_PATHS)[number]
