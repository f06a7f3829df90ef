/** Exit codes that more than one command ends with; those of failures are in `failure.ts`, of Ctrl-C in `io.ts`. */

/** A threshold failed, or a node's rules are not those of the manifests. As k6 has it. */
export const EXIT_THRESHOLD = 99

/** What the process ends with; in --help and in the man page. */
export const EXIT_CODES: readonly (readonly [code: string, what: string])[] = [
  ['0', 'fine'],
  ['1', 'an internal error: a bug in dpemu; with diff --exit-code: something differs'],
  ['2', 'wrong usage'],
  ['3', 'an invalid manifest, trace, scenario or dump'],
  ['99', 'a threshold or an expectation failed, a benchmark got slower, or a node differs'],
  ['130', 'interrupted (143 by SIGTERM, 129 by SIGHUP)'],
]
