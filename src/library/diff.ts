/** What changes for whom between two sets of manifests: `dpemu diff` as a value. */
import { diffClusters } from '../diff/diff.ts'
import { asChange } from '../diff/load.ts'
import type { Diff } from '../diff/types.ts'
import type { LoadedManifests } from '../explain/context.ts'

/**
 * Asks both sides about every class of client, address, port, name and Ingress route, and gathers what is answered otherwise by
 * cause. What neither side writes down (addresses, nodes of pods) is filled in alike.
 *
 * Cost: two compiles, and a few microseconds for each class of client and frontend.
 *
 * @throws UserError  for a Corefile that cannot be used
 * @example
 * const { changes } = diff(loadCluster(['old/']), loadCluster(['new/']))
 * for (const { causes, effects } of changes) console.log(causes, effects.map(({ kind, from, to }) => `${kind}: ${from} → ${to}`))
 */
export function diff(old: LoadedManifests, changed: LoadedManifests): Diff {
  const pair = asChange(old, changed)
  return diffClusters(pair.old, pair.new)
}
