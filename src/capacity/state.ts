/**
 * What a search or a sweep has found out so far, so that one that was interrupted goes on where it stopped.
 *
 * Every run is kept by what it was asked for. A run is a function of that, so a search that begins again and finds its
 * runs here takes the same steps to the same bytes. A state belongs to one set of inputs and options: their fingerprint.
 */
import { createHash } from 'node:crypto'
import { UserError } from '../errors.ts'
import type { Measurement } from './measure.ts'

/** Where a state is kept between runs. */
export interface StateFile {
  readonly path: string
  /** Nobody asked for this file: it is called after the search, and taken away when that is done. */
  readonly isOwn: boolean
  /** null where there is none. */
  read(): string | null
  write(text: string): void
}

interface StateDocument {
  readonly schemaVersion: 1
  readonly kind: 'capacity-state'
  readonly fingerprint: string
  readonly runs: Readonly<Record<string, Measurement>>
}

/** What a state belongs to: a hash of all that a result depends on. */
export function fingerprintOf(inputs: unknown): string {
  return createHash('sha256').update(JSON.stringify(inputs)).digest('hex')
}

export class State {
  /** Runs that were there from the beginning. */
  readonly resumed: number
  readonly #runs: Map<string, Measurement>
  readonly #fingerprint: string
  readonly #file: StateFile | null

  /**
   * @param fingerprint  of all that a result depends on
   * @throws UserError E_CAPACITY_STATE, exit code 2, for a file that is no state, or one of other inputs
   */
  constructor(file: StateFile | null, fingerprint: string) {
    this.#file = file
    this.#fingerprint = fingerprint
    this.#runs = new Map(Object.entries(file === null ? {} : this.#readRuns(file)))
    this.resumed = this.#runs.size
  }

  get(key: string): Measurement | undefined {
    return this.#runs.get(key)
  }

  set(key: string, measurement: Measurement): void {
    this.#runs.set(key, measurement)
    const document: StateDocument = {
      schemaVersion: 1,
      kind: 'capacity-state',
      fingerprint: this.#fingerprint,
      runs: Object.fromEntries(this.#runs),
    }
    this.#file?.write(`${JSON.stringify(document)}\n`)
  }

  #readRuns(file: StateFile): StateDocument['runs'] {
    const text = file.read()
    if (text === null) return {}
    const document = parse(text)
    if (document !== null && document.fingerprint === this.#fingerprint) return document.runs
    throw new UserError(
      'E_CAPACITY_STATE',
      document === null
        ? 'this is no state of dpemu capacity'
        : 'this state is of another search: scenario, manifests, model, options or version differ',
      { where: file.path, hint: 'name another file with --state, or remove this one to begin anew', exitCode: 2 },
    )
  }
}

function parse(text: string): StateDocument | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return null
  }
  const document = value as Partial<StateDocument> | null
  const isState =
    document?.kind === 'capacity-state' &&
    document.schemaVersion === 1 &&
    typeof document.runs === 'object' &&
    document.runs !== null
  return isState ? (document as StateDocument) : null
}
