/** What the page of `-o html` is given: a report as its JSON has it, and what was worked out of it beforehand. */
import type { CapacityReport } from '../capacity-types.ts'
import type { ThresholdReport } from '../json.ts'
import type { ReplayReport } from '../types.ts'

interface Common {
  readonly title: string
  readonly subtitle: readonly string[]
  /** The sentences of "In short". */
  readonly inShort: readonly string[]
  /** What makes the run again; '' where it was no command. */
  readonly command: string
}

export interface ReplayPage extends Common {
  readonly kind: 'replay'
  readonly runNames: readonly string[]
  /** Of the drop reasons that occur. */
  readonly reasons: Readonly<Record<string, string>>
  /** For the causes and phases of a Timeline's losses. */
  readonly words: Readonly<Record<string, string>>
  readonly report: Omit<ReplayReport, 'draws'> & {
    readonly draws: Omit<NonNullable<ReplayReport['draws']>, 'each'> | null
    readonly thresholds: readonly ThresholdReport[]
  }
}

export interface CapacityPage extends Common {
  readonly kind: 'capacity'
  readonly report: CapacityReport & { readonly thresholds: readonly ThresholdReport[] }
}

/** A rollout report's JSON, as far as the page reads it (src/rollout/report.ts has all of it). */
export interface RolloutPage extends Common {
  readonly kind: 'rollout'
  /** Words for the causes and phases that occur. */
  readonly words: Readonly<Record<string, string>>
  /** The timeline of the first run as letters (src/rollout/picture.ts). */
  readonly picture: { readonly rows: readonly (readonly [label: string, line: string])[]; readonly leftOut: number }
  readonly report: RolloutJson
}

type ByPolicy<T> = readonly ({ readonly policy: string } & T)[]
interface Counts {
  readonly count: number
  readonly p50: number
  readonly p95: number
  readonly most: number
}

export interface RolloutJson {
  readonly kind: 'rollout'
  readonly version: string
  readonly runs: number
  readonly seed: number
  readonly emulates: ReplayReport['emulates']
  readonly offered: ByPolicy<{ readonly count: number }>
  readonly lost: ByPolicy<Counts & { readonly lostFraction: number }>
  readonly delayed: ByPolicy<Counts>
  readonly gaps: ByPolicy<{ readonly p50Seconds: number; readonly p95Seconds: number }>
  readonly losses: ByPolicy<
    Counts & {
      readonly service: string
      readonly cause: string
      readonly phase: string
      readonly clientSees: string
      readonly outcome: string
    }
  >
  readonly overTime: ByPolicy<{ readonly lost: readonly number[]; readonly delayed: readonly number[] }>
  readonly longLived: ByPolicy<{
    readonly breaksEach: number
    readonly byCause: readonly { readonly cause: string; readonly breaksEach: number }[]
    readonly mostOverFair: number
  }>
  readonly rollout: { readonly meanSeconds: number; readonly peakPods: number }
  readonly neededPreStopSeconds: ByPolicy<{ readonly neededSeconds: number | null }>
  readonly safe: ByPolicy<{
    readonly preStopSeconds: number | null
    readonly graceSeconds: number
    readonly leaves: number
    readonly because: string
  }> | null
  readonly preStopTable: readonly {
    readonly preStopSeconds: number
    readonly graceSeconds: number
    readonly lost: Readonly<Record<'cluster' | 'local', number>>
    readonly delayed: Readonly<Record<'cluster' | 'local', number>>
    readonly rolloutSeconds: number
    readonly peakPods: number
  }[]
  readonly firstRun: {
    readonly endSeconds: number
    readonly events: readonly { readonly atSeconds: number; readonly what: string }[]
    readonly pods: readonly {
      readonly name: string
      readonly node: string
      readonly createdSeconds: number | null
      readonly deletedSeconds: number | null
      readonly sigtermSeconds: number | null
      readonly endedSeconds: number | null
    }[]
    readonly told: ByPolicy<{
      readonly service: string
      readonly atSeconds: number
      readonly cause: string
      readonly clientSees: string
      readonly story: readonly string[]
    }>
  }
  readonly derived: ReplayReport['derived']
  readonly warnings: ReplayReport['warnings']
  readonly thresholds: readonly ThresholdReport[]
}

interface StyledText {
  readonly text: string
  readonly tone: string
}

/** A report that is sections of tables and lines (src/report/document.ts). */
export interface DocumentPage extends Common {
  readonly kind: 'document'
  readonly sections: readonly {
    readonly title: string
    readonly lines: readonly StyledText[]
    readonly table: {
      readonly head: readonly string[]
      readonly align: readonly ('left' | 'right')[]
      readonly rows: readonly (readonly StyledText[])[]
    } | null
  }[]
}

export type PageData = ReplayPage | CapacityPage | RolloutPage | DocumentPage
