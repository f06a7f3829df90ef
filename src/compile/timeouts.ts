/**
 * How long an entry of each conntrack state lives: the model's constants, kube-proxy's settings over them, and in ipvs mode its own table's.
 */
import {
  CLOSE_BY_CLIENT,
  CLOSE_BY_SERVER,
  CLOSE_WAIT,
  ESTABLISHED,
  FIN_WAIT,
  GENERIC,
  LAST_ACK,
  STATE_COUNT,
  SYN_RECV,
  SYN_SENT,
  SYN_SENT2,
  TIME_WAIT,
  UDP_REPLIED,
  UDP_STREAM,
  UDP_UNREPLIED,
} from '../../native-free-core/index.ts'
import { cutTimeout } from './horizon.ts'
import { IPVS_CLOSE_WAIT_SECONDS, type ProxySettings } from './kube-proxy.ts'
import type { Model } from './model.ts'

/** The kernel's timeouts, with kube-proxy's where the model file does not set them itself. */
export function timeoutColumn(settings: ProxySettings, model: Model, endMs: number): Int32Array {
  const ms = new Float64Array(STATE_COUNT)
  const pick = (name: 'tcpEstablishedSeconds' | 'tcpCloseWaitSeconds' | 'udpSeconds' | 'udpStreamSeconds'): number =>
    model.written.has(name) || settings[name] === 0 ? model[name] : settings[name]
  ms[SYN_SENT] = model.tcpSynSentSeconds
  ms[SYN_SENT2] = model.tcpSynSentSeconds
  ms[SYN_RECV] = model.tcpSynRecvSeconds
  ms[ESTABLISHED] = pick('tcpEstablishedSeconds')
  ms[FIN_WAIT] = model.tcpFinWaitSeconds
  ms[CLOSE_WAIT] = pick('tcpCloseWaitSeconds')
  ms[LAST_ACK] = model.tcpLastAckSeconds
  ms[TIME_WAIT] = model.tcpTimeWaitSeconds
  ms[CLOSE_BY_CLIENT] = model.tcpCloseSeconds
  ms[CLOSE_BY_SERVER] = model.tcpCloseSeconds
  ms[UDP_UNREPLIED] = pick('udpSeconds')
  ms[UDP_REPLIED] = pick('udpSeconds')
  ms[UDP_STREAM] = pick('udpStreamSeconds')
  ms[GENERIC] = model.genericSeconds
  if (settings.mode === 'ipvs') {
    // An ipvs connection that expires takes its conntrack entry along (ip_vs_conn_drop_conntrack), so the shorter of both counts. Flows that
    // ipvs has no part in are shortened too: they are picked up again where they went on, since nothing translates them.
    ms[ESTABLISHED] = Math.min(ms[ESTABLISHED]!, settings.ipvsTcpSeconds)
    ms[FIN_WAIT] = Math.min(ms[FIN_WAIT]!, settings.ipvsFinSeconds)
    ms[CLOSE_WAIT] = Math.min(ms[CLOSE_WAIT]!, IPVS_CLOSE_WAIT_SECONDS)
    for (const state of [UDP_UNREPLIED, UDP_REPLIED, UDP_STREAM])
      ms[state] = Math.min(ms[state]!, settings.ipvsUdpSeconds)
  }
  return Int32Array.from(ms, (seconds) => cutTimeout(seconds * 1000, endMs))
}
