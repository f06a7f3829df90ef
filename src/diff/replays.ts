/** A trace through both sides, and the figures of the two replays held against each other as `dpemu compare` does. */
import { type Comparison, compareReports } from '../compare/compare.ts'
import { checkReport } from '../compare/read.ts'
import type { ProxyMode } from '../compile/kube-proxy.ts'
import { replay } from '../library/runs.ts'
import type { ReplayHooks } from '../replay/replay.ts'
import type { DiffInputs } from './view.ts'

export interface ReplaysOptions {
  /** null: as the manifests say. */
  readonly mode: ProxyMode | null
  readonly kubernetesMinor: number | null
}

/**
 * Each side is replayed by itself, with the policies that it writes down.
 *
 * @throws UserError for a trace that cannot be used, or not with one of the sides; AbortedError when `hooks.signal` came
 */
export async function compareReplays(
  trace: string,
  inputs: DiffInputs,
  { mode, kubernetesMinor }: ReplaysOptions,
  hooks: ReplayHooks,
): Promise<Comparison> {
  const settings = {
    trace,
    policies: ['as-is'] as const,
    proxyModes: mode === null ? [] : [mode],
    kubernetesMinor,
    series: false,
  }
  const old = await replay({ ...settings, manifests: [...inputs.old] }, hooks)
  const changed = await replay({ ...settings, manifests: [...inputs.new] }, hooks)
  return compareReports([checkReport('old', old), checkReport('new', changed)], [])
}
