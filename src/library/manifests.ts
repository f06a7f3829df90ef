/** Manifests into a cluster: the library's first step. */
import { UserError } from '../errors.ts'
import { type LoadedManifests, loadManifests } from '../explain/context.ts'
import { deriveCluster } from '../k8s/derive.ts'
import { parseManifests, requireObjects } from '../k8s/load.ts'

export type { LoadedManifests }

/**
 * Reads files and folders, checks them as the API server would, and fills in what controllers would make (pods, addresses,
 * EndpointSlices).
 *
 * @param paths  files, folders, or `-` for `stdin`
 * @throws UserError  with file, document and field, for what cannot be used
 * @example
 * const loaded = loadCluster(['manifests/'])
 * console.log(loaded.cluster.services.length, loaded.warnings.map(({ code }) => code))
 */
export function loadCluster(
  paths: readonly string[],
  stdin: () => string = () => {
    throw new UserError('E_STDIN', 'nothing was given to be read as standard input', { exitCode: 2 })
  },
): LoadedManifests {
  return loadManifests(paths, stdin)
}

/**
 * The same of a text: YAML documents or JSON, as `kubectl get -o json` prints it.
 *
 * @param name  what errors call it
 * @throws UserError  for what cannot be used
 * @example
 * const loaded = parseCluster('apiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { ports: [{ port: 80 }] }')
 */
export function parseCluster(text: string, name = 'manifests'): LoadedManifests {
  const { objects, warnings } = requireObjects(parseManifests([{ name, text }]), [name])
  const cluster = deriveCluster(objects)
  return { objects, cluster, warnings: [...warnings, ...cluster.warnings] }
}
