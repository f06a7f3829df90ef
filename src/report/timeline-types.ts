/** The part of a replay report about its Timeline: what clients lost, and why. Absent from a replay without one. */

/** Over the Timeline's runs. */
export interface LossSpread {
  /** The mean. */
  count: number
  p50: number
  p95: number
  most: number
}

export interface TimelineReport {
  /** File and document. */
  source: string
  /** Courses that losses are counted over; packets are replayed through the first. */
  runs: number
  /** What happened in the first. */
  events: { atSeconds: number; what: string }[]
  services: { service: string; way: string; loadBalancer: string; connections: number }[]
  /** Connections to anything else, which nothing happens to. */
  otherConnections: number
  offered: { policy: string; count: number }[]
  lost: ({ policy: string; lostFraction: number } & LossSpread)[]
  delayed: ({ policy: string } & LossSpread)[]
  /** The longest time without a new connection that went well. */
  gaps: { policy: string; p50Seconds: number; p95Seconds: number }[]
  losses: ({
    policy: string
    service: string
    cause: string
    phase: string
    clientSees: string
    outcome: string
  } & LossSpread)[]
  /** Means a second from 0 on. */
  overTime: { policy: string; lost: number[]; delayed: number[] }[]
  /** Of each cause some connections of the first run, step by step. */
  told: {
    policy: string
    service: string
    atSeconds: number
    cause: string
    clientSees: string
    story: string[]
  }[]
  /** What was assumed, and what says otherwise. */
  derived: { object: string; what: string }[]
  /** Rule sets that packets met, one after the other. */
  moments: number
}

const SPREAD: LossSpread = { count: 0, p50: 0, p95: 0, most: 0 }

/** One element in every list, for thresholds. */
export const TIMELINE_SHAPE: TimelineReport = {
  source: '',
  runs: 0,
  events: [{ atSeconds: 0, what: '' }],
  services: [{ service: '', way: '', loadBalancer: '', connections: 0 }],
  otherConnections: 0,
  offered: [{ policy: '', count: 0 }],
  lost: [{ policy: '', lostFraction: 0, ...SPREAD }],
  delayed: [{ policy: '', ...SPREAD }],
  gaps: [{ policy: '', p50Seconds: 0, p95Seconds: 0 }],
  losses: [{ policy: '', service: '', cause: '', phase: '', clientSees: '', outcome: '', ...SPREAD }],
  overTime: [{ policy: '', lost: [0], delayed: [0] }],
  told: [{ policy: '', service: '', atSeconds: 0, cause: '', clientSees: '', story: [''] }],
  derived: [{ object: '', what: '' }],
  moments: 0,
}
