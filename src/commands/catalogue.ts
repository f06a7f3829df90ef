/**
 * The commands: how each is called, its flags, examples, and what runs it. The command line, the completion scripts and the
 * man page are all made from this list.
 *
 * What a command does is loaded when it runs, so that help and completion cost no more than the list.
 */
import {
  BENCH_FLAGS,
  CAPACITY_FLAGS,
  COMPARE_FLAGS,
  CONNTRACK_FLAGS,
  DIFF_FLAGS,
  DIG_FLAGS,
  EXPLAIN_FLAGS,
  type Flags,
  GENERATE_FLAGS,
  INIT_FLAGS,
  INSPECT_FLAGS,
  isSet,
  LINT_FLAGS,
  listOf,
  MERGE_FLAGS,
  namingOf,
  REACH_FLAGS,
  REPLAY_FLAGS,
  ROLLOUT_FLAGS,
  RULES_FLAGS,
  textOf,
  type Values,
} from './flags.ts'
import type { Io } from './io.ts'

export interface Command {
  readonly name: string
  /** In their order: yargs' notation and what they are. */
  readonly positionals: readonly (readonly [notation: `<${string}>` | `[${string}]`, what: string])[]
  readonly describe: string
  readonly flags: Flags
  /** What the positional may be, where that is a closed list. */
  readonly words?: readonly string[]
  readonly examples: readonly (readonly [line: string, what: string])[]
  run(args: Values, io: Io): number | Promise<number>
}

export const COMMANDS: readonly Command[] = [
  {
    name: 'replay',
    positionals: [['<trace>', 'a trace file']],
    describe: 'Replay a trace of connections under externalTrafficPolicy Local and Cluster',
    flags: REPLAY_FLAGS,
    examples: [
      ['dpemu replay trace.msgpack', 'Local and Cluster side by side, with the manifests in the trace'],
      ['dpemu replay trace.msgpack -f k8s/ -o json=report.json', 'with other manifests; text here, JSON to a file'],
      ['dpemu replay trace.msgpack --timeline friday.yaml', 'with a day of rollouts, drains and failing nodes'],
      ['dpemu replay trace.msgpack --seeds 10', 'ten draws of chance: medians, ranges, and what all of them agree on'],
      ["dpemu replay trace.msgpack --threshold 'runs[policy=local].connections.failed == 0'", 'exit 99 if not, for CI'],
    ],
    run: async (args, io) => {
      const { runReplay } = await import('./replay.ts')
      return runReplay(
        {
          trace: textOf(args, 'trace') ?? '',
          manifests: listOf(args, 'manifests'),
          policy: listOf(args, 'policy'),
          proxyMode: listOf(args, 'proxy-mode'),
          kubeVersion: textOf(args, 'kube-version'),
          ingressPath: listOf(args, 'ingress-path'),
          workers: textOf(args, 'workers'),
          shards: textOf(args, 'shards'),
          seed: textOf(args, 'seed'),
          seeds: textOf(args, 'seeds'),
          placements: textOf(args, 'placements'),
          model: textOf(args, 'model'),
          shard: textOf(args, 'shard'),
          threshold: listOf(args, 'threshold'),
          series: !isSet(args, 'no-series'),
          dumpConntrack: textOf(args, 'dump-conntrack'),
          timeline: textOf(args, 'timeline'),
          output: listOf(args, 'output'),
          constants: isSet(args, 'constants'),
          quiet: isSet(args, 'quiet'),
        },
        io,
      )
    },
  },
  {
    name: 'rollout',
    positionals: [
      ['[workload]', 'what is restarted: deployment/web (left out: the events of the Timeline take place)'],
    ],
    describe: 'Say what a restart, a drain or a crash costs in connections, and which preStop makes it zero',
    flags: ROLLOUT_FLAGS,
    examples: [
      ['dpemu rollout deployment/web -f k8s/ --rate 200/s', 'what a restart loses under Local and Cluster, and why'],
      ['dpemu rollout deployment/web -f k8s/ --safe', 'and the least preStop and grace period that lose nothing'],
      ['dpemu rollout -f k8s/ --timeline friday.yaml', 'a day of rollouts, drains and failing nodes'],
      ["dpemu rollout ds/web -f k8s/ --threshold 'lost[policy=local].count == 0'", 'exit 99 if not, for CI'],
    ],
    run: async (args, io) => {
      const { runRollout } = await import('./rollout.ts')
      return runRollout(
        {
          workload: textOf(args, 'workload'),
          manifests: listOf(args, 'manifests'),
          timeline: textOf(args, 'timeline'),
          rate: textOf(args, 'rate'),
          trace: textOf(args, 'trace'),
          runs: textOf(args, 'runs'),
          seed: textOf(args, 'seed'),
          safe: isSet(args, 'safe'),
          startup: textOf(args, 'startup'),
          loadBalancer: textOf(args, 'load-balancer'),
          controlPlane: textOf(args, 'control-plane'),
          kubeVersion: textOf(args, 'kube-version'),
          shard: textOf(args, 'shard'),
          threshold: listOf(args, 'threshold'),
          output: listOf(args, 'output'),
          quiet: isSet(args, 'quiet'),
        },
        io,
      )
    },
  },
  {
    name: 'generate',
    positionals: [['<scenario>', 'a scenario file in YAML']],
    describe: 'Make a seeded synthetic trace from a scenario',
    flags: GENERATE_FLAGS,
    examples: [['dpemu generate scenario.yaml -o trace.msgpack', 'the same file gives the same trace, byte for byte']],
    run: async (args, io) => {
      const { runGenerate } = await import('./generate.ts')
      return runGenerate(
        {
          scenario: textOf(args, 'scenario') ?? '',
          manifests: listOf(args, 'manifests'),
          output: textOf(args, 'output') ?? '',
          seed: textOf(args, 'seed'),
          quiet: isSet(args, 'quiet'),
        },
        io,
      )
    },
  },
  {
    name: 'init',
    positionals: [],
    describe: 'Draft a scenario from manifests: who talks to what, with rates by replicas',
    flags: INIT_FLAGS,
    examples: [['dpemu init -f k8s/ -o scenario.yaml', 'to be edited, and to be generated as it stands']],
    run: async (args, io) => {
      const { runInit } = await import('./init.ts')
      return runInit(
        {
          manifests: listOf(args, 'manifests'),
          output: textOf(args, 'output'),
          force: isSet(args, 'force'),
          quiet: isSet(args, 'quiet'),
        },
        io,
      )
    },
  },
  {
    name: 'inspect',
    positionals: [['<trace>', 'a trace file']],
    describe: 'Say what is in a trace',
    flags: INSPECT_FLAGS,
    examples: [['dpemu inspect trace.msgpack', 'its clients, destinations, sizes and manifests']],
    run: async (args, io) => {
      const { runInspect } = await import('./inspect.ts')
      return runInspect({ trace: textOf(args, 'trace') ?? '', output: listOf(args, 'output') }, io)
    },
  },
  {
    name: 'explain',
    positionals: [],
    describe: 'Follow one packet through the dataplane and say why each step was taken',
    flags: EXPLAIN_FLAGS,
    examples: [
      ['dpemu explain -f k8s/ --from 203.0.113.7 --to 198.51.100.10:80', 'a client outside, a load balancer address'],
      ['dpemu explain -f k8s/ --from default/client --to web:80 -o json', 'a pod, a Service by name'],
      [
        'dpemu explain -f k8s/ --from 203.0.113.7 --to db.shop:5432 --expect drop,none',
        'a gate: exit 99 if it arrives',
      ],
      [
        'dpemu explain -f k8s/ --from 203.0.113.7 --to 198.51.100.10:80 --timeline friday.yaml --at 12.3s',
        'in the middle of a rollout: who knows what by then, and which lag is to blame',
      ],
      ['dpemu explain -f k8s/ --packets packets.ndjson -o ndjson', 'one packet a line in, one verdict a line out'],
    ],
    run: async (args, io) => {
      const { runExplain } = await import('./explain.ts')
      return runExplain(
        {
          manifests: listOf(args, 'manifests'),
          from: textOf(args, 'from'),
          to: textOf(args, 'to'),
          protocol: textOf(args, 'protocol'),
          node: textOf(args, 'node'),
          kubeVersion: textOf(args, 'kube-version'),
          naming: namingOf(args),
          packets: textOf(args, 'packets'),
          stateful: isSet(args, 'stateful'),
          timeline: textOf(args, 'timeline'),
          at: textOf(args, 'at'),
          seed: textOf(args, 'seed'),
          proxyMode: textOf(args, 'proxy-mode'),
          derived: isSet(args, 'derived'),
          expect: textOf(args, 'expect'),
          output: listOf(args, 'output'),
          quiet: isSet(args, 'quiet'),
        },
        io,
      )
    },
  },
  {
    name: 'reach',
    positionals: [],
    describe: 'Say who reaches what: workloads and clients outside against every Service port',
    flags: REACH_FLAGS,
    examples: [
      ['dpemu reach -f k8s/', 'the matrix, and why not where not'],
      ['dpemu reach -f k8s/ --expect reach.yaml -o junit=reach.xml', 'a test suite for CI; exit 99 where it differs'],
      ['dpemu reach -f k8s/ -o dot | dot -Tsvg', 'as a picture'],
    ],
    run: async (args, io) => {
      const { runReach } = await import('./reach.ts')
      return runReach(
        {
          manifests: listOf(args, 'manifests'),
          expect: textOf(args, 'expect'),
          naming: namingOf(args),
          proxyMode: textOf(args, 'proxy-mode'),
          kubeVersion: textOf(args, 'kube-version'),
          output: listOf(args, 'output'),
          quiet: isSet(args, 'quiet'),
        },
        io,
      )
    },
  },
  {
    name: 'compare',
    positionals: [['<reports..>', 'two or more reports of one kind: replay, capacity, rollout or benchmarks']],
    describe: 'Say what differs between reports, the largest difference first',
    flags: COMPARE_FLAGS,
    examples: [
      ['dpemu compare before.json after.json', 'what a change did to every figure'],
      [
        "dpemu compare before.json after.json --fail-on 'local.p99 > 1.1 * base'",
        'exit 99 where it got slower by a tenth',
      ],
      ['dpemu compare main.json pr.json -o markdown=comment.md', 'for a comment on a pull request'],
    ],
    run: async (args, io) => {
      const { runCompare } = await import('./compare.ts')
      return runCompare(
        {
          reports: listOf(args, 'reports'),
          failOn: listOf(args, 'fail-on'),
          all: isSet(args, 'all'),
          output: listOf(args, 'output'),
        },
        io,
      )
    },
  },
  {
    name: 'diff',
    positionals: [
      ['[before]', 'the old manifests: a file, a folder or - for standard input'],
      ['[after]', 'the new ones'],
    ],
    describe: 'Say what changes for whom between two sets of manifests: every client, address, name and route',
    flags: DIFF_FLAGS,
    examples: [
      ['dpemu diff old/ new/', 'one entry for each cause, with an explain that shows it on both sides'],
      ['dpemu diff -f cluster/ app.yaml app-new.yaml', 'nodes and the rest of the cluster are in cluster/'],
      [
        'kubectl get all -A -o json | dpemu diff - k8s/ --exit-code',
        'a cluster beside its manifests; exit 1 if they differ',
      ],
      ['dpemu diff old/ new/ -o markdown=comment.md', 'for a pull request'],
      ['dpemu diff old/ new/ --trace trace.msgpack', 'and what the connections of a trace make of either'],
    ],
    run: async (args, io) => {
      const { runDiff } = await import('./diff.ts')
      return runDiff(
        {
          old: textOf(args, 'before') ?? '',
          new: textOf(args, 'after') ?? '',
          moreOld: listOf(args, 'old'),
          moreNew: listOf(args, 'new'),
          manifests: listOf(args, 'manifests'),
          exitCode: isSet(args, 'exit-code'),
          trace: textOf(args, 'trace'),
          naming: namingOf(args),
          proxyMode: textOf(args, 'proxy-mode'),
          kubeVersion: textOf(args, 'kube-version'),
          output: listOf(args, 'output'),
          quiet: isSet(args, 'quiet'),
        },
        io,
      )
    },
  },
  {
    name: 'lint',
    positionals: [],
    describe: 'Say what is in manifests, what is filled in, skipped, unknown or wrong',
    flags: LINT_FLAGS,
    examples: [
      ['dpemu lint -f k8s/', 'exit 3 where something is wrong with them'],
      ['kubectl get all -A -o json | dpemu lint -f - -o json', 'of a cluster, as JSON'],
    ],
    run: async (args, io) => {
      const { runLint } = await import('./lint.ts')
      return runLint(
        { manifests: listOf(args, 'manifests'), strict: isSet(args, 'strict'), output: listOf(args, 'output') },
        io,
      )
    },
  },
  {
    name: 'dig',
    positionals: [
      ['[name]', 'a domain name, or an address to look up the name of'],
      ['[type]', 'A, AAAA, SRV, PTR, CNAME, TXT, SOA, NS … (default A; PTR for an address)'],
    ],
    describe: 'Answer a DNS query as CoreDNS in this cluster would',
    flags: DIG_FLAGS,
    examples: [
      ['dpemu dig -f k8s/ web.default.svc.cluster.local', 'the A records of a Service'],
      ['dpemu dig -f k8s/ mysql SRV --from default/client', 'as a pod asks, with its search list'],
    ],
    run: async (args, io) => {
      const { runDig } = await import('./dig.ts')
      return runDig(
        {
          manifests: listOf(args, 'manifests'),
          name: textOf(args, 'name'),
          type: textOf(args, 'type'),
          from: textOf(args, 'from'),
          short: isSet(args, 'short'),
          tcp: isSet(args, 'tcp'),
          bufsize: textOf(args, 'bufsize'),
          naming: namingOf(args),
          queries: textOf(args, 'queries'),
          output: listOf(args, 'output'),
          derived: isSet(args, 'derived'),
          quiet: isSet(args, 'quiet'),
        },
        io,
      )
    },
  },
  {
    name: 'rules',
    positionals: [],
    describe:
      'Print what kube-proxy programs on a node, or compare it with what a node has: nftables, iptables or ipvs',
    flags: RULES_FLAGS,
    examples: [
      ['dpemu rules -f k8s/ --node worker-1', 'a ruleset that nft -f loads'],
      ['dpemu rules -f k8s/ --node worker-1 --mode iptables', 'what iptables-restore loads'],
      [
        'nft list ruleset | dpemu rules -f k8s/ --node worker-1 --against -',
        "what a node's rules do that the manifests do not say; exit 99 where they differ",
      ],
    ],
    run: async (args, io) => {
      const { runRules } = await import('./rules.ts')
      return runRules(
        {
          manifests: listOf(args, 'manifests'),
          node: textOf(args, 'node'),
          mode: textOf(args, 'mode'),
          family: textOf(args, 'family'),
          against: listOf(args, 'against'),
          output: listOf(args, 'output'),
          quiet: isSet(args, 'quiet'),
        },
        io,
      )
    },
  },
  {
    name: 'conntrack',
    positionals: [],
    describe: "Say who fills a node's conntrack table, and which entries lead to endpoints that are gone",
    flags: CONNTRACK_FLAGS,
    examples: [
      [
        'dpemu conntrack -f k8s/ --node worker-1 --against table.txt --rate 500/s',
        'a real table beside the manifests, and what would be left of nf_conntrack_max',
      ],
      ['conntrack -L | dpemu conntrack -f k8s/ --node worker-1 --against -', 'the same as a pipe'],
    ],
    run: async (args, io) => {
      const { runConntrack } = await import('./conntrack.ts')
      return runConntrack(
        {
          manifests: listOf(args, 'manifests'),
          against: listOf(args, 'against'),
          node: textOf(args, 'node'),
          max: textOf(args, 'max'),
          rate: textOf(args, 'rate'),
          output: listOf(args, 'output'),
          quiet: isSet(args, 'quiet'),
        },
        io,
      )
    },
  },
  {
    name: 'capacity',
    positionals: [['<scenario>', 'a scenario file in YAML']],
    describe: 'Find the connection rate at which a scenario breaks, or sweep a grid of settings',
    flags: CAPACITY_FLAGS,
    examples: [
      ['dpemu capacity scenario.yaml', 'the knee under Local and Cluster, what breaks there and on which node'],
      ["dpemu capacity scenario.yaml --objective 'conntrackFraction < 80%'", 'how much fits the conntrack tables'],
      [
        'dpemu capacity scenario.yaml -P nodes=3..30:3 -L policy=local,cluster -o csv=grid.csv',
        'one run a combination; --knee searches in each',
      ],
      ["dpemu capacity scenario.yaml --threshold 'knee.connectionsPerSecond > 2000'", 'exit 99 if not, for CI'],
    ],
    run: async (args, io) => {
      const { runCapacity } = await import('./capacity.ts')
      return runCapacity(
        {
          scenario: textOf(args, 'scenario') ?? '',
          manifests: listOf(args, 'manifests'),
          ranges: listOf(args, 'parameter-scan'),
          lists: listOf(args, 'parameter-list'),
          knee: isSet(args, 'knee'),
          policy: listOf(args, 'policy'),
          proxyMode: listOf(args, 'proxy-mode'),
          objective: listOf(args, 'objective'),
          tolerance: textOf(args, 'tolerance'),
          connections: textOf(args, 'connections'),
          seed: textOf(args, 'seed'),
          seeds: textOf(args, 'seeds'),
          model: textOf(args, 'model'),
          workers: textOf(args, 'workers'),
          state: textOf(args, 'state'),
          shard: textOf(args, 'shard'),
          columns: listOf(args, 'columns'),
          threshold: listOf(args, 'threshold'),
          output: listOf(args, 'output'),
          constants: isSet(args, 'constants'),
          quiet: isSet(args, 'quiet'),
        },
        io,
      )
    },
  },
  {
    name: 'merge',
    positionals: [['<parts..>', 'what runs with --shard wrote, all of one run']],
    describe: 'Put the parts of a run on many machines together: the same report as from one',
    flags: MERGE_FLAGS,
    examples: [
      ['dpemu capacity scenario.yaml --shard 3/16', 'on one machine of 16: its cells, to part-capacity-3-of-16.json'],
      [
        'dpemu merge part-capacity-*.json -o json=capacity.json',
        'and then: the bytes that one machine would have written',
      ],
    ],
    run: async (args, io) => {
      const { runMerge } = await import('./merge.ts')
      return runMerge(
        {
          parts: listOf(args, 'parts'),
          columns: listOf(args, 'columns'),
          constants: isSet(args, 'constants'),
          threshold: listOf(args, 'threshold'),
          output: listOf(args, 'output'),
          quiet: isSet(args, 'quiet'),
        },
        io,
      )
    },
  },
  {
    name: 'bench',
    positionals: [],
    describe: "Measure dpemu's own speed, and compare it with an earlier measurement",
    flags: BENCH_FLAGS,
    examples: [
      ['dpemu bench --quick -o json=base.json', 'measure, and keep the figures'],
      ['dpemu bench --quick --baseline base.json', 'exit 99 if a row got slower, for CI'],
    ],
    run: async (args, io) => {
      const { runBench } = await import('./bench.ts')
      return runBench(
        {
          rows: textOf(args, 'rows'),
          quick: isSet(args, 'quick'),
          baseline: textOf(args, 'baseline'),
          tolerance: textOf(args, 'tolerance'),
          sizes: textOf(args, 'sizes'),
          output: listOf(args, 'output'),
        },
        io,
      )
    },
  },
  {
    name: 'completion',
    positionals: [['[shell]', 'bash, zsh or fish (default: as $SHELL says)']],
    describe: 'Print a completion script for a shell',
    flags: {},
    words: ['bash', 'zsh', 'fish'],
    examples: [['dpemu completion bash', 'to be sourced, or put where the shell looks for it']],
    run: async (args, io) => {
      const { runCompletion } = await import('./completion.ts')
      return runCompletion(textOf(args, 'shell'), COMMANDS, io)
    },
  },
  {
    name: 'man',
    positionals: [],
    describe: 'Print the manual page',
    flags: {},
    examples: [['dpemu man | man -l -', 'show it']],
    run: async (_args, io) => {
      const { manPage } = await import('./man.ts')
      io.stdout(manPage(COMMANDS))
      return 0
    },
  },
]
