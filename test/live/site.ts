/**
 * Node `a` of a small cluster as network namespaces: the node itself, clients outside, what lives on other nodes, and four pods.
 *
 * Every namespace answers for whole blocks of addresses (local routes), so worlds with other pods and addresses need no new ones.
 * The node's addresses are those that the model says masquerading takes: its own towards others, the bridge's towards its pods. The
 * network plugin's masquerade is the rule that flannel writes: from the pods' block to anything outside of it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export type Place = 'node' | 'client' | 'remote' | 'p5' | 'p6' | 'p7' | 'p8'

export type LoadTool = 'nft' | 'iptables-restore' | 'ip6tables-restore'

export interface Dial {
  readonly protocol: 'tcp' | 'udp'
  readonly from: string
  readonly to: string
  readonly port: number
  /** Milliseconds after which nobody is taken to answer. */
  readonly timeout: number
}

const PODS = ['p5', 'p6', 'p7', 'p8'] as const
const BLOCKS: Readonly<Record<Exclude<Place, 'node'>, readonly string[]>> = {
  client: ['198.51.100.0/24', '10.1.200.0/24', '10.1.0.77/32', '192.168.0.3/32'],
  remote: ['10.1.1.0/24', '10.1.2.0/24', '10.96.0.0/16', '203.0.113.0/24', '192.0.2.0/24', '192.168.0.2/32'],
  p5: ['10.1.0.5/32'],
  p6: ['10.1.0.6/32'],
  p7: ['10.1.0.7/32'],
  p8: ['10.1.0.8/32'],
}
/** The same in IPv6: `TO_IPV6` of worlds.ts says which address is which. */
const BLOCKS6: Readonly<Record<Exclude<Place, 'node'>, readonly string[]>> = {
  client: ['2001:db8:100::/64', 'fd00:1:0:200::/64', 'fd00:1::77/128', 'fd00:99::3/128'],
  remote: [
    'fd00:1:0:1::/64',
    'fd00:1:0:2::/64',
    'fd00:96::/64',
    '2001:db8:113::/64',
    '2001:db8:2::/64',
    'fd00:99::2/128',
  ],
  p5: ['fd00:1::5/128'],
  p6: ['fd00:1::6/128'],
  p7: ['fd00:1::7/128'],
  p8: ['fd00:1::8/128'],
}
const NODE6 = 'fd00:99::1'
const BRIDGE6 = 'fd00:1::1'
const TCP_PORTS = [80, 81, 443, 8080, 30080, 32000]

export const HOLD_PORT = 8081

const PLUGIN = `table ip6 plugin {
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ip6 saddr fd00:1::/48 ip6 daddr fd00:1::/48 return
    ip6 saddr fd00:1::/48 ip6 daddr != ff00::/8 masquerade fully-random
  }
}
table ip plugin {
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ip saddr 10.1.0.0/16 ip daddr 10.1.0.0/16 return
    ip saddr 10.1.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random
  }
}
`

/** Why nothing can be judged here, or null. */
export function whyNot(): string | null {
  if (process.platform !== 'linux') return 'not Linux'
  if (process.getuid?.() !== 0) return 'not root'
  for (const tool of [
    ['nft', '--version'],
    ['ip', '-V'],
    ['conntrack', '--version'],
  ] as const) {
    try {
      execFileSync(tool[0], [tool[1]], { stdio: 'ignore' })
    } catch {
      return `${tool[0]} is missing`
    }
  }
  try {
    const probe = `dpemu-probe-${process.pid}`
    execFileSync('ip', ['netns', 'add', probe], { stdio: 'ignore' })
    execFileSync('ip', ['netns', 'del', probe], { stdio: 'ignore' })
  } catch {
    return 'network namespaces cannot be made'
  }
  return null
}

class Agent {
  private readonly child: ChildProcess
  private readonly lines: Interface
  private readonly waiting: ((line: string) => void)[] = []

  constructor(namespace: string, place: string) {
    const program = fileURLToPath(new URL('./agent.mjs', import.meta.url))
    this.child = spawn('ip', ['netns', 'exec', namespace, process.execPath, program, place], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.lines = createInterface({ input: this.child.stdout! })
    this.lines.on('line', (line) => this.waiting.shift()?.(line))
  }

  ask(order: object): Promise<unknown> {
    return new Promise((resolve) => {
      this.waiting.push((line) => resolve(JSON.parse(line)))
      this.child.stdin!.write(`${JSON.stringify(order)}\n`)
    })
  }

  end(): void {
    this.child.stdin!.end()
  }
}

export class Site {
  private readonly prefix = `dp${process.pid}-`
  private readonly agents = new Map<Place, Agent>()
  private backend: 'nft' | 'legacy' = 'nft'

  async open(): Promise<void> {
    const lines: string[] = []
    const node = `${this.prefix}node`
    const at = (namespace: string, line: string): void => void lines.push(`ip -n ${namespace} ${line}`)
    lines.push(`ip netns add ${node}`)
    at(node, 'link set lo up')
    at(node, 'addr add 192.168.0.1/32 dev lo')
    at(node, `-6 addr add ${NODE6}/128 dev lo nodad`)
    Object.entries(BLOCKS).forEach(([place, blocks], i) => {
      const own = `${this.prefix}${place}`
      const mac = (side: number): string => `02:00:00:00:0${i}:0${side}`
      lines.push(`ip netns add ${own}`)
      at(own, 'link set lo up')
      at(node, `link add ${place} address ${mac(1)} type veth peer name eth0 address ${mac(2)} netns ${own}`)
      at(node, `addr add ${(PODS as readonly string[]).includes(place) ? '10.1.0.1' : '192.168.0.1'}/32 dev ${place}`)
      at(node, `link set ${place} up`)
      at(node, `neigh add 169.254.1.2 lladdr ${mac(2)} dev ${place} nud permanent`)
      at(own, `addr add ${blocks[0]!.split('/')[0]!.replace(/\.0$/, '.254')}/32 dev eth0`)
      at(own, 'link set eth0 up')
      at(own, `neigh add 169.254.1.1 lladdr ${mac(1)} dev eth0 nud permanent`)
      at(own, 'route add default via 169.254.1.1 dev eth0 onlink')
      for (const block of blocks) {
        at(own, `route replace local ${block} dev lo`)
        at(node, `route add ${block} via 169.254.1.2 dev ${place} onlink`)
      }
      const isPod = (PODS as readonly string[]).includes(place)
      at(node, `-6 addr add ${isPod ? BRIDGE6 : NODE6}/128 dev ${place} nodad`)
      at(node, `-6 neigh add fe80::2 lladdr ${mac(2)} dev ${place} nud permanent`)
      at(own, `-6 neigh add fe80::1 lladdr ${mac(1)} dev eth0 nud permanent`)
      at(
        own,
        `-6 addr add ${BLOCKS6[place as keyof typeof BLOCKS6][0]!.replace(/::\/64$/, '::fffe').split('/')[0]!}/128 dev eth0 nodad`,
      )
      at(own, '-6 route add default via fe80::1 dev eth0 onlink')
      for (const block of BLOCKS6[place as keyof typeof BLOCKS6]) {
        at(own, `-6 route replace local ${block} dev lo`)
        at(node, `-6 route add ${block} via fe80::2 dev ${place} onlink`)
      }
    })
    at(node, 'route add default via 169.254.1.2 dev remote onlink')
    at(node, '-6 route add default via fe80::2 dev remote onlink')
    for (const line of lines) this.shell(line)
    for (const [key, value] of [
      ['net.ipv4.ip_forward', 1],
      ['net.ipv4.conf.all.rp_filter', 0],
      ['net.ipv4.conf.default.rp_filter', 0],
      ...Object.keys(BLOCKS).map((place) => [`net.ipv4.conf.${place}.rp_filter`, 0] as const),
      ['net.ipv6.conf.all.forwarding', 1],
      ['net.ipv6.icmp.ratelimit', 0],
      ['net.ipv4.icmp_ratelimit', 0],
      ['net.ipv4.icmp_msgs_per_sec', 1_000_000],
      ['net.ipv4.icmp_msgs_burst', 1_000_000],
    ] as const) {
      try {
        this.inNode(['sysctl', '-qw', `${key}=${value}`])
      } catch {
        // Older kernels have some of them for the machine only.
      }
    }
    for (const place of ['node', ...Object.keys(BLOCKS)] as Place[]) {
      // A local route is not enough for IPv6 to bind an address of its block.
      this.run(place, ['sysctl', '-qw', 'net.ipv6.ip_nonlocal_bind=1'])
      this.agents.set(place, new Agent(`${this.prefix}${place}`, place))
    }
    const pods = PODS.map((place) => [place, BLOCKS[place][0]!.split('/')[0]!] as const)
    const remote = [1, 2].flatMap((n) => [5, 6, 7, 8].map((host) => `10.1.${n}.${host}`))
    const remote6 = [1, 2].flatMap((n) => [5, 6, 7, 8].map((host) => `fd00:1:0:${n}::${host}`))
    const pods6 = PODS.map((place) => [place, BLOCKS6[place][0]!.split('/')[0]!] as const)
    await Promise.all([
      this.agents.get('node')!.ask({
        listen: [
          ...['0.0.0.0', '::'].flatMap((any) => TCP_PORTS.map((port) => ['tcp', any, port])),
          ['udp', '192.168.0.1', 53],
          ['udp', NODE6, 53],
        ],
      }),
      this.agents.get('remote')!.ask({
        listen: [
          ...['0.0.0.0', '::'].flatMap((any) => TCP_PORTS.map((port) => ['tcp', any, port])),
          ...[...remote, '192.168.0.2', ...remote6, 'fd00:99::2'].map((address) => ['udp', address, 53]),
        ],
      }),
      ...[...pods, ...pods6].map(([place, address]) =>
        this.agents
          .get(place)!
          .ask({ listen: [...TCP_PORTS.map((port) => ['tcp', address, port]), ['udp', address, 53]] }),
      ),
    ])
  }

  /** Replaces what the node has by a ruleset; no entry and no affinity of before is left. */
  load(tool: LoadTool, text: string, backend: 'nft' | 'legacy' = 'nft'): void {
    this.replace(tool, text, backend)
    this.flush()
  }

  /** The same, and entries stay. */
  replace(tool: LoadTool, text: string, backend: 'nft' | 'legacy' = 'nft'): void {
    this.inNode(['nft', 'flush', 'ruleset'])
    if (this.backend === 'legacy') this.clearLegacy()
    if (tool === 'nft') this.inNode(['nft', '-f', '-'], text)
    else {
      this.backend = tool === 'iptables-restore' ? backend : 'nft'
      this.inNode([tool.replace('tables-', `tables-${this.backend}-`)], text)
    }
    this.inNode(['nft', '-f', '-'], PLUGIN)
  }

  flush(): void {
    for (const family of ['ipv4', 'ipv6']) this.inNode(['conntrack', '-F', '-f', family])
  }

  /** What a tool says in a namespace. */
  run(place: Place, command: readonly string[], input = ''): string {
    return execFileSync('ip', ['netns', 'exec', `${this.prefix}${place}`, ...command], {
      input,
      encoding: 'utf8',
      maxBuffer: 1 << 26,
      stdio: ['pipe', 'pipe', 'ignore'],
    })
  }

  /** A tool that goes on in a namespace; whoever starts it ends it. */
  start(place: Place, command: readonly string[]): ChildProcess {
    return spawn('ip', ['netns', 'exec', `${this.prefix}${place}`, ...command], { stdio: ['ignore', 'pipe', 'ignore'] })
  }

  ask(place: Place, order: object): Promise<unknown> {
    return this.agents.get(place)!.ask(order)
  }

  private clearLegacy(): void {
    this.inNode(['iptables-legacy-restore'], '*filter\nCOMMIT\n*nat\nCOMMIT\n')
    this.backend = 'nft'
  }

  /** What each was answered: `place address port seen`, `refused`, `silent`, or the error's code. */
  async dial(place: Place, dials: readonly Dial[]): Promise<string[]> {
    return (await this.agents.get(place)!.ask({ dial: dials })) as string[]
  }

  close(): void {
    for (const agent of this.agents.values()) agent.end()
    for (const place of ['node', ...Object.keys(BLOCKS)]) {
      try {
        execFileSync('ip', ['netns', 'del', `${this.prefix}${place}`], { stdio: 'ignore' })
      } catch {
        // It was never made.
      }
    }
  }

  private inNode(command: readonly string[], input = ''): void {
    execFileSync('ip', ['netns', 'exec', `${this.prefix}node`, ...command], {
      input,
      stdio: ['pipe', 'ignore', 'pipe'],
    })
  }

  private shell(line: string): void {
    const [program, ...rest] = line.split(' ')
    execFileSync(program!, rest, { stdio: ['ignore', 'ignore', 'pipe'] })
  }
}
