/** Which Service ports have latencies of their own where there are more than room. */
import { describe, expect, test } from 'vitest'
import { Registry } from '../../src/compile/registry.ts'
import { latencySlots } from '../../src/replay/latency-slots.ts'

/** Services `default/s0:80` and up, each with an endpoint. */
function registryOf(services: number): Registry {
  const registry = new Registry()
  const address = registry.address('10.244.0.1')
  for (let i = 0; i < services; i++) {
    const port = registry.servicePort({ namespace: 'default', service: `s${i}`, port: '80', family: 'IPv4' })
    registry.endpoint(port, address, 80)
  }
  return registry
}

describe('latency slots', () => {
  test('each Service port has one while there is room', () => {
    const { services, slotOf, left } = latencySlots(registryOf(100), new Set(), true)
    expect(services).toHaveLength(100)
    expect(new Set(slotOf).size).toBe(100)
    expect(left).toBe(0)
  })

  test('IPv4 and IPv6 of one port share one', () => {
    const registry = registryOf(1)
    const six = registry.servicePort({ namespace: 'default', service: 's0', port: '80', family: 'IPv6' })
    registry.endpoint(six, registry.address('2001:db8::1'), 80)
    expect([...latencySlots(registry, new Set(), true).slotOf]).toEqual([1, 1])
  })

  test('what the trace dials comes first, and only what may see traffic is missed', () => {
    const registry = registryOf(1000)
    const { services, slotOf, left } = latencySlots(registry, new Set(['default/s999']), false)
    expect(services[0]).toBe('default/s999:80')
    expect(slotOf[999]).toBe(1)
    expect(left).toBe(0)
    expect(slotOf.filter((slot) => slot === 0)).toHaveLength(1000 - services.length)
    expect(latencySlots(registry, new Set(), true).left).toBe(1000 - services.length)
    const all = new Set(Array.from({ length: 1000 }, (_, i) => `default/s${i}`))
    expect(latencySlots(registry, all, false).left).toBe(1000 - services.length)
  })
})
