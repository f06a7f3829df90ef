/**
 * The library: what the commands do, as functions. Docs: docs/library.md.
 *
 * Everything public is listed here. Errors that are the caller's are `UserError`s, with a code, the place and a hint.
 */

export type { CapacityHooks, CapacityOutcome } from './capacity/capacity.ts'
export { formatInspection } from './commands/inspect-text.ts'
export type { Comparison } from './compare/compare.ts'
export { type CompareFormat, renderComparison } from './compare/text.ts'
export { type Compiled, type CompileOptions, compileRules } from './compile/compile.ts'
export type { ProxyMode } from './compile/kube-proxy.ts'
export { DEFAULT_MODEL, type Model, parseModel, readModel } from './compile/model.ts'
export { Registry } from './compile/registry.ts'
export type { Change, Diff, Effect, Example, ObjectChange } from './diff/types.ts'
export type { DigDocument } from './dns/dig.ts'
export { UserError, type Warning } from './errors.ts'
export type { Explanation, Step } from './explain/types.ts'
export type { IngressPath } from './ingress-path.ts'
export type { Cluster, ClusterNode, ClusterPod, ClusterService } from './k8s/cluster.ts'
export { diff } from './library/diff.ts'
export { type LoadedManifests, loadCluster, parseCluster } from './library/manifests.ts'
export { type DnsLookup, dig, type Explained, type ExplainQuestion, explain } from './library/questions.ts'
export { type CapacitySettings, capacity, compare, judge, type ReplaySettings, replay } from './library/runs.ts'
export { AbortedError } from './replay/messages.ts'
export type { PolicyName, ReplayOptions } from './replay/plan.ts'
export type { ReplayHooks } from './replay/replay.ts'
export type { CapacityReport } from './report/capacity-types.ts'
export { type ReplayFormat, renderReplay } from './report/render.ts'
export type { ThresholdResult } from './report/threshold.ts'
export type { ReplayReport, RunReport } from './report/types.ts'
export { type GenerateOptions, type GenerateResult, generateTrace } from './trace/generate.ts'
export { inspectTrace, type TraceInspection } from './trace/inspect.ts'
