/** Exit codes that more than one command ends with; those of failures are in `failure.ts`, of Ctrl-C in `io.ts`. */

/** As k6 has it. */
export const EXIT_THRESHOLD = 99
