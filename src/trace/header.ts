/** Checks a trace's header map, so that everything behind it may rely on the types in format.ts. */
import { UserError, type Warning } from '../errors.ts'
import { INGRESS_PATHS } from '../ingress-path.ts'
import { LIBCS } from '../libc.ts'
import {
  ADDRESS_TYPES,
  addressCount,
  DESTINATION_KINDS,
  LANES,
  SCHEMES,
  STEERS,
  TICK_NANOS,
  TRACE_FORMAT,
  TRACE_VERSION,
  type TraceDestination,
  type TraceDns,
  type TraceHeader,
  type TraceManifest,
  type TraceRequest,
} from './format.ts'

type Fields = Record<string, unknown>

/**
 * The header in an unpacked object. Unknown fields are left alone, as later writers of this version may add some.
 *
 * Errors: E_TRACE_CORRUPT, naming the field.
 */
export function parseHeader(object: unknown, path: string): TraceHeader {
  const refuse = (field: string): never => {
    throw new UserError('E_TRACE_CORRUPT', `the header's ${field} is missing or not what it must be`, {
      where: `${path}: header at byte 0`,
    })
  }
  const map = (value: unknown, field: string): Fields =>
    typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : refuse(field)
  const list = (value: unknown, field: string): unknown[] => (Array.isArray(value) ? value : refuse(field))
  const text = (value: unknown, field: string): string => (typeof value === 'string' ? value : refuse(field))
  const integer = (value: unknown, most: number, field: string): number =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most ? (value as number) : refuse(field)
  const oneOf = <T>(value: unknown, values: readonly T[], field: string): T =>
    values.includes(value as T) ? (value as T) : refuse(field)
  const orNull = <T>(value: unknown, parse: (value: unknown) => T): T | null =>
    value === null || value === undefined ? null : parse(value)
  const addressTable = (value: unknown, width: number, field: string): Uint8Array =>
    value instanceof Uint8Array && value.length % width === 0 ? value : refuse(field)

  const fields = map(object, 'map')
  oneOf(fields['tickNanos'], [TICK_NANOS], 'tickNanos')
  oneOf(fields['lanes'], [LANES], 'lanes')
  const provenance = map(fields['provenance'], 'provenance')
  const tables = map(fields['addresses'], 'addresses')
  const addresses = {
    v4: addressTable(tables['v4'], 4, 'addresses.v4'),
    v6: addressTable(tables['v6'], 16, 'addresses.v6'),
  }
  const lastAddress = addressCount(addresses) - 1

  const manifest = (value: unknown, i: number): TraceManifest => {
    const field = `manifests[${i}]`
    const { name, text: content } = map(value, field)
    return { name: text(name, `${field}.name`), text: text(content, `${field}.text`) }
  }
  const warning = (value: unknown, i: number): Warning => {
    const field = `warnings[${i}]`
    const { code, where, message } = map(value, field)
    return {
      code: text(code, `${field}.code`),
      where: text(where, `${field}.where`),
      message: text(message, `${field}.message`),
    }
  }
  const clientName = (value: unknown, i: number): readonly [number, string] => {
    const field = `clientNames[${i}]`
    const [id, name] = list(value, field)
    return [integer(id, lastAddress, field), text(name, field)]
  }
  const destination = (value: unknown, i: number): TraceDestination => {
    const field = `destinations[${i}]`
    const entry = map(value, field)
    const to = oneOf(entry['to'], DESTINATION_KINDS, `${field}.to`)
    const isIngress = to === 'ingress'
    if (isIngress && (entry['service'] ?? entry['servicePort'] ?? null) !== null) refuse(`${field}.service`)
    return {
      address: integer(entry['address'], lastAddress, `${field}.address`),
      port: integer(entry['port'], 65_535, `${field}.port`),
      protocol: oneOf(entry['protocol'], isIngress ? ([6] as const) : ([6, 17, 132] as const), `${field}.protocol`),
      to,
      ...(to === 'name' ? { name: text(entry['name'], `${field}.name`) } : {}),
      ...(isIngress ? { ingress: text(entry['ingress'], `${field}.ingress`) } : {}),
      ...(isIngress && entry['path'] !== undefined
        ? { path: oneOf(entry['path'], INGRESS_PATHS, `${field}.path`) }
        : {}),
      service: orNull(entry['service'], (service) => text(service, `${field}.service`)),
      servicePort: orNull(entry['servicePort'], (port) => integer(port, 65_535, `${field}.servicePort`)),
      node: orNull(entry['node'], (node) => text(node, `${field}.node`)),
      steer: oneOf(entry['steer'], STEERS, `${field}.steer`),
    }
  }

  const request = (value: unknown, i: number): TraceRequest => {
    const field = `requests[${i}]`
    const { host, path: asked, method, scheme } = map(value, field)
    return {
      host: text(host, `${field}.host`),
      path: text(asked, `${field}.path`),
      method: text(method, `${field}.method`),
      scheme: oneOf(scheme, SCHEMES, `${field}.scheme`),
    }
  }

  const dns = (value: unknown): TraceDns => {
    const entry = map(value, 'dns')
    const families = list(entry['families'], 'dns.families').map((type) => oneOf(type, ADDRESS_TYPES, 'dns.families'))
    const { cacheSeconds } = entry
    return {
      families: families.length > 0 ? families : refuse('dns.families'),
      cacheSeconds: typeof cacheSeconds === 'number' && cacheSeconds >= 0 ? cacheSeconds : refuse('dns.cacheSeconds'),
      ...(entry['resolver'] === undefined ? {} : { resolver: oneOf(entry['resolver'], LIBCS, 'dns.resolver') }),
      upstream: list(entry['upstream'], 'dns.upstream').map((record) => text(record, 'dns.upstream')),
    }
  }

  return {
    format: TRACE_FORMAT,
    version: TRACE_VERSION,
    tickNanos: TICK_NANOS,
    lanes: LANES,
    name: text(fields['name'], 'name'),
    provenance: {
      generator: text(provenance['generator'], 'provenance.generator'),
      seed: integer(provenance['seed'], Number.MAX_SAFE_INTEGER, 'provenance.seed'),
      scenario: orNull(provenance['scenario'], (scenario) => text(scenario, 'provenance.scenario')),
    },
    manifests: list(fields['manifests'], 'manifests').map(manifest),
    ...(fields['warnings'] === undefined ? {} : { warnings: list(fields['warnings'], 'warnings').map(warning) }),
    addresses,
    clientNames: list(fields['clientNames'], 'clientNames').map(clientName),
    destinations: list(fields['destinations'], 'destinations').map(destination),
    changes: list(fields['changes'], 'changes').map((change, i) => {
      const { timeSeconds, apply, delete: removed } = map(change, `changes[${i}]`)
      if (typeof timeSeconds !== 'number' || !(timeSeconds >= 0)) return refuse(`changes[${i}].timeSeconds`)
      return {
        timeSeconds,
        ...(apply === undefined ? {} : { apply }),
        ...(removed === undefined ? {} : { delete: removed }),
      }
    }),
    ...(fields['timeline'] === undefined ? {} : { timeline: fields['timeline'] }),
    ...(fields['dns'] === undefined ? {} : { dns: dns(fields['dns']) }),
    ...(fields['requests'] === undefined ? {} : { requests: list(fields['requests'], 'requests').map(request) }),
  }
}
