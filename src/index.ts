/** The library: the functions behind the commands. */
export { compileRules } from './compile/compile.ts'
export { UserError } from './errors.ts'
export type { Cluster } from './k8s/cluster.ts'
export { deriveCluster } from './k8s/derive.ts'
export { parseManifests, readManifestFiles } from './k8s/load.ts'
export { type ReplayHooks, type ReplayOptions, replay } from './replay/replay.ts'
export type { ReplayReport } from './report/types.ts'
