/** Times of conntrack are 32 bits of milliseconds and wrap after 24.8 and 49.7 days: nothing that anybody sees may depend on it. */
import { describe, expect, test } from 'vitest'
import { CLIENT, handshake, lab, send, VIP } from './web.ts'

const DAY_MS = 86_400_000

describe('a connection that opens days into the run goes on as on the first day', () => {
  test.each([0, 24, 24.855, 25, 30, 49.71, 50, 365])('%s days', (days) => {
    const on = lab({ external: 'Cluster' })
    const startMs = Math.round(days * DAY_MS)
    const connection = on.connect(CLIENT, VIP, 40_000)
    handshake(on, connection, startMs)
    for (let i = 1; i <= 40; i++) {
      expect(send(on, connection, startMs + i * 60_000, i % 2 === 0 ? 'server' : 'client', 'data', 500)).toBe('accept')
    }
  })
})
