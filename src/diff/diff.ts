/**
 * Two clusters, and what changes for whom: every class of client, every address and port, name and route asked on both sides.
 *
 * Complete by classes and not by samples: clients.ts says what a class is, and a property in test/diff holds that no packet whose
 * answer differs is without a line, and no line without a packet.
 * Cost: two compiles, and for each target that something differs about (nodes + classes of pods) decisions on each side.
 */
import type { Warning } from '../errors.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { askAll } from './ask.ts'
import {
  blocksOf,
  Clients,
  countedBlocks,
  OUTSIDER_ADDRESSES,
  outsideAddresses,
  policyBlocks,
  takenAddresses,
} from './clients.ts'
import { Gatherer } from './gather.ts'
import { compareNames } from './names.ts'
import { Objects } from './objects.ts'
import { compareRoutes } from './routes.ts'
import { openSides, type SideOptions } from './sides.ts'
import { LOOPBACK, targetsOf } from './targets.ts'
import type { Diff } from './types.ts'

export interface DiffSide {
  readonly cluster: Cluster
  readonly warnings: readonly Warning[]
}

/** @throws UserError  for a Corefile that cannot be used */
export function diffClusters(old: DiffSide, changed: DiffSide, options: SideOptions = {}): Diff {
  const policies = policyBlocks(old.cluster, changed.cluster)
  const blocks = [...countedBlocks(old.cluster, changed.cluster), ...policies]
  const taken = takenAddresses(old.cluster, changed.cluster)
  const common = outsideAddresses(blocks, taken)
  const of = (ranges: readonly string[]): string[] => outsideAddresses(blocksOf(ranges), taken)
  const ranges = [old, changed].flatMap(({ cluster }) => cluster.services.flatMap(({ sourceRanges }) => sourceRanges))
  const asked = [...common, ...of(ranges), ...OUTSIDER_ADDRESSES, LOOPBACK]
  const sides = openSides(old.cluster, changed.cluster, asked, options)
  const objects = new Objects(sides)
  const gatherer = new Gatherer(sides, objects)
  const clients = new Clients(sides, policies)
  const packets = askAll(sides, clients, targetsOf(sides), { common, blocks, policies, of }, objects, gatherer)
  const names = compareNames(sides, objects, gatherer)
  const routes = compareRoutes(sides, objects, gatherer)
  return {
    changes: gatherer.changes(),
    differences: gatherer.differences,
    questions: packets + names.questions + routes.questions,
    notCompared: [...names.notCompared, ...routes.notCompared],
    warnings: { old: old.warnings, new: changed.warnings },
  }
}
