/** `dpemu init`: manifests → a scenario to begin with, commented, that runs as it stands. */
import { existsSync } from 'node:fs'
import { basename, dirname, relative, resolve, sep } from 'node:path'
import { UserError } from '../errors.ts'
import { writeOutputNow } from '../files/output.ts'
import { resolveOutput } from '../files/target.ts'
import { deriveCluster } from '../k8s/derive.ts'
import { environmentsIn } from '../k8s/environment.ts'
import { parseManifests, readManifestFiles, requireObjects } from '../k8s/load.ts'
import { countOf } from '../report/units.ts'
import { draftScenario } from '../trace/draft.ts'
import type { Io } from './io.ts'
import { isStandardOutput } from './outputs.ts'
import { warningPrinter } from './warnings.ts'

const STDIN = '-'

export interface InitOptions {
  readonly manifests: readonly string[]
  /** Standard output where it is left out. */
  readonly output?: string | undefined
  /** Write over a file that is there. */
  readonly force: boolean
  readonly quiet: boolean
}

/** @returns the exit code: 0 @throws UserError */
export function runInit(
  options: InitOptions,
  io: Pick<Io, 'stdout' | 'stderr' | 'stdin' | 'disabledWarnings'>,
): number {
  const { manifests, output = STDIN } = options
  const isFile = !isStandardOutput(output)
  if (isFile && !options.force && resolveOutput(output).kind === 'file' && existsSync(output)) {
    throw new UserError('E_OUTPUT', `${output} is there already`, {
      hint: 'name another file, or say --force',
      exitCode: 2,
    })
  }
  const files = readManifestFiles(manifests, () => io.stdin())
  const parsed = requireObjects(parseManifests(files), manifests)
  const cluster = deriveCluster(parsed.objects)
  const printer = warningPrinter(io, { update: () => {}, clear: () => {} }, options.quiet)
  for (const warning of [...parsed.warnings, ...cluster.warnings]) printer.print(warning)
  printer.finish()
  const folder = isFile ? dirname(resolve(output)) : process.cwd()
  const isPiped = manifests.includes(STDIN)
  const draft = draftScenario({
    name: nameOf(manifests),
    manifests: isPiped ? [] : manifests.map((path) => relative(folder, resolve(path)).split(sep).join('/') || '.'),
    environment: environmentsIn(files),
    cluster,
  })
  if (isFile) writeOutputNow(output, draft.text)
  else io.stdout(draft.text)
  if (!options.quiet) {
    const left = draft.left === 0 ? '' : `, ${draft.left} left out with the reason`
    io.stderr(`dpemu: drafted ${countOf(draft.streams, 'stream')} of traffic${left}\n`)
    if (isFile) io.stderr(`dpemu: next: dpemu generate ${output}${isPiped ? ' -f MANIFESTS' : ''} -o trace.msgpack\n`)
  }
  return 0
}

/** Of the folder or file that was named first. */
function nameOf(manifests: readonly string[]): string {
  const [first] = manifests
  if (first === undefined || first === STDIN) return 'draft'
  const plain = basename(resolve(first)).replace(/\.(ya?ml|json)$/i, '')
  return /^(k8s|kubernetes|manifests|deploy|base)$/i.test(plain) ? basename(dirname(resolve(first))) || plain : plain
}
