/**
 * The two ways a command can fail.
 *
 * A `UserError` is something the user can mend: it has a stable code, says where (file, document, field; or block and
 * byte offset) and carries the exit code of the command line contract. Anything else that is thrown is a bug of ours.
 */

/** 2: wrong usage; 3: a manifest or a trace that cannot be used. */
export type ExitCode = 2 | 3

export class UserError extends Error {
  /** Stable, for scripts: `E_TRACE_TRUNCATED`, `E_MANIFEST_FIELD`, … */
  readonly code: string
  /** File, document and field path, or file, block and byte offset; empty where the message says it all. */
  readonly where: string
  /** What to do about it; empty where that is plain. */
  readonly hint: string
  readonly exitCode: ExitCode

  constructor(code: string, message: string, options: { where?: string; hint?: string; exitCode?: ExitCode } = {}) {
    super(message)
    this.name = 'UserError'
    this.code = code
    this.where = options.where ?? ''
    this.hint = options.hint ?? ''
    this.exitCode = options.exitCode ?? 3
  }
}

/** Something the user should know and that does not stop the run. Printed to stderr and listed in the report. */
export interface Warning {
  /** Stable, for scripts: `W_UNKNOWN_FIELD`, `W_NOT_MODELLED`, … */
  readonly code: string
  /** `file, document 2, spec.ports[0].port`, or an object's `Service default/web`. */
  readonly where: string
  readonly message: string
}

export function formatWarning(warning: Warning): string {
  return warning.where === '' ? warning.message : `${warning.where}: ${warning.message}`
}
