/**
 * Which questions need not be asked, because nothing that the answer depends on differs: what makes a small change to a large cluster
 * quick to compare.
 *
 * Looked at is what `decide`, masquerade and NetworkPolicies look at: the settings of rules, the nodes, what an address counts as, the
 * target's own Service port with its endpoints, and the policies that select the pods at either end. Where an answer hangs on more
 * (ipvs, which looks for node ports of the same number; load balancers that go by the node port; endpoints that are addresses of
 * Services; host ports) the question is asked. The property in test/diff holds this against `explain`.
 */
import {
  ADDRESS_DOUBTFUL,
  ADDRESS_NODE,
  FRONTEND_BALANCER_PROXY,
  findFrontend,
  MODE_IPVS,
  SETTING_DETECTOR,
  SETTING_DROP_UNALLOCATED,
  SETTING_EGRESS_MASQUERADE,
  SETTING_HOST_PORTS,
  SETTING_LOCAL_DROPS_ALL,
  SETTING_MASQUERADE_ALL,
  SETTING_MODE,
} from '../../native-free-core/index.ts'
import { addressWords, type Client } from './clients.ts'
import type { Objects } from './objects.ts'
import type { Sides } from './sides.ts'
import type { Target } from './targets.ts'

/** Who has to be asked about a target. */
export type Asking = 'everybody' | 'changed' | 'nobody'

const SETTINGS = [
  SETTING_MODE,
  SETTING_DETECTOR,
  SETTING_MASQUERADE_ALL,
  SETTING_DROP_UNALLOCATED,
  SETTING_EGRESS_MASQUERADE,
  SETTING_HOST_PORTS,
  SETTING_LOCAL_DROPS_ALL,
]

export class Unchanged {
  readonly #sides: Sides
  readonly #objects: Objects
  readonly #isEverywhere: boolean
  readonly #hasHostPorts: boolean
  readonly #sameAddress = new Map<number, boolean>()
  readonly #selected = new Map<number, boolean>()
  readonly #moved = new WeakMap<Client['members'], boolean>()
  readonly #changedClients: boolean

  /** @param clients  everybody who may be asked for */
  constructor(sides: Sides, objects: Objects, clients: readonly Client[]) {
    this.#sides = sides
    this.#objects = objects
    const [a, b] = [sides.old.context.rules, sides.new.context.rules]
    this.#hasHostPorts = a.settings[SETTING_HOST_PORTS] !== 0 || b.settings[SETTING_HOST_PORTS] !== 0
    this.#isEverywhere =
      objects.nodes.length > 0 ||
      objects.settings.length > 0 ||
      objects.labels.length > 0 ||
      a.settings[SETTING_MODE] === MODE_IPVS ||
      SETTINGS.some((setting) => a.settings[setting] !== b.settings[setting])
    this.#changedClients = clients.some((client) => this.isChanged(client))
  }

  /** Whether a client is not the same on both sides, or a changed NetworkPolicy selects it. */
  isChanged({ old, new: changed, members }: Client): boolean {
    return old !== changed || !this.#isSame(old) || this.#isSelected(old) || this.#hasMoved(members)
  }

  #hasMoved(members: Client['members']): boolean {
    const known = this.#moved.get(members)
    if (known !== undefined) return known
    const hasMoved = members.some(([a, b]) => a !== b)
    this.#moved.set(members, hasMoved)
    return hasMoved
  }

  /** @param endpoints  address ids of both sides */
  about(target: Target, endpoints: ReadonlySet<number>): Asking {
    if (this.#isEverywhere || !this.#isSameTarget(target)) return 'everybody'
    for (const endpoint of endpoints) {
      if (!this.#isSame(endpoint) || this.#isSelected(endpoint) || this.#isDoubtful(endpoint)) return 'everybody'
    }
    return this.#changedClients ? 'changed' : 'nobody'
  }

  #isSameTarget(target: Target): boolean {
    const { kind, owner, address, port, protocol } = target
    const { old, new: changed } = this.#sides
    if (kind === 'hostPort' || kind === 'loadBalancerProxy' || !this.#isSame(address)) return false
    const isNodes = (old.context.rules.addressFlags[address]! & ADDRESS_NODE) !== 0
    if (this.#hasHostPorts && (isNodes || target.node >= 0)) return false
    if (kind === 'pod' && this.#isSelected(address)) return false
    if (this.#objects.service(owner).length > 0 || this.#objects.endpoints(owner).length > 0) return false
    // The Service that has it may be another than its owner.
    const [a, b] = [old.context.rules, changed.context.rules].map((rules) => {
      const frontend = findFrontend(rules, address, port, protocol)
      if (frontend < 0) return [-1, -1]
      return [rules.frontendKind[frontend]!, rules.frontendServicePort[frontend]!]
    }) as [number[], number[]]
    return a[0] === b[0] && a[1] === b[1] && a[0] !== FRONTEND_BALANCER_PROXY
  }

  #isSame(address: number): boolean {
    const known = this.#sameAddress.get(address)
    if (known !== undefined) return known
    const { old, new: changed } = this.#sides
    const isSame = addressWords(old.context.rules, address) === addressWords(changed.context.rules, address)
    this.#sameAddress.set(address, isSame && this.#isSamePod(address))
    return this.#sameAddress.get(address)!
  }

  /** An address may have gone from one pod to another, whose labels are its own. */
  #isSamePod(address: number): boolean {
    const text = this.#sides.registry.addressText(address)
    const [a, b] = [this.#sides.old, this.#sides.new].map(({ context }) => context.directory.podAt(text))
    return a?.name === b?.name && a?.namespace === b?.namespace
  }

  #isSelected(address: number): boolean {
    if (this.#objects.policies.length === 0) return false
    const known = this.#selected.get(address)
    if (known !== undefined) return known
    const isSelected = this.#objects.policiesOf([address]).length > 0
    this.#selected.set(address, isSelected)
    return isSelected
  }

  /** An endpoint at the address of a Service or of a node: other Services' rules have a say. */
  #isDoubtful(address: number): boolean {
    const { old, new: changed } = this.#sides
    return [old, changed].some(({ context }) => (context.rules.addressFlags[address]! & ADDRESS_DOUBTFUL) !== 0)
  }
}
