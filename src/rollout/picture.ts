/**
 * The timeline of the first run as rows of letters: pods, nodes as the load balancer sees them, and losses below.
 *
 * ░ starting, █ ready, ▒ ending, · gone; of nodes █ gets connections and has a pod, x gets them and has none, ─ gets none.
 */
import type { Policy } from './balancer.ts'
import type { Scene } from './dial.ts'
import { ENDPOINT_READY, ENDPOINT_TERMINATING, type Pod } from './pod.ts'
import type { Counts, FirstRun, Tally } from './runs.ts'

const COLUMNS = 60
/** Letters of a page's timeline for each of text's: odd, so that one of them is of the same moment. */
const FINER = 5
const MAX_PODS = 24
const LEVELS = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const

export interface Picture {
  readonly scale: string
  readonly rows: readonly (readonly [label: string, line: string])[]
  /** Of pods and nodes the same in finer steps, for pages. */
  readonly fine: readonly (readonly [label: string, line: string])[]
  readonly leftOut: number
}

export function pictureOf(tally: Tally): Picture {
  return withLosses(outlineOf(tally), tally.policies, tally.endMs)
}

/** Pods and nodes of the first run. */
export function outlineOf({ course, endMs, scenes }: FirstRun): Picture {
  const column = (i: number): number => ((i + 0.5) * endMs) / (COLUMNS * FINER)
  const line = (letter: (ms: number) => string): string =>
    Array.from({ length: COLUMNS * FINER }, (_, i) => letter(column(i))).join('')
  const changing = course.pods.filter(({ createdMs, deletedMs, endpoint }) => {
    return createdMs >= 0 || Number.isFinite(deletedMs) || endpoint.times.length > 1
  })
  const shown = changing.slice(0, MAX_PODS)
  const fine: [string, string][] = shown.map((pod) => [
    `${pod.name}${pod.node < 0 ? '' : ` on ${course.nodes[pod.node]!.name}`}`,
    line((ms) => podLetter(pod, ms)),
  ])
  const scene = scenes.find(({ targets, balancerKind }) => targets !== null && balancerKind !== 'pods')
  if (scene !== undefined) {
    for (const { index, name } of course.nodes)
      fine.push([`balancer → ${name} (Local)`, line((ms) => nodeLetter(scene, index, ms))])
  }
  const rows = fine.map(([label, letters]) => [label, thinned(letters)] as const)
  return { scale: scaleOf(endMs), rows, fine, leftOut: changing.length - shown.length }
}

function thinned(letters: string): string {
  return [...letters].filter((_, i) => i % FINER === (FINER - 1) / 2).join('')
}

/** With a row of losses for each policy: means over the runs. */
export function withLosses(outline: Picture, policies: Counts['policies'], endMs: number): Picture {
  const rows = [...outline.rows]
  for (const { policy, lostBySecond, delayedBySecond } of policies) {
    const counts = new Float64Array(COLUMNS)
    for (let second = 0; second < Math.ceil(endMs / 1000); second++) {
      const at = Math.min(COLUMNS - 1, Math.floor(((second + 0.5) * 1000 * COLUMNS) / endMs))
      counts[at]! += lostBySecond[second]! + delayedBySecond[second]!
    }
    const most = Math.max(...counts)
    const word: Readonly<Record<Policy, string>> = { cluster: 'lost or late, Cluster', local: 'lost or late, Local' }
    const bars = [...counts].map((count) =>
      most === 0 ? ' ' : LEVELS[count === 0 ? 0 : Math.max(1, Math.round((count / most) * 8))]!,
    )
    rows.push([word[policy], bars.join('')])
  }
  return { ...outline, rows }
}

function podLetter(pod: Pod, ms: number): string {
  if (ms < pod.createdMs) return ' '
  const flags = pod.endpoint.at(ms)
  if (ms >= pod.exitMs && pod.isTerminating) return '·'
  if ((flags & ENDPOINT_TERMINATING) !== 0) return '▒'
  return (flags & ENDPOINT_READY) !== 0 ? '█' : ms >= pod.goneMs ? '·' : '░'
}

function nodeLetter({ targets, rules, sets }: Scene, node: number, ms: number): string {
  if (targets!.local.ofNode[node]!.at(ms) === 0) return '─'
  return sets[rules[node]!.at(ms)]!.local.has(node) ? '█' : 'x'
}

/** Times at every quarter of the picture. */
function scaleOf(endMs: number): string {
  const quarter = COLUMNS / 4
  return (
    Array.from({ length: 4 }, (_, i) => `${Math.round((endMs * i) / 4000)}s`.padEnd(quarter)).join('') +
    `${Math.round(endMs / 1000)}s`
  )
}
