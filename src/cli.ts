/**
 * The command line: what was typed → one of the commands in `commands/catalogue.ts`; the only place that prints errors and
 * sets exit codes.
 *
 * Exit codes: 0 fine · 1 internal error · 2 wrong usage · 3 invalid manifest, trace or dump · 99 a threshold
 * failed, or a node's rules differ · 130 interrupted. Source: conventions of kubectl (-f, -o) and k6 (99).
 */
import yargs, { type Argv } from 'yargs'
import { COMMANDS, type Command } from './commands/catalogue.ts'
import { EXIT_CODES } from './commands/exit.ts'
import { failureOf } from './commands/failure.ts'
import { type Flag, listOf, type Values } from './commands/flags.ts'
import { type Io, processIo } from './commands/io.ts'
import { EMULATES } from './emulates.ts'
import { UserError } from './errors.ts'
import { nearestName } from './nearest.ts'
import { emulatesText } from './report/units.ts'
import { packageVersion } from './version.ts'

/** `dpemu help TOPIC` that is no command. */
const METRICS = 'metrics'
const MAX_HELP_WIDTH = 100
const EXITS = `Exit codes: ${EXIT_CODES.map(([code, what]) => `${code} ${what}`).join('; ')}.`
const EPILOGUE =
  `dpemu help COMMAND (or COMMAND --help) explains a command and shows examples; dpemu help metrics lists the
figures that thresholds may name.\n\n${EXITS}`.replace('\nfigures', ' figures')

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
  if (asksForMetrics(argv)) {
    const { metricsHelp } = await import('./commands/help.ts')
    io.stdout(metricsHelp())
    return 0
  }
  return runCommand(withoutHelpWord(argv), io)
}

/** `dpemu help metrics`, `dpemu --help metrics`, `dpemu capacity --help metrics`. */
function asksForMetrics(argv: readonly string[]): boolean {
  return argv.at(-1) === METRICS && ['help', '--help', '-h'].includes(argv.at(-2) ?? '')
}

/** `help`, `help COMMAND` and `version` are `--help`, `COMMAND --help` and `--version`, and so is `-V`. */
function withoutHelpWord(argv: readonly string[]): readonly string[] {
  const [first, topic, ...rest] = argv
  if (argv.length === 1 && (first === 'version' || first === '-V')) return ['--version']
  if (first !== 'help') return argv
  if (topic === undefined) return ['--help']
  const names = COMMANDS.map(({ name }) => name)
  if (rest.length > 0) throw wrongUsage(`help is about one thing, not '${[topic, ...rest].join(' ')}'`)
  if (topic.startsWith('-')) return ['--help']
  if (!names.includes(topic)) {
    throw wrongUsage(`there is no help about '${topic}'`, didYouMean(nearestName(topic, [...names, METRICS])))
  }
  return [topic, '--help']
}

async function runCommand(argv: readonly string[], io: Io): Promise<number> {
  let exitCode = 0
  const parser = commandLine(argv, Math.min(MAX_HELP_WIDTH, io.width ?? MAX_HELP_WIDTH), async (command, args) => {
    exitCode = await command.run(args, await withDisabled({ ...io, commandLine: argv }, command, args))
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

/** Whether yargs will be asked for the flags: `--help`, `-h` or `-qh`. */
function showsFlags(argv: readonly string[]): boolean {
  return argv.some((word) => /^(-[a-z]*h|--help)/i.test(word))
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
    .epilogue(EPILOGUE)
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
          .options(
            Object.fromEntries(Object.entries(command.flags).map(([name, flag]) => [name, optionOf(flag, hidden)])),
          )
          .epilogue(EXITS)
        for (const [notation, what] of command.positionals) {
          builder.positional(notation.slice(1, -1).replace('..', ''), { type: 'string', describe: what })
        }
        if (!hidden) for (const [line, what] of command.examples) builder.example(line, what)
        return builder
      },
      (args) => run(command, args),
    )
  }
  return parser
}

function optionOf({ values: _, ...flag }: Flag, hidden: boolean): Omit<Flag, 'values'> & { hidden: boolean } {
  return { ...flag, hidden }
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
    const names = [...COMMANDS.map(({ name }) => name), 'help']
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
