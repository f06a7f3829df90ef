/** Manifests in, cluster out, for tests. */
import type { UserError } from '../../src/errors.ts'
import type { Cluster, ClusterPod, ClusterService } from '../../src/k8s/cluster.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { type ManifestFile, type ParsedManifests, parseManifests } from '../../src/k8s/load.ts'
import { reduceManifests } from '../../src/k8s/reduce.ts'

export function load(text: string, name = 'test.yaml'): ParsedManifests {
  return parseManifests([{ name, text }])
}

export function reduce(files: readonly ManifestFile[]): ManifestFile[] {
  return reduceManifests(files, parseManifests(files))
}

export function clusterOf(text: string, previous?: Cluster): Cluster {
  return deriveCluster(load(text).objects, previous)
}

export function failure(run: () => unknown): Pick<UserError, 'code' | 'where' | 'message' | 'hint' | 'exitCode'> {
  try {
    run()
  } catch (error) {
    const { code, where, message, hint, exitCode } = error as UserError
    return { code, where, message, hint, exitCode }
  }
  throw new Error('expected a UserError')
}

export function service(cluster: Cluster, key: string): ClusterService {
  return cluster.services.find(({ namespace, name }) => `${namespace}/${name}` === key)!
}

export function pod(cluster: Cluster, key: string): ClusterPod {
  return cluster.pods.find(({ namespace, name }) => `${namespace}/${name}` === key)!
}

export function podsOf(cluster: Cluster, owner: string): ClusterPod[] {
  return cluster.pods.filter((candidate) => candidate.owner === owner)
}

/** `address:port` of every endpoint of a Service. */
export function endpointsOf(cluster: Cluster, name: string): string[] {
  return slicesOf(cluster, name).flatMap((slice) =>
    slice.endpoints.flatMap((endpoint) => slice.ports!.map(({ port }) => `${endpoint.addresses[0]}:${port}`)),
  )
}

export function slicesOf(cluster: Cluster, name: string) {
  return cluster.slices.filter(({ metadata }) => metadata.labels?.['kubernetes.io/service-name'] === name)
}

export function codes(cluster: Cluster): string[] {
  return cluster.warnings.map(({ code }) => code)
}

export function derivedOf(cluster: Cluster, object: string): string | undefined {
  return cluster.derived.find((note) => note.object === object)?.what
}
