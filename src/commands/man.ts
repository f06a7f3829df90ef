/** `dpemu man`: the manual page in roff, made from the list of commands; `dpemu man | man -l -` shows it, and the package has it. */
import { packageVersion } from '../version.ts'
import type { Command } from './catalogue.ts'
import { EXIT_CODES } from './exit.ts'
import type { Flag } from './flags.ts'

export function manPage(commands: readonly Command[]): string {
  return `${[
    `.TH DPEMU 1 "" "dpemu ${packageVersion()}" "User Commands"`,
    '.SH NAME',
    `dpemu \\- ${escaped('what Kubernetes Services do to your traffic, packet by packet, without a cluster')}`,
    '.SH SYNOPSIS',
    '.B dpemu',
    '.I COMMAND',
    '[\\fIFLAGS\\fR]',
    '.SH DESCRIPTION',
    escaped(
      'Reads the manifests of a cluster and a trace of connections, and works out what the Service dataplane of every node would do with them. Needs no cluster and no root.',
    ),
    '.SH COMMANDS',
    ...commands.flatMap(commandLines),
    '.SH EXIT STATUS',
    ...EXIT_CODES.flatMap(([code, what]) => ['.TP', `.B ${code}`, escaped(what)]),
    '.SH ENVIRONMENT',
    ...ENVIRONMENT.flatMap(([name, what]) => ['.TP', `.B ${name}`, escaped(what)]),
  ].join('\n')}\n`
}

const ENVIRONMENT: readonly (readonly [name: string, what: string])[] = [
  ['COLUMNS', 'columns that text may take, instead of those of the terminal'],
  ['NO_COLOR', 'not empty: no colour'],
  ['FORCE_COLOR', 'colour where there is no terminal; 0: none'],
  ['DPEMU_DISABLE_WARNING', 'codes of warnings that are not printed, as with --disable-warning'],
]

function commandLines({ name, positionals, describe, flags, examples }: Command): string[] {
  const synopsis = ['dpemu', name, ...positionals.map(([notation]) => notation)].join(' ')
  return [
    `.SS ${escaped(synopsis)}`,
    escaped(`${describe}.`),
    ...positionals.flatMap(([notation, what]) => ['.TP', `.I ${escaped(notation)}`, escaped(what)]),
    ...Object.entries(flags).flatMap(([flag, { alias, describe: what, ...rest }]) => [
      '.TP',
      `\\fB${alias === undefined ? '' : `${escaped(`-${alias}`)}\\fR, \\fB`}${escaped(`--${flag}`)}\\fR${argument(rest)}`,
      escaped(what),
    ]),
    ...examples.flatMap(([line, what]) => ['.PP', escaped(`${what}:`), '.RS', '.nf', escaped(line), '.fi', '.RE']),
  ]
}

function argument({ type, values }: Pick<Flag, 'type' | 'values'>): string {
  if (type === 'boolean') return ''
  return values === undefined ? ' \\fIVALUE\\fR' : ` \\fI${escaped(values.join('|'))}\\fR`
}

/** A line that begins with a dot or a quote would be a request. */
function escaped(text: string): string {
  return text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replace(/^[.']/, '\\&$&')
}
