/**
 * What a pod template says about starting and ending, in milliseconds, with the API's defaults filled in.
 *
 * Of a pod with several containers the one that has the Service's port counts; the others are taken to end when it does.
 * Source: kubernetes/kubernetes pkg/apis/core/v1/defaults.go (probes: period 10 s, timeout 1 s, success 1, failure 3; grace 30 s).
 */
import type { LifecycleHandler, Probe } from '../k8s/lifecycle.ts'
import type { Container, PodSpec } from '../k8s/types.ts'
import { durationMs } from './durations.ts'

export interface ProbeTimes {
  readonly initialDelayMs: number
  readonly periodMs: number
  readonly success: number
  readonly failure: number
}

export interface Lifecycle {
  /** null: the container is ready as soon as it runs. */
  readonly readiness: ProbeTimes | null
  readonly startup: ProbeTimes | null
  readonly preStopMs: number
  readonly graceMs: number
  /** What cannot be known from the manifest, for the report. */
  readonly unknown: readonly string[]
}

const DEFAULT_GRACE_SECONDS = 30

/** @param port  number or name of the port that the Service sends to; null: the first container counts */
export function lifecycleOf(spec: PodSpec, port: number | string | null): Lifecycle {
  const containers = spec.containers ?? []
  const container: Container =
    containers.find(({ ports = [] }) => ports.some((one) => one.containerPort === port || one.name === port)) ??
    containers[0] ??
    {}
  const preStop = preStopOf(container.lifecycle?.preStop)
  const unknown = preStop.unknown === '' ? [] : [preStop.unknown]
  if (containers.length > 1 && containers.some((one) => one !== container && one.readinessProbe !== undefined)) {
    unknown.push(`readiness of containers other than ${container.name ?? 'the first'} is not looked at`)
  }
  if (container.livenessProbe !== undefined) unknown.push('its livenessProbe never restarts it')
  return {
    readiness: container.readinessProbe === undefined ? null : timesOf(container.readinessProbe),
    startup: container.startupProbe === undefined ? null : timesOf(container.startupProbe),
    preStopMs: preStop.ms,
    graceMs: (spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS) * 1000,
    unknown,
  }
}

function timesOf(probe: Probe): ProbeTimes {
  const { initialDelaySeconds = 0, periodSeconds, successThreshold, failureThreshold } = probe
  // 0 is what a field that was left out is.
  return {
    initialDelayMs: initialDelaySeconds * 1000,
    periodMs: (periodSeconds || 10) * 1000,
    success: successThreshold || 1,
    failure: failureThreshold || 3,
  }
}

const SLEEP = /(?:^|[\s;&/])sleep\s+(\d+(?:\.\d+)?(?:ms|s|m|h)?)/

/** A hook that sleeps takes as long as it says; how long another command takes, nobody knows. */
function preStopOf(handler: LifecycleHandler | undefined): { readonly ms: number; readonly unknown: string } {
  if (handler === undefined) return { ms: 0, unknown: '' }
  if (handler.sleep !== undefined) return { ms: handler.sleep.seconds * 1000, unknown: '' }
  if (handler.exec === undefined) return { ms: 0, unknown: 'its preStop hook is taken to return at once' }
  const command = (handler.exec.command ?? []).join(' ')
  const slept = durationMs(SLEEP.exec(command)?.[1])
  if (slept !== null) return { ms: slept, unknown: '' }
  return {
    ms: 0,
    unknown: `how long its preStop hook (${command.slice(0, 40)}) takes is not known: it is taken to return at once`,
  }
}

/** The first probe at or after `fromMs`, on a grid that begins with the container. */
export function nextProbeMs(probe: ProbeTimes, baseMs: number, fromMs: number): number {
  const earliest = Math.max(fromMs - baseMs, probe.initialDelayMs)
  return baseMs + Math.ceil(earliest / probe.periodMs) * probe.periodMs
}
