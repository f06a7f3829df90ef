/**
 * The command line: which commands there are, and the only place that prints errors and sets exit codes.
 *
 * Command modules are loaded when their command runs, so that help and completion cost no more than yargs itself.
 * Exit codes: 0 fine · 1 internal error · 2 wrong usage · 3 invalid manifest, trace or dump · 99 a threshold
 * failed, or a node's rules differ · 130 interrupted. Source: conventions of kubectl (-f, -o) and k6 (99).
 */
import yargs, { type Argv } from 'yargs'
import { failureOf } from './commands/failure.ts'
import {
  BENCH_FLAGS,
  CAPACITY_FLAGS,
  CONNTRACK_FLAGS,
  DIG_FLAGS,
  EXPLAIN_FLAGS,
  type Flags,
  GENERATE_FLAGS,
  INSPECT_FLAGS,
  isSet,
  listOf,
  namingOf,
  REPLAY_FLAGS,
  RULES_FLAGS,
  textOf,
  type Values,
} from './commands/flags.ts'
import { type Io, processIo } from './commands/io.ts'
import { EMULATES } from './emulates.ts'
import { UserError } from './errors.ts'
import { nearestName } from './nearest.ts'
import { emulatesText } from './report/units.ts'
import { packageVersion } from './version.ts'

interface Command {
  readonly name: string
  /** In their order: yargs' notation and what they are. */
  readonly positionals: readonly (readonly [notation: '<trace>' | '<scenario>' | '[name]' | '[type]', what: string])[]
  readonly describe: string
  readonly flags: Flags
  readonly examples: readonly (readonly [line: string, what: string])[]
  run(args: Values, io: Io): number | Promise<number>
}

const COMPLETION = 'completion'
const MOST_HELP_WIDTH = 100

const COMMANDS: readonly Command[] = [
  {
    name: 'replay',
    positionals: [['<trace>', 'a trace file']],
    describe: 'Replay a trace of connections under externalTrafficPolicy Local and Cluster',
    flags: REPLAY_FLAGS,
    examples: [
      ['dpemu replay trace.msgpack', 'Local and Cluster side by side, with the manifests in the trace'],
      ['dpemu replay trace.msgpack -f k8s/ -o json=report.json', 'with other manifests; text here, JSON to a file'],
      ["dpemu replay trace.msgpack --threshold 'runs[policy=local].connections.failed == 0'", 'exit 99 if not, for CI'],
    ],
    run: async (args, io) => {
      const { runReplay } = await import('./commands/replay.ts')
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
          model: textOf(args, 'model'),
          threshold: listOf(args, 'threshold'),
          dumpConntrack: textOf(args, 'dump-conntrack'),
          output: listOf(args, 'output'),
          constants: isSet(args, 'constants'),
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
      const { runGenerate } = await import('./commands/generate.ts')
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
    name: 'inspect',
    positionals: [['<trace>', 'a trace file']],
    describe: 'Say what is in a trace',
    flags: INSPECT_FLAGS,
    examples: [['dpemu inspect trace.msgpack', 'its clients, destinations, sizes and manifests']],
    run: async (args, io) => {
      const { runInspect } = await import('./commands/inspect.ts')
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
      ['dpemu explain -f k8s/ --packets packets.ndjson -o ndjson', 'one packet a line in, one verdict a line out'],
    ],
    run: async (args, io) => {
      const { runExplain } = await import('./commands/explain.ts')
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
          proxyMode: textOf(args, 'proxy-mode'),
          derived: isSet(args, 'derived'),
          output: listOf(args, 'output'),
          quiet: isSet(args, 'quiet'),
        },
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
      const { runDig } = await import('./commands/dig.ts')
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
      const { runRules } = await import('./commands/rules.ts')
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
      const { runConntrack } = await import('./commands/conntrack.ts')
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
      const { runCapacity } = await import('./commands/capacity.ts')
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
          model: textOf(args, 'model'),
          workers: textOf(args, 'workers'),
          state: textOf(args, 'state'),
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
    name: 'bench',
    positionals: [],
    describe: "Measure dpemu's own speed, and compare it with an earlier measurement",
    flags: BENCH_FLAGS,
    examples: [
      ['dpemu bench --quick -o json=base.json', 'measure, and keep the figures'],
      ['dpemu bench --quick --baseline base.json', 'exit 99 if a row got slower, for CI'],
    ],
    run: async (args, io) => {
      const { runBench } = await import('./commands/bench.ts')
      return runBench(
        {
          rows: textOf(args, 'rows'),
          quick: isSet(args, 'quick'),
          baseline: textOf(args, 'baseline'),
          tolerance: textOf(args, 'tolerance'),
          output: listOf(args, 'output'),
        },
        io,
      )
    },
  },
]

/** Run the command line; never rejects, sets `process.exitCode`. */
export async function main(argv: readonly string[]): Promise<void> {
  const io = processIo()
  const fail = (error: unknown): void => {
    const { text, exitCode } = failureOf(error, argv, packageVersion())
    io.stderr(text)
    process.exitCode = exitCode
  }
  process.once('uncaughtException', (error) => {
    fail(error)
    process.exit()
  })
  try {
    process.exitCode = await runCommandLine(splitShortValues(argv), io)
  } catch (error) {
    fail(error)
  }
}

/**
 * Parse and run one command.
 *
 * @returns the exit code
 * @throws  UserError, for wrong usage too; anything else is a bug
 */
async function runCommandLine(argv: readonly string[], io: Io): Promise<number> {
  let exitCode = 0
  const parser = commandLine(argv, Math.min(MOST_HELP_WIDTH, io.width ?? MOST_HELP_WIDTH), async (command, args) => {
    exitCode = await command.run(args, await withDisabled(io, command, args))
  })
  if (argv.length === 0) {
    io.stderr(`${await parser.getHelp()}\n\n`)
    throw wrongUsage('no command given')
  }
  // With a callback yargs hands over what it would have printed, and never ends the process.
  let printed = ''
  await parser.parseAsync([...argv], {}, (_error, _args, output) => {
    printed = output
  })
  if (printed !== '') io.stdout(`${printed}\n`)
  return exitCode
}

/** `io` that knows which warnings are not wanted. */
async function withDisabled(io: Io, { flags }: Command, args: Values): Promise<Io> {
  const always = process.env['DPEMU_DISABLE_WARNING'] ?? ''
  const given = [...listOf(args, 'disable-warning'), always].filter((value) => value !== '')
  if (given.length === 0 || !('disable-warning' in flags)) return io
  const { disabledWarnings } = await import('./commands/disabled-warnings.ts')
  return { ...io, disabledWarnings: disabledWarnings(given) }
}

/** `replay <trace>` */
function synopsis(command: Command): string {
  return [command.name, ...command.positionals.map(([notation]) => notation)].join(' ')
}

/** Whether yargs will be asked for the flags: `--help`, `-h` or `-qh`, and what a shell asks to complete a line. */
function showsFlags(argv: readonly string[]): boolean {
  return argv.some((word) => /^(-[a-z]*h|--help|--get-yargs-completions)/i.test(word))
}

function commandLine(
  argv: readonly string[],
  width: number,
  run: (command: Command, args: Values) => Promise<void>,
): Argv {
  // yargs lays out the help of every command that it runs, some 10 ms of a replay's start; hidden flags are not in it.
  const hidden = !showsFlags(argv)
  const parser = hideTypes(yargs([]))
    .scriptName('dpemu')
    .locale('en')
    .usage('dpemu COMMAND\n\nWhat Kubernetes Services do to your traffic, packet by packet, without a cluster.')
    .parserConfiguration({
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'dot-notation': false,
      'boolean-negation': false,
      'camel-case-expansion': false,
    })
    .version(`${packageVersion()}\nas ${emulatesText(EMULATES)}`)
    .alias('help', 'h')
    .strict()
    .demandCommand(1, 'no command given')
    .epilogue('dpemu COMMAND --help explains a command and shows examples.')
    .wrap(width)
    .fail((message, error) => {
      // yargs' own complaints have no error, or one of its class.
      throw error !== undefined && error.name !== 'YError' ? error : explainMisuse(message || error.message, argv)
    })
  for (const command of COMMANDS) {
    parser.command(
      synopsis(command),
      command.describe,
      (builder) => {
        builder
          .usage(`dpemu ${synopsis(command)} [FLAGS]\n\n${command.describe}.`)
          .options(Object.fromEntries(Object.entries(command.flags).map(([name, flag]) => [name, { ...flag, hidden }])))
          .epilogue('')
        for (const [notation, what] of command.positionals) {
          builder.positional(notation.slice(1, -1), { type: 'string', describe: what })
        }
        if (!hidden) for (const [line, what] of command.examples) builder.example(line, what)
        return builder
      },
      (args) => run(command, args),
    )
  }
  return parser.completion(COMPLETION, 'Print a completion script for the shell (bash or zsh)')
}

/** Every flag would read `[string]`, which tells nobody anything. @types/yargs is of 17, which had no such method. */
function hideTypes(parser: Argv): Argv {
  return (parser as Argv & { usageConfiguration(configuration: { 'hide-types': boolean }): Argv }).usageConfiguration({
    'hide-types': true,
  })
}

/** yargs' message for wrong usage in the words of a command line, with what was most likely meant. */
function explainMisuse(message: string, argv: readonly string[]): UserError {
  const typed = argv.find((word) => !word.startsWith('-')) ?? ''
  const command = COMMANDS.find(({ name }) => name === typed)
  const unknown = /^Unknown (?:argument|command)s?: ([^,]*)/.exec(message)?.[1]
  if (command === undefined) {
    if (typed === '') return wrongUsage(unknown === undefined ? message : `there is no flag ${flagText(unknown)}`)
    if (typed === COMPLETION) return wrongUsage(`${COMPLETION} takes no arguments`)
    const names = [...COMMANDS.map(({ name }) => name), COMPLETION]
    return wrongUsage(`there is no command '${typed}'`, didYouMean(nearestName(typed, names)))
  }
  const help = `see dpemu ${command.name} --help`
  if (unknown !== undefined) {
    const isFlag = argv.some((word) => word === `-${unknown}` || word.replace(/=.*$/s, '') === `--${unknown}`)
    if (!isFlag) return wrongUsage(`${command.name} does not expect '${unknown}'`, help)
    const near = nearestName(unknown, [...Object.keys(command.flags), 'help', 'version'])
    return wrongUsage(
      `${command.name} has no flag ${flagText(unknown)}`,
      didYouMean(near === null ? null : `--${near}`, help),
    )
  }
  const missing = /^Not enough arguments following: (.*)$/.exec(message)?.[1]
  if (missing !== undefined) return wrongUsage(`${flagText(missing)} needs a value`, help)
  if (message.startsWith('Not enough non-option arguments')) {
    const needs = command.positionals.map(([notation, what]) => `${notation}, ${what}`)
    return wrongUsage(`${command.name} needs ${needs.join(' and ')}`, help)
  }
  const demanded = Object.values(command.flags).find(
    (flag) => flag.demandOption !== undefined && message.includes(flag.demandOption),
  )
  return wrongUsage(demanded?.demandOption ?? message, help)
}

function didYouMean(near: string | null, otherwise = 'see dpemu --help'): string {
  return near === null ? otherwise : `did you mean ${near}?`
}

function flagText(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`
}

function wrongUsage(message: string, hint = 'see dpemu --help'): UserError {
  return new UserError('E_USAGE', message, { hint, exitCode: 2 })
}

/** `-ojson` and `-fweb.yaml`, as kubectl takes them: yargs would read a row of one-letter flags. */
function splitShortValues(argv: readonly string[]): string[] {
  const end = argv.indexOf('--')
  return argv.flatMap((word, index) => {
    if ((end >= 0 && index > end) || !/^-[ofPL][^=]/.test(word)) return [word]
    return [word.slice(0, 2), word.slice(2)]
  })
}
