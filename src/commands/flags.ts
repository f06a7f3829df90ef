/**
 * The flags of each command as yargs is told them, and how their values are read back.
 *
 * Every value is taken as text and checked by the command, so that `--seed 007` and a trace called `1.50` stay what was
 * typed. A flag given more than once reaches us as a list: the repeatable ones take all of it, the others the last, as
 * in most tools.
 */

/** The part of a yargs option that we use. */
export interface Flag {
  readonly alias?: string
  readonly type: 'string' | 'boolean'
  readonly requiresArg?: true
  readonly demandOption?: string
  readonly describe: string
  /** All that may be given, for completion; values that are open have none. */
  readonly values?: readonly string[]
}

export type Flags = Readonly<Record<string, Flag>>

/** What yargs hands to a command: flags and positionals by name. */
export type Values = Readonly<Record<string, unknown>>

function value(describe: string, more: Partial<Flag> = {}): Flag {
  return { type: 'string', requiresArg: true, describe, ...more }
}

function toggle(describe: string, more: Partial<Flag> = {}): Flag {
  return { type: 'boolean', describe, ...more }
}

const MANIFESTS = value('manifests: a file, a folder or - for standard input; repeatable', { alias: 'f' })
const NAMING: Flags = {
  upstream: value(
    "what the resolver outside the cluster knows: a record 'NAME TTL TYPE DATA' (*.NAME is a wildcard), or @FILE with one a line; repeatable",
  ),
  resolver: value('who looks names up in pods: glibc (default), musl, musl-1.1 (before 1.2.4: no TCP) or go', {
    values: ['glibc', 'musl', 'musl-1.1', 'go'],
  }),
  'node-resolv-conf': value("the nodes' resolv.conf: its search domains are the pods' too"),
}
const DISABLE_WARNING = value(
  'warnings that are not wanted, by the code behind them: CODE or CODE:TEXT (only those with this text in them), comma separated; repeatable. DPEMU_DISABLE_WARNING does so for good',
)
const DERIVED = toggle(
  'everything that the manifests left out and that was filled in, not only what the answer hangs on',
)
const CONSTANTS = toggle('list all constants of the model with their sources, not only those that --model sets')
const QUIET = toggle('no progress and no warnings on standard error', { alias: 'q' })

/** @param what  that is dealt out */
const shard = (what: string): Flag =>
  value(
    `I/N: make only this one of N parts of the ${what}, for dpemu merge; auto or auto/N takes I from JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID (default: DPEMU_SHARD, else the whole)`,
  )

export const REPLAY_FLAGS: Flags = {
  manifests: { ...MANIFESTS, describe: `${MANIFESTS.describe} (instead of those in the trace)` },
  policy: value(
    'externalTrafficPolicy to replay under: cluster, local or as-is, comma separated (default cluster,local)',
    { values: ['cluster', 'local', 'as-is'] },
  ),
  'proxy-mode': value('nftables, iptables or ipvs, comma separated (default: as the manifests say, else nftables)', {
    values: ['nftables', 'iptables', 'ipvs'],
  }),
  'kube-version': value(
    "the release of Kubernetes, where answers differ: 1.31 to 1.37 (default: the nodes' kubelets', else 1.35)",
  ),
  'ingress-path': value(
    'ways of HTTP requests to backends side by side: instance, ip (a cloud load balancer to node ports or pods) and proxy (in the cluster), comma separated (default: as each Ingress has it)',
    { values: ['instance', 'ip', 'proxy'] },
  ),
  workers: value('threads; the result does not depend on it (default: one a CPU, fewer for short traces)'),
  shards: value('slices of the flows, a power of two up to 16 (the default); 1 is the exact sequential run'),
  seed: value("what every random choice is a function of (default: the trace's)"),
  seeds: value(
    'draw the trace and every random choice anew so many times: figures become medians with the least and the most, and only what nine in ten seeds agree on is concluded; thresholds hold of the medians',
  ),
  placements: value(
    'replay under so many placements of the pods that kube-scheduler could have made, the derived one first; with --seeds each of them with each seed',
  ),
  model: value('constants of the path-latency model, a JSON or YAML file'),
  constants: CONSTANTS,
  shard: shard('lanes, or of the draws of --seeds and --placements,'),
  threshold: value("a condition on the report, such as 'runs[policy=local].connections.failed == 0'; repeatable"),
  timeline: value(
    'a Timeline whose events take place during the replay: rollouts, drains, crashes (default: that of the manifests, or of the trace)',
  ),
  'no-series': toggle('leave the course of the runs over time out of the report (`series` of the JSON)'),
  'dump-conntrack': value(
    'NODE@SECONDS: the conntrack table of a node at that time of the trace, as conntrack -L prints it; =FILE writes it there',
  ),
  output: value(
    'text, json, markdown, junit (thresholds as test cases), gha or gha-bigger (github-action-benchmark), html (one page with charts), or FORMAT=FILE; repeatable (default text)',
    { alias: 'o', values: ['text', 'json', 'markdown', 'junit', 'gha', 'gha-bigger', 'html'] },
  ),
  'disable-warning': DISABLE_WARNING,
  quiet: QUIET,
}

export const GENERATE_FLAGS: Flags = {
  manifests: { ...MANIFESTS, describe: `${MANIFESTS.describe} (instead of the scenario's)` },
  output: value('the trace to write', { alias: 'o', demandOption: 'generate needs -o TRACE, the file to write' }),
  seed: value("overrides the scenario's seed"),
  'disable-warning': DISABLE_WARNING,
  quiet: QUIET,
}

export const COMPARE_FLAGS: Flags = {
  'fail-on': value(
    "exit with 99 where this holds of a later report; base is the same figure of the first one: 'local.p99 > 1.1 * base'; repeatable",
  ),
  all: toggle('list all that differs, not only the largest differences'),
  output: value(
    'text, json, markdown (for a comment on a pull request) or html, or FORMAT=FILE; repeatable (default text)',
    {
      alias: 'o',
      values: ['text', 'json', 'markdown', 'html'],
    },
  ),
}

export const INIT_FLAGS: Flags = {
  manifests: { ...MANIFESTS, demandOption: 'init needs -f MANIFESTS' },
  output: value('the scenario to write (default: standard output)', { alias: 'o' }),
  force: toggle('write over a file that is there'),
  'disable-warning': DISABLE_WARNING,
  quiet: QUIET,
}

export const INSPECT_FLAGS: Flags = {
  output: value('text or json, or FORMAT=FILE; repeatable (default text)', { alias: 'o', values: ['text', 'json'] }),
}

const PROXY_MODE = value('nftables, iptables or ipvs (default: as the manifests say, else nftables)', {
  values: ['nftables', 'iptables', 'ipvs'],
})
const KUBE_VERSION = value(
  "the release of Kubernetes, where answers differ: 1.31 to 1.37 (default: the nodes' kubelets', else 1.35)",
)

export const EXPLAIN_FLAGS: Flags = {
  manifests: { ...MANIFESTS, demandOption: 'explain needs -f MANIFESTS' },
  from: value('where the packet comes from: an address or a pod (NAMESPACE/NAME)'),
  to: value('where it is sent: ADDRESS:PORT, NAME:PORT or a URL'),
  protocol: value('tcp, udp or sctp (default tcp)', { values: ['tcp', 'udp', 'sctp'] }),
  node: value(
    'the node where kube-proxy sees it (default: the one that has the source, else as the load balancer chooses)',
  ),
  'kube-version': KUBE_VERSION,
  ...NAMING,
  packets: value('one packet a line as JSON: a file or -'),
  stateful: toggle('keep the dataplane between the lines of --packets'),
  timeline: value('a Timeline, for --at (default: the one among the manifests)'),
  at: value('a time of the Timeline, such as 12.3s: the cluster as each node, load balancer and pod has it then'),
  seed: value("of the Timeline's course, as in rollout (default 1)"),
  'proxy-mode': PROXY_MODE,
  derived: DERIVED,
  expect: value(
    'what must become of it: deliver, drop, reject, none, a reason such as no-local-endpoint, an HTTP status; several comma separated; exit 99 if not',
    { values: ['deliver', 'drop', 'reject', 'none'] },
  ),
  output: value('text, json or ndjson, or FORMAT=FILE; repeatable (default text; ndjson with --packets)', {
    alias: 'o',
    values: ['text', 'json', 'ndjson'],
  }),
  'disable-warning': DISABLE_WARNING,
  quiet: QUIET,
}

export const REACH_FLAGS: Flags = {
  manifests: { ...MANIFESTS, demandOption: 'reach needs -f MANIFESTS' },
  expect: value('a YAML list of { from, to, expect }: who must reach what and who must not; exit 99 where it differs'),
  'kube-version': KUBE_VERSION,
  'proxy-mode': PROXY_MODE,
  ...NAMING,
  output: value(
    'text, json, markdown, dot (Graphviz), svg (the matrix as a picture) or junit (--expect as test cases), or FORMAT=FILE; repeatable (default text)',
    {
      alias: 'o',
      values: ['text', 'json', 'markdown', 'dot', 'svg', 'junit'],
    },
  ),
  'disable-warning': DISABLE_WARNING,
  quiet: QUIET,
}

export const DIFF_FLAGS: Flags = {
  old: value('more manifests of the old side; repeatable'),
  new: value('more manifests of the new side; repeatable'),
  manifests: { ...MANIFESTS, describe: 'manifests that both sides have: a file, a folder or -; repeatable' },
  trace: value('replay this trace with both sides too, and compare the figures as compare does'),
  'exit-code': toggle('exit 1 where something differs, as git diff has it'),
  'kube-version': KUBE_VERSION,
  'proxy-mode': PROXY_MODE,
  ...NAMING,
  output: value('text, json or markdown (for a pull request), or FORMAT=FILE; repeatable (default text)', {
    alias: 'o',
    values: ['text', 'json', 'markdown'],
  }),
  'disable-warning': DISABLE_WARNING,
  quiet: QUIET,
}

export const LINT_FLAGS: Flags = {
  manifests: { ...MANIFESTS, demandOption: 'lint needs -f MANIFESTS' },
  strict: toggle('exit 3 for every warning, not only for what is wrong with the manifests'),
  output: value('text, json or markdown, or FORMAT=FILE; repeatable (default text)', {
    alias: 'o',
    values: ['text', 'json', 'markdown'],
  }),
}

export const DIG_FLAGS: Flags = {
  manifests: { ...MANIFESTS, demandOption: 'dig needs -f MANIFESTS' },
  from: value('the pod that asks: its resolv.conf and search list decide (NAMESPACE/NAME)'),
  ...NAMING,
  short: toggle('only the data of the answers'),
  tcp: toggle('ask over TCP: no truncation'),
  bufsize: value("the client's EDNS0 buffer in bytes"),
  derived: DERIVED,
  queries: value('one query a line as JSON, with its own "upstream" if need be: a file or -'),
  output: value('text, json or ndjson, or FORMAT=FILE; repeatable (default text; ndjson with --queries)', {
    alias: 'o',
    values: ['text', 'json', 'ndjson'],
  }),
  'disable-warning': DISABLE_WARNING,
  quiet: QUIET,
}

export const RULES_FLAGS: Flags = {
  manifests: { ...MANIFESTS, demandOption: 'rules needs -f MANIFESTS' },
  node: value('the node whose rules are printed (default: the only one)'),
  mode: value('nftables, iptables or ipvs (default: as the manifests say, else nftables)', {
    values: ['nftables', 'iptables', 'ipvs'],
  }),
  family: value('IPv4 or IPv6 (default: those that Services have)', { values: ['IPv4', 'IPv6'] }),
  against: value(
    "a dump of a real node's rules to compare (nft list ruleset, with or without -j; iptables-save; ip6tables-save; ipvsadm -Sn; ipset save), - for standard input; repeatable; exit 99 where they differ",
  ),
  output: value(
    'native (what nft, iptables-restore, ipvsadm and ipset load) or json, with --against text or json, or FORMAT=FILE; repeatable',
    { alias: 'o', values: ['native', 'text', 'json'] },
  ),
  'disable-warning': DISABLE_WARNING,
  quiet: QUIET,
}

export const ROLLOUT_FLAGS: Flags = {
  manifests: { ...MANIFESTS, demandOption: 'rollout needs -f MANIFESTS' },
  timeline: value('a Timeline: events, and what no manifest says (default: the one among the manifests)'),
  rate: value("new connections a second to the workload's Services (default 100/s)"),
  trace: value('a trace whose connections to those Services arrive in place of a rate, at the times that it has'),
  runs: value('runs, each with phases of its own for probes, syncs and answers (default 100)'),
  seed: value('what every random choice is a function of (default 1)'),
  safe: toggle('search for the least preStop and grace period that lose nothing, and say what they cost'),
  startup: value('how long a new pod takes from its start until it listens (default 8s)'),
  'load-balancer': value('what is in front of the Service (default: as the Service and the nodes tell)', {
    values: [
      ...['gke-l4', 'gce-ccm', 'gke-neg', 'azure', 'aws-clb', 'aws-nlb', 'aws-nlb-ccm', 'aws-nlb-ip', 'aws-alb-ip'],
      ...['metallb-l2', 'metallb-bgp'],
    ],
  }),
  'control-plane': value('how soon changes become rules (default small)', {
    values: ['ideal', 'small', 'busy-100', 'iptables-5k'],
  }),
  'kube-version': value(
    "the release of Kubernetes, where answers differ: 1.22 to 1.37 (default: the nodes' kubelets', else 1.35)",
  ),
  shard: shard('runs'),
  threshold: value("a condition on the report, such as 'lost[policy=local].count == 0'; repeatable"),
  output: value(
    'text, json, markdown or html (one page with charts), or FORMAT=FILE; with --shard part=FILE; repeatable (default text)',
    { alias: 'o', values: ['text', 'json', 'markdown', 'html'] },
  ),
  'disable-warning': DISABLE_WARNING,
  quiet: QUIET,
}

export const CONNTRACK_FLAGS: Flags = {
  manifests: { ...MANIFESTS, demandOption: 'conntrack needs -f MANIFESTS' },
  against: value(
    'what conntrack -L printed (with or without -o extended), or /proc/net/nf_conntrack; - for standard input; repeatable',
    { demandOption: 'conntrack needs --against FILE, what conntrack -L printed' },
  ),
  node: value('the node whose table it is (default: the only one)'),
  max: value('nf_conntrack_max of the node (default: what kube-proxy sets there)'),
  rate: value('what would be left at so many connections a second more, such as 500/s'),
  output: value('text or json, or FORMAT=FILE; repeatable (default text)', { alias: 'o' }),
  quiet: QUIET,
}

export const CAPACITY_FLAGS: Flags = {
  manifests: { ...MANIFESTS, describe: `${MANIFESTS.describe} (instead of the scenario's)` },
  'parameter-scan': value(
    'vary a number, NAME=FROM..TO:STEP: nodes, replicas.NAMESPACE/WORKLOAD, rate (a factor), connections, seed, a constant of the model, a field of the scenario (traffic[0].arrivals.rate); repeatable',
    { alias: 'P' },
  ),
  'parameter-list': value(
    'vary anything, NAME=A,B,C: also policy, proxyMode and fields of manifests (Service/shop/web:spec.sessionAffinity=None,ClientIP); repeatable',
    { alias: 'L' },
  ),
  knee: toggle('search the knee in every cell of the sweep (without a sweep it is always searched)'),
  policy: value('cluster, local or as-is, comma separated (default cluster,local)', {
    values: ['cluster', 'local', 'as-is'],
  }),
  'proxy-mode': value('nftables, iptables or ipvs, comma separated (default: as the manifests say, else nftables)', {
    values: ['nftables', 'iptables', 'ipvs'],
  }),
  objective: value(
    'what must hold of a run, such as conntrackFraction < 80%; repeatable (default: drops, latency, conntrack, source ports, CPU of nodes and pods: dropFraction < 0.001, pathLatencyMicros.packet.p99 < 2ms, conntrackFraction < 80%, snatFraction, cpuFraction and podFraction < 95%)',
  ),
  columns: value(
    'figures that tables have beside those of objectives, such as maxOverMean,p99; dpemu help metrics lists them; repeatable',
  ),
  tolerance: value('how far the first failing rate may be above the last that held (default 2%)'),
  connections: value(
    'of each run (default: in a search 100,000, and more where tables need longer to settle; else as the scenario has it)',
  ),
  seed: value("overrides the scenario's seed"),
  seeds: value(
    'make every search or run with so many seeds: knees and figures become medians with the least and the most, objectives hold of the medians',
  ),
  model: value('constants of the path-latency model, a JSON or YAML file'),
  constants: CONSTANTS,
  workers: value('threads; the result does not depend on it (default: one a CPU)'),
  state: value(
    'where finished runs are kept until all are done, to go on from after an interruption; none keeps nothing (default capacity.SCENARIO.KEY.state.json, a KEY of its own for each scenario and set of options)',
  ),
  shard: shard('cells (each search stays whole)'),
  threshold: value("a condition on the report, such as 'knee.connectionsPerSecond > 2000'; repeatable"),
  output: value(
    'text, json, csv, markdown, junit, gha, gha-bigger or html (one page with charts), or FORMAT=FILE; with --shard part=FILE; repeatable (default text)',
    {
      alias: 'o',
      values: ['text', 'json', 'csv', 'markdown', 'junit', 'gha', 'gha-bigger', 'html'],
    },
  ),
  'disable-warning': DISABLE_WARNING,
  quiet: QUIET,
}

export const MERGE_FLAGS: Flags = {
  columns: value('of a capacity run: figures that tables have beside those of objectives; repeatable'),
  constants: CONSTANTS,
  threshold: value('a condition on the report, as the command of the parts takes it; repeatable'),
  output: value('a format of the command that made the parts, or FORMAT=FILE; repeatable (default text)', {
    alias: 'o',
    values: ['text', 'json', 'csv', 'markdown', 'junit', 'gha', 'gha-bigger', 'html'],
  }),
  'disable-warning': DISABLE_WARNING,
  quiet: QUIET,
}

export const BENCH_FLAGS: Flags = {
  sizes: value('only tables of these sizes: 1k, 64k, 1M, 4M, comma separated', { values: ['1k', '64k', '1M', '4M'] }),
  rows: value('only rows whose name matches this pattern'),
  quick: toggle('fewer rounds and smaller sizes'),
  baseline: value('a file of an earlier bench -o json=FILE to compare with; exit 99 on a regression'),
  tolerance: value('how much slower than the baseline a row may be (default 0.15)'),
  output: value('text or json, or FORMAT=FILE; repeatable (default text)', { alias: 'o', values: ['text', 'json'] }),
}

/** The value of a flag or positional, or undefined where it was left out. */
export function textOf(args: Values, name: string): string | undefined {
  const given = args[name]
  const last: unknown = Array.isArray(given) ? given.at(-1) : given
  return last === undefined ? undefined : String(last)
}

/** The flags of NAMING. */
export function namingOf(args: Values): { upstream: string[]; resolver?: string; nodeResolvConf?: string } {
  const resolver = textOf(args, 'resolver')
  const nodeResolvConf = textOf(args, 'node-resolv-conf')
  return {
    upstream: listOf(args, 'upstream'),
    ...(resolver === undefined ? {} : { resolver }),
    ...(nodeResolvConf === undefined ? {} : { nodeResolvConf }),
  }
}

/** Every value of a repeatable flag. */
export function listOf(args: Values, name: string): string[] {
  const given = args[name]
  if (given === undefined) return []
  return (Array.isArray(given) ? given : [given]).map(String)
}

export function isSet(args: Values, name: string): boolean {
  const given = args[name]
  return (Array.isArray(given) ? given.at(-1) : given) === true
}
