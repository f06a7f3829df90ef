/**
 * Whose behaviour is emulated, for `--version` and every report: answers change from one release to the next.
 *
 * Source: the releases whose sources the modules name; the kernel that conntrack was measured on.
 */
import { COREDNS_VERSION } from './dns/corefile.ts'
import type { Emulated } from './report/types.ts'

export const EMULATES: Emulated = {
  kubernetes: '1.31 to 1.35',
  kernel: '6.18',
  coredns: COREDNS_VERSION,
  ingressNginx: '1.12 and later',
}
