/**
 * One run of a search or a sweep: a scenario's trace generated into a folder of its own, replayed, and taken away again.
 *
 * A measurement is a function of the job: neither the folder nor the number of workers enters it.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, sep } from 'node:path'
import type { ProxyMode } from '../compile/kube-proxy.ts'
import { UserError, type Warning } from '../errors.ts'
import type { ManifestFile } from '../k8s/load.ts'
import type { PolicyName } from '../replay/plan.ts'
import { replay } from '../replay/replay.ts'
import type { Figures } from '../report/capacity-types.ts'
import { generateTrace } from '../trace/generate.ts'
import { type Culprits, culpritsOf, figuresOf, isSettled } from './figures.ts'

/** What a run is made of: texts, so that it can be sent to a process and that files changed meanwhile do not matter. */
export interface Job {
  /** Of the scenario's file, for messages. */
  readonly name: string
  readonly scenario: string
  /** Names are relative to the scenario. */
  readonly manifests: readonly ManifestFile[]
  /** Text of a model file; null for the defaults. */
  readonly model: string | null
  readonly policy: PolicyName
  /** null: as the manifests say. */
  readonly proxyMode: ProxyMode | null
}

export interface Measurement {
  readonly proxyMode: string
  readonly connections: number
  readonly packets: number
  readonly durationSeconds: number
  readonly settled: boolean
  readonly figures: Figures
  readonly culprits: Culprits
  readonly warnings: readonly Warning[]
}

export interface MeasureOptions {
  /** Where the run's own folder is made. */
  readonly folder: string
  /** Threads of the replay. */
  readonly workers: number
  /** Part of the run that is done, 0 to 1. */
  readonly onProgress?: (fraction: number) => void
}

const SHARDS = 16
/** Of a run's time; roughly, for the progress bar. */
const GENERATING = 0.4

/** @throws UserError for a scenario, manifests or a model that cannot be used, with places named as in the job */
export async function measure(job: Job, { folder, workers, onProgress }: MeasureOptions): Promise<Measurement> {
  const own = mkdtempSync(join(folder, 'run-'))
  const named = (text: string): string => text.replaceAll(`${own}${sep}`, '')
  const place = (name: string, text: string): string => {
    const path = join(own, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
    return path
  }
  try {
    const trace = join(own, 'trace.msgpack')
    const generated = await generateTrace({
      scenarioPath: place(job.name, job.scenario),
      manifests: job.manifests.map(({ name, text }) => place(name, text)),
      output: trace,
      onProgress: (done, total) => onProgress?.((done / total) * GENERATING),
    })
    const report = await replay(
      {
        trace,
        manifests: [],
        policies: [job.policy],
        proxyModes: job.proxyMode === null ? [] : [job.proxyMode],
        workers,
        shards: SHARDS,
        seed: null,
        model: job.model === null ? null : place('model.yaml', job.model),
        series: false,
      },
      { onProgress: (done, total) => onProgress?.(GENERATING + (done / total) * (1 - GENERATING)) },
    )
    const run = report.runs[0]!
    return {
      proxyMode: run.proxyMode,
      connections: report.trace.connections,
      packets: report.trace.packets,
      durationSeconds: report.trace.durationSeconds,
      settled: isSettled(run, {
        durationSeconds: report.trace.durationSeconds,
        timeWaitSeconds: report.model.find(({ name }) => name === 'tcpTimeWaitSeconds')!.value,
      }),
      figures: figuresOf(run),
      culprits: culpritsOf(run),
      warnings: [...generated.warnings, ...report.warnings].map((warning) => ({
        ...warning,
        where: named(warning.where),
        message: named(warning.message),
      })),
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    const { code, where, hint, exitCode } = error
    throw new UserError(code, named(error.message), { where: named(where), hint: named(hint), exitCode })
  } finally {
    rmSync(own, { recursive: true, force: true })
  }
}
