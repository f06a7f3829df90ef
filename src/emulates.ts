/**
 * Whose behaviour is emulated, for `--version` and every report: answers change from one release to the next.
 *
 * Source: the releases whose sources the modules name; the kernel that conntrack was measured on.
 */
import { COREDNS_VERSION } from './dns/kubernetes-plugin.ts'
import { emulatedMinor, NEWEST_MINOR, OLDEST_MINOR } from './kubernetes-version.ts'
import type { Emulated } from './report/types.ts'

export const EMULATES: Emulated = {
  kubernetes: `1.${OLDEST_MINOR} to 1.${NEWEST_MINOR}`,
  kernel: '6.18',
  coredns: COREDNS_VERSION,
  ingressNginx: '1.12 and later',
}

/** For a report: the release that the run was made for. */
export function emulatedIn(kubernetesMinor: number | null): Emulated {
  return { ...EMULATES, kubernetes: `1.${emulatedMinor(kubernetesMinor)}` }
}
