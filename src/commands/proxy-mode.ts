/** `--proxy-mode` of the commands that ask one mode. */
import type { ProxyMode } from '../compile/kube-proxy.ts'
import { suggestion } from '../nearest.ts'
import { usageError } from './arguments.ts'

const PROXY_MODES = ['nftables', 'iptables', 'ipvs'] as const

/** @returns null where it is not given @throws UserError E_USAGE (exit 2) */
export function proxyModeOf(text: string | undefined): ProxyMode | null {
  if (text === undefined) return null
  const known = PROXY_MODES.find((mode) => mode === text)
  if (known === undefined) throw usageError(`--proxy-mode ${text}: no such mode`, suggestion(text, PROXY_MODES))
  return known
}
