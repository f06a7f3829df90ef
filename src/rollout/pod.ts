/**
 * One pod over time: what it does with connections, and what its endpoint says.
 *
 * The two are different things, and what lies between them is what a change costs.
 */
import type { Lifecycle } from './lifecycle.ts'
import { Steps } from './steps.ts'

/** What the pod's address does with a SYN. */
export const ACCEPT_NOT_YET = 0
export const ACCEPT_YES = 1
/** Refused: it listens no more, or its container has ended. */
export const ACCEPT_STOPPED = 2
/** Its node is gone: silence. */
export const ACCEPT_SILENT = 3
/** The pod's network is taken down: nobody has the address. */
export const ACCEPT_GONE = 4

/** Conditions of the endpoint. A pod that is not in a slice has none. */
export const ENDPOINT_LISTED = 1
export const ENDPOINT_READY = 2
export const ENDPOINT_SERVING = 4
export const ENDPOINT_TERMINATING = 8

/** What ends the connections of a pod. */
export const BREAK_CLOSED = 1
export const BREAK_KILLED = 2
export const BREAK_CRASHED = 3
export const BREAK_NODE = 4

/** What is known of a pod when it is made. */
export type PodMade = Pick<
  Pod,
  'id' | 'name' | 'workload' | 'revision' | 'ordinal' | 'lifecycle' | 'startupMs' | 'createdMs' | 'node'
>

export class Pod {
  readonly id: number
  readonly name: string
  /** Index of the workload, or -1 for a pod of nobody. */
  readonly workload: number
  readonly revision: number
  /** Of a StatefulSet; -1. */
  readonly ordinal: number
  readonly lifecycle: Lifecycle
  readonly startupMs: number
  readonly createdMs: number
  /** Index of the node; -1 while none has room. */
  node: number

  readonly accept: Steps
  readonly endpoint: Steps
  /** When and why connections that were open then ended; pairs, in order of time. */
  readonly breaks: { readonly atMs: number; readonly why: number }[] = []

  /** A container runs. */
  isRunning: boolean = false
  /** The process listens. */
  isListening: boolean = false
  /** What a probe would see, were the process up. */
  isHealthy: boolean = true
  isReady: boolean = false
  readySinceMs: number = Number.POSITIVE_INFINITY
  /** The startup probe has passed, or there is none. */
  isStarted: boolean = false
  /** It is ready but for its readiness gate. */
  isGated: boolean = false
  isTerminating: boolean = false
  isDeleted: boolean = false
  restarts: number = 0

  /** Grid of the readiness probe: the container's start. */
  probeBaseMs: number = 0
  isProbing: boolean = false
  failures: number = 0
  successes: number = 0
  /** Of the container that runs: what was planned for an earlier one does not happen. */
  epoch: number = 0

  deletedMs: number = Number.POSITIVE_INFINITY
  sigtermMs: number = Number.POSITIVE_INFINITY
  killMs: number = Number.POSITIVE_INFINITY
  exitMs: number = Number.POSITIVE_INFINITY
  goneMs: number = Number.POSITIVE_INFINITY

  constructor(made: PodMade) {
    this.id = made.id
    this.name = made.name
    this.workload = made.workload
    this.revision = made.revision
    this.ordinal = made.ordinal
    this.lifecycle = made.lifecycle
    this.startupMs = made.startupMs
    this.createdMs = made.createdMs
    this.node = made.node
    this.accept = new Steps(ACCEPT_NOT_YET)
    this.endpoint = new Steps(0)
  }

  /** Counts as one of its controller's pods. */
  get isLive(): boolean {
    return !this.isTerminating && !this.isDeleted
  }

  isAvailable(nowMs: number, minReadyMs: number): boolean {
    return this.isReady && this.isLive && nowMs - this.readySinceMs >= minReadyMs
  }
}
