/** Two sets of manifests as two clusters: what neither writes down is filled in alike on both sides. */
import { type LoadedManifests, loadManifests } from '../explain/context.ts'
import { deriveCluster } from '../k8s/derive.ts'
import type { KubeObject } from '../k8s/types.ts'

export interface LoadedPair {
  readonly old: LoadedManifests
  readonly new: LoadedManifests
}

/** @throws UserError  for manifests that cannot be used, of either side */
export function loadPair(old: readonly string[], changed: readonly string[], stdin: () => string): LoadedPair {
  return asChange(loadManifests(old, stdin), loadManifests(changed, stdin))
}

/**
 * The new side as a cluster that has become of the old one: an object that is on both sides keeps the addresses, ports and nodes that
 * were filled in for it, as it would in a cluster. What it writes down itself stands.
 */
export function asChange(old: LoadedManifests, changed: LoadedManifests): LoadedPair {
  const cluster = deriveCluster(changed.objects as readonly KubeObject[], { ...old.cluster, kubernetesMinor: null })
  const own = new Set(changed.cluster.warnings)
  const read = changed.warnings.filter((warning) => !own.has(warning))
  return { old, new: { ...changed, cluster, warnings: [...read, ...cluster.warnings] } }
}
