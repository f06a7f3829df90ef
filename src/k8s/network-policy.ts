/**
 * NetworkPolicies as the API server takes them: the reader, with its checks, and the defaults that it fills in.
 *
 * Source: kubernetes/kubernetes pkg/apis/networking/validation/validation.go (ValidateNetworkPolicySpec, …Port, …Peer, IPBlock),
 * pkg/apis/networking/v1/defaults.go, apimachinery pkg/apis/meta/v1/validation (label selectors), pkg/util/validation (names).
 */
import { cidrCovers, parseCidr } from './ip.ts'
import {
  cidr,
  FieldProblem,
  integer,
  labels,
  list,
  object,
  oneOf,
  oneOfOrEmpty,
  type Reader,
  string,
  wrong,
} from './schema.ts'
import type { LabelSelector, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicyRule } from './types.ts'

type Spec = NetworkPolicy['spec']
type Requirement = NonNullable<LabelSelector['matchExpressions']>[number]

const LABEL_NAME = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/
const LABEL_PREFIX = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const PORT_NAME = /^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/

function refuse(path: (string | number)[], found: string, expected: string): never {
  const problem = new FieldProblem(found, expected)
  problem.path.push(...path.reverse())
  throw problem
}

function isLabelKey(key: string): boolean {
  const slash = key.lastIndexOf('/')
  const prefix = slash < 0 ? null : key.slice(0, slash)
  return LABEL_NAME.test(key.slice(slash + 1)) && (prefix === null || LABEL_PREFIX.test(prefix))
}

function checkKey(key: string, path: (string | number)[]): void {
  if (!isLabelKey(key)) refuse(path, JSON.stringify(key), 'a label such as app or example.com/tier')
}

function checkValue(value: string, path: (string | number)[]): void {
  if (value !== '' && !LABEL_NAME.test(value))
    refuse(path, JSON.stringify(value), 'a label value of at most 63 characters')
}

const requirement: Reader<Requirement> = (value) => {
  const read = object<Requirement>(
    { key: string, operator: oneOf('In', 'NotIn', 'Exists', 'DoesNotExist'), values: list(string) },
    ['key', 'operator'],
  )(value)
  checkKey(read.key, ['key'])
  const { operator, values = [] } = read
  const asks = operator === 'In' || operator === 'NotIn'
  if (asks && values.length === 0) refuse(['values'], 'empty', `at least one value: the operator is ${operator}`)
  if (!asks && values.length > 0) refuse(['values'], 'given', `no values: the operator is ${operator}`)
  for (const [i, one] of values.entries()) checkValue(one, ['values', i])
  return read
}

const selectorFields = object<LabelSelector>({ matchLabels: labels, matchExpressions: list(requirement) })
const selector: Reader<LabelSelector> = (value) => {
  const read = selectorFields(value)
  for (const [key, one] of Object.entries(read.matchLabels ?? {})) {
    checkKey(key, ['matchLabels', key])
    checkValue(one, ['matchLabels', key])
  }
  return read
}

const number = integer(1, 65535)
const portFields = object<NetworkPolicyPort>({
  protocol: oneOfOrEmpty('TCP', 'UDP', 'SCTP'),
  port: (value) => {
    if (typeof value === 'number') return number(value)
    if (typeof value === 'string' && PORT_NAME.test(value)) return value
    return wrong(
      value,
      'a port number from 1 to 65535, or a port name of at most 15 small letters, digits and single hyphens',
    )
  },
  endPort: number,
})
const port: Reader<NetworkPolicyPort> = (value) => {
  const read = portFields(value)
  const { port: first, endPort } = read
  if (endPort === undefined) return read
  if (first === undefined) refuse(['endPort'], 'given without port', 'a port that the range begins with')
  if (typeof first === 'string')
    refuse(['endPort'], `given with the port name ${JSON.stringify(first)}`, 'a port number')
  if (endPort < first) refuse(['endPort'], String(endPort), `at least port, which is ${first}`)
  return read
}

const block: Reader<{ cidr: string; except?: string[] }> = (value) => {
  const read = object<{ cidr: string; except?: string[] }>({ cidr, except: list(cidr) }, ['cidr'])(value)
  const outer = parseCidr(read.cidr)!
  for (const [i, text] of (read.except ?? []).entries()) {
    const inner = parseCidr(text)!
    if (!cidrCovers(outer, inner) || inner.prefix === outer.prefix)
      refuse(['except', i], text, `a block inside of cidr ${read.cidr} and smaller than it`)
  }
  return read
}

const peerFields = object<NetworkPolicyPeer>({ podSelector: selector, namespaceSelector: selector, ipBlock: block })
const peer: Reader<NetworkPolicyPeer> = (value) => {
  const read = peerFields(value)
  const selects = read.podSelector !== undefined || read.namespaceSelector !== undefined
  if (read.ipBlock !== undefined && selects)
    refuse(['ipBlock'], 'given beside a selector', 'either ipBlock or podSelector and namespaceSelector')
  if (read.ipBlock === undefined && !selects)
    throw new FieldProblem('empty', 'podSelector, namespaceSelector or ipBlock')
  return read
}

const never = <T>(_: unknown): T | undefined => undefined
const ingressRule = object<NetworkPolicyRule>({ ports: list(port), from: list(peer), to: never })
const egressRule = object<NetworkPolicyRule>({ ports: list(port), from: never, to: list(peer) })
const specFields = object<Spec>({
  podSelector: selector,
  policyTypes: (value) => (Array.isArray(value) && value.length === 0 ? undefined : types(value)),
  ingress: list(ingressRule),
  egress: list(egressRule),
})

const types: Reader<('Ingress' | 'Egress')[]> = (value) => {
  const read = list(oneOf('Ingress', 'Egress'))(value)
  if (read.length > 2) throw new FieldProblem(`a list of ${read.length}`, 'Ingress, Egress or both')
  return read
}

const body = object<{ spec: Spec }>({ spec: specFields }, ['spec'])
export const networkPolicy: Reader<{ spec: Spec }> = (value) => {
  const read = body(value)
  const { policyTypes, egress } = read.spec
  // As written it says which directions are isolated; left out, egress rules alone do.
  read.spec.policyTypes = policyTypes ?? ((egress ?? []).length > 0 ? ['Ingress', 'Egress'] : ['Ingress'])
  return read
}

/** The rules of a direction, whether or not `policyTypes` makes them count. */
export function rulesOf({ spec }: NetworkPolicy, direction: 'ingress' | 'egress'): readonly NetworkPolicyRule[] {
  return spec[direction] ?? []
}

export function peersOf(rule: NetworkPolicyRule): readonly NetworkPolicyPeer[] {
  return rule.from ?? rule.to ?? []
}

export function isolates({ spec }: NetworkPolicy, direction: 'ingress' | 'egress'): boolean {
  return spec.policyTypes?.includes(direction === 'ingress' ? 'Ingress' : 'Egress') ?? direction === 'ingress'
}
