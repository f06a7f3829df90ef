/**
 * Which Kubernetes is emulated, where answers differ from one release to the next.
 *
 * What differs: whether PreferSameZone and PreferSameNode count (gate PreferSameTrafficDistribution, on by default from 1.34), and what
 * becomes of UDP entries of a Service that has lost its last endpoint: deleted up to 1.31, left from 1.32 on (kubernetes#127318
 * rewrote the clean-up), deleted again from 1.37 on (kubernetes#139629); and whether nftables mode
 * short-circuits nodes and pods under policy Local where the node has no endpoint (kubernetes#131765: from 1.33.6 on).
 */
import { UserError } from './errors.ts'
import type { Cluster } from './k8s/cluster.ts'

export const OLDEST_MINOR = 31
export const NEWEST_MINOR = 37
/** Where nothing tells. */
export const DEFAULT_MINOR = 35

/** @param text  `1.34` or `v1.34.2` @throws UserError E_USAGE (exit 2) */
export function parseKubernetesVersion(text: string): number {
  const minor = Number(/^v?1\.(\d+)(\.\d+)?$/.exec(text.trim())?.[1])
  if (minor >= OLDEST_MINOR && minor <= NEWEST_MINOR) return minor
  throw new UserError('E_USAGE', `--kube-version is ${JSON.stringify(text)}`, {
    hint: `a release from 1.${OLDEST_MINOR} to 1.${NEWEST_MINOR}, as in 1.${DEFAULT_MINOR}`,
    exitCode: 2,
  })
}

/** The nearest release that is emulated. */
export function emulatedMinor(asked: number | null): number {
  return Math.min(NEWEST_MINOR, Math.max(OLDEST_MINOR, asked ?? DEFAULT_MINOR))
}

export function prefersSameTopology(minor: number): boolean {
  return minor >= 34
}

/** Whether UDP entries of a Service without any endpoint are deleted. */
export function cleansEmptyServices(minor: number): boolean {
  return minor <= 31 || minor >= 37
}

/** Whether nftables mode drops what comes from inside of the cluster where policy Local has no endpoint on the node. */
export function dropsLocalFromInside(minor: number): boolean {
  return minor <= 32
}

/** @param asked  what the user wants in place of what the Nodes tell; null for nothing */
export function withVersion(cluster: Cluster, asked: number | null): Cluster {
  return asked === null ? cluster : { ...cluster, kubernetesMinor: asked }
}
