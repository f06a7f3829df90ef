/** Exit codes that more than one command ends with; those of failures are in `failure.ts`, of Ctrl-C in `io.ts`. */

/** A threshold failed, or a node's rules are not those of the manifests. As k6 has it. */
export const EXIT_THRESHOLD = 99
