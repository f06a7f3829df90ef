/**
 * The cells of a search or a sweep: every combination of axes, policy and proxy mode, with the texts that each one's runs
 * are made of. All that can be wrong with a combination is found here, before anything runs, but for what only the traffic
 * planner sees (a Service or node that is not there).
 */
import type { ProxyMode } from '../compile/kube-proxy.ts'
import { parseModel } from '../compile/model.ts'
import { type ManifestFile, parseManifests } from '../k8s/load.ts'
import type { KubeObject } from '../k8s/types.ts'
import type { PolicyName } from '../replay/plan.ts'
import type { ParameterValue } from '../report/capacity-types.ts'
import { parseScenario, type Scenario } from '../trace/scenario.ts'
import {
  connectionsPerSecond,
  editScenario,
  expectedConnections,
  type FieldEdit,
  type Scaling,
  scaleScenario,
  scalingLimits,
} from '../trace/scenario-edit.ts'
import { type Axis, combinations } from './axes.ts'
import { manifestOf, withField, withNodes, withReplicas } from './manifests.ts'
import type { Job } from './measure.ts'

export interface CellInputs {
  /** As it was named, for messages. */
  readonly scenarioFile: string
  /** Without its folder. */
  readonly scenarioName: string
  readonly scenario: string
  readonly manifests: readonly ManifestFile[]
  readonly model: { readonly path: string; readonly text: string } | null
  readonly axes: readonly Axis[]
  /** Where no axis has them. */
  readonly policies: readonly PolicyName[]
  /** Where no axis has them; empty: as the manifests say. */
  readonly proxyModes: readonly ProxyMode[]
  readonly seed: number | null
  readonly connections: number | null
}

export interface PlannedCell {
  readonly name: string
  readonly parameters: Readonly<Record<string, ParameterValue>>
  readonly policy: PolicyName
  /** Connections a second of all streams as its scenario is written. */
  readonly ownRate: number
  /** Factors between which its streams can be generated. */
  readonly limits: { readonly least: number; readonly most: number }
  /** Of a plain run. */
  readonly scaling: Scaling
  /** Connections of a plain run, or of a search's first: what a cell costs beside the others. */
  readonly cost: number
  job(scaling: Scaling): Job
}

const RATES_OF_OWN: Scaling = { factor: 1, connections: null }

/** @throws UserError E_SCENARIO_FIELD, E_MODEL, E_CAPACITY_NODES, E_CAPACITY_REPLICAS, E_USAGE */
export function planCells(inputs: CellInputs): PlannedCell[] {
  const clusters = new ClusterTexts(inputs.manifests)
  const named = new Set(inputs.axes.map(({ name }) => name))
  const policies = named.has('policy') ? [null] : inputs.policies
  const modes = named.has('proxyMode') || inputs.proxyModes.length === 0 ? [null] : inputs.proxyModes
  return combinations(inputs.axes).flatMap((values) =>
    policies.flatMap((policy) =>
      modes.map((mode) => {
        const all = new Map(values)
        if (policy !== null) all.set('policy', policy)
        if (mode !== null) all.set('proxyMode', mode)
        // One proxy mode for all is no news.
        const shown = [...all].filter(([name]) => name !== 'proxyMode' || named.has(name) || modes.length > 1)
        return planCell(shown.map(([name, value]) => `${name}=${value}`).join(', '), all, inputs, clusters)
      }),
    ),
  )
}

function planCell(
  name: string,
  values: ReadonlyMap<string, ParameterValue>,
  inputs: CellInputs,
  clusters: ClusterTexts,
): PlannedCell {
  const { axes, scenarioFile } = inputs
  const scenarioText = scenarioOf(values, inputs)
  const scenario: Scenario = parseScenario(scenarioText, scenarioFile)
  const manifests = clusters.of(values, axes)
  const model = modelOf(values, inputs)
  const policy = values.get('policy') as PolicyName
  const proxyMode = (values.get('proxyMode') as ProxyMode | undefined) ?? null
  const scaling = {
    factor: (values.get('rate') as number | undefined) ?? 1,
    connections: (values.get('connections') as number | undefined) ?? inputs.connections,
  }
  return {
    name,
    parameters: Object.fromEntries([...values].filter(([axis]) => axis !== 'policy' && axis !== 'proxyMode')),
    policy,
    ownRate: connectionsPerSecond(scenario),
    limits: scalingLimits(scenario),
    scaling,
    cost: scaling.connections ?? expectedConnections(scenario) * scaling.factor,
    job: (scaled) => {
      const isOwn = scaled.factor === RATES_OF_OWN.factor && scaled.connections === RATES_OF_OWN.connections
      const text = isOwn ? scenarioText : scaleScenario(scenarioText, scenarioFile, scaled)
      return { name: inputs.scenarioName, scenario: text, manifests, model, policy, proxyMode }
    },
  }
}

function scenarioOf(values: ReadonlyMap<string, ParameterValue>, inputs: CellInputs): string {
  const seed = values.get('seed') ?? inputs.seed
  const edits: FieldEdit[] = inputs.axes.flatMap(({ name, target }) =>
    target.kind === 'field' ? [{ path: target.path, value: values.get(name)! }] : [],
  )
  if (seed !== null) edits.push({ path: 'seed', value: seed })
  return edits.length === 0 ? inputs.scenario : editScenario(inputs.scenario, inputs.scenarioFile, edits)
}

/** The model file's constants with those of the axes in their place. */
function modelOf(values: ReadonlyMap<string, ParameterValue>, { axes, model }: CellInputs): string | null {
  const varied = axes.flatMap(({ name, target }) =>
    target.kind === 'constant' ? [[target.name, values.get(name)!] as const] : [],
  )
  if (varied.length === 0) return model?.text ?? null
  const base = model === null ? null : parseModel(model.text, model.path)
  const written = base === null ? [] : Object.entries(base).filter(([name]) => base.written.has(name))
  const text = JSON.stringify(Object.fromEntries([...written, ...varied]))
  parseModel(text, 'the values of -P and -L')
  return text
}

/** Manifests of clusters, made once for each combination of nodes and replicas. */
class ClusterTexts {
  readonly #files: readonly ManifestFile[]
  readonly #made = new Map<string, readonly ManifestFile[]>()
  #objects: readonly KubeObject[] | null = null

  constructor(files: readonly ManifestFile[]) {
    this.#files = files
  }

  of(values: ReadonlyMap<string, ParameterValue>, axes: readonly Axis[]): readonly ManifestFile[] {
    const changing = axes.filter(({ target }) => ['nodes', 'replicas', 'manifest'].includes(target.kind))
    if (changing.length === 0) return this.#files
    const key = JSON.stringify(changing.map(({ name }) => values.get(name)))
    const known = this.#made.get(key)
    if (known !== undefined) return known
    this.#objects ??= parseManifests(this.#files).objects
    let objects = this.#objects
    // Nodes first: replicas are counted on the nodes that there will be.
    for (const { name, target } of changing) {
      if (target.kind === 'nodes') objects = withNodes(objects, values.get(name) as number)
    }
    for (const { name, target } of changing) {
      if (target.kind !== 'replicas') continue
      objects = withReplicas(objects, target.namespace, target.workload, values.get(name) as number)
    }
    for (const { name, target } of changing) {
      if (target.kind === 'manifest') objects = withField(objects, target.field, values.get(name)!)
    }
    const files = [manifestOf(objects)]
    this.#made.set(key, files)
    return files
  }
}
