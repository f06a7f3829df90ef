/** `dpemu completion`: scripts for bash, zsh and fish, made from the list of commands: names, flags, and the values that flags take. */
import { basename } from 'node:path'
import { suggestion } from '../nearest.ts'
import { usageError } from './arguments.ts'
import type { Command } from './catalogue.ts'
import type { Flag } from './flags.ts'
import type { Io } from './io.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]

/**
 * @param shell  as typed; left out: the one that $SHELL names, else bash
 * @returns      the exit code: 0
 * @throws UserError `E_USAGE`, exit code 2, for another shell
 */
export function runCompletion(shell: string | undefined, commands: readonly Command[], io: Pick<Io, 'stdout'>): number {
  const name = shell ?? basename(process.env['SHELL'] ?? '')
  const found = SHELLS.find((one) => one === name)
  if (found === undefined && shell !== undefined) {
    throw usageError(
      `completion does not know the shell '${shell}'`,
      suggestion(shell, SHELLS) || `it knows ${SHELLS.join(', ')}`,
    )
  }
  io.stdout(completionScript(found ?? 'bash', commands))
  return 0
}

export function completionScript(shell: Shell, commands: readonly Command[]): string {
  return { bash, zsh, fish }[shell](commands)
}

interface FlagOf {
  readonly command: string
  readonly name: string
  readonly flag: Flag
}

function flagsOf({ name: command, flags }: Command): FlagOf[] {
  return Object.entries(flags).map(([name, flag]) => ({ command, name, flag }))
}

/** `--policy`, and `-f` where it has one letter. */
function spellings({ name, flag }: FlagOf): string[] {
  return [`--${name}`, ...(flag.alias === undefined ? [] : [`-${flag.alias}`])]
}

/** What a positional may be, where that is a closed list. */
function wordsOf(command: Command): readonly string[] {
  return command.words ?? []
}

function bash(commands: readonly Command[]): string {
  const valued = commands.flatMap(flagsOf).filter(({ flag }) => flag.values !== undefined)
  const cases = valued.map((one) => {
    const patterns = spellings(one).map((spelling) => `'${one.command} ${spelling}'`)
    return `    ${patterns.join('|')}) _dpemu_values '${one.flag.values!.join(' ')}'; return ;;`
  })
  const perCommand = commands.map((command) => {
    const words = [...flagsOf(command).flatMap(spellings), '--help', '-h']
    return `    ${command.name}) flags='${words.join(' ')}'; words='${wordsOf(command).join(' ')}' ;;`
  })
  return `# dpemu: completion for bash. Source it, or: dpemu completion bash > /etc/bash_completion.d/dpemu
_dpemu_values() {
  local before=''
  case "$cur" in *,*) before="\${cur%,*}," ;; esac
  COMPREPLY=($(compgen -P "$before" -W "$1" -- "\${cur##*,}"))
}
_dpemu() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev='' command='' flags='' words='' i
  [ "$COMP_CWORD" -gt 0 ] && prev="\${COMP_WORDS[COMP_CWORD-1]}"
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in -*) ;; *) command="\${COMP_WORDS[i]}"; break ;; esac
  done
  if [ -z "$command" ]; then
    COMPREPLY=($(compgen -W '${commands.map(({ name }) => name).join(' ')} --help --version' -- "$cur"))
    return
  fi
  # --flag=value comes as three words.
  if [ "$cur" = '=' ]; then cur=''; elif [ "$prev" = '=' ]; then prev="\${COMP_WORDS[COMP_CWORD-2]}"; fi
  case "$command $prev" in
${cases.join('\n')}
  esac
  case "$command" in
${perCommand.join('\n')}
  esac
  case "$cur" in
    -*) COMPREPLY=($(compgen -W "$flags" -- "$cur")) ;;
    *) if [ -n "$words" ]; then COMPREPLY=($(compgen -W "$words" -- "$cur")); else COMPREPLY=($(compgen -f -- "$cur")); fi ;;
  esac
}
complete -o filenames -F _dpemu dpemu
`
}

function zsh(commands: readonly Command[]): string {
  const quoted = (text: string): string => text.replaceAll("'", "'\\''")
  const described = (text: string): string => quoted(text.replaceAll('\\', '\\\\').replace(/[[\]:]/g, '\\$&'))
  const argument = ({ name, flag }: FlagOf): string => {
    if (flag.type === 'boolean') return ''
    return flag.values === undefined ? `:${name}:_files` : `:${name}:_sequence compadd - ${flag.values.join(' ')}`
  }
  const cases = commands.map((command) => {
    const lines = flagsOf(command).flatMap((one) =>
      spellings(one).map((spelling) => `        '*${spelling}[${described(one.flag.describe)}]${argument(one)}'`),
    )
    const words = wordsOf(command)
    lines.push(words.length === 0 ? "        '*:file:_files'" : `        '*:word:(${words.join(' ')})'`)
    return `    ${command.name})\n      _arguments -s \\\n${lines.join(' \\\n')}\n      ;;`
  })
  return `#compdef dpemu
# dpemu: completion for zsh. Source it after compinit, or put it as _dpemu into a folder of $fpath.
_dpemu() {
  local -a commands
  commands=(
${commands.map(({ name, describe }) => `    '${name}:${described(describe)}'`).join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = _dpemu ]; then _dpemu "$@"; else compdef _dpemu dpemu; fi
`
}

function fish(commands: readonly Command[]): string {
  const quoted = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
  const lines = commands.flatMap((command) => {
    const within = `-n '__fish_seen_subcommand_from ${command.name}'`
    const words = wordsOf(command)
    return [
      `complete -c dpemu -n __fish_use_subcommand -f -a ${command.name} -d ${quoted(command.describe)}`,
      ...(words.length === 0 ? [] : [`complete -c dpemu ${within} -f -a ${quoted(words.join(' '))}`]),
      ...flagsOf(command).map(({ name, flag }) => {
        const letter = flag.alias === undefined ? '' : ` -s ${flag.alias}`
        const values =
          flag.values === undefined ? (flag.type === 'boolean' ? '' : ' -r') : ` -x -a ${quoted(flag.values.join(' '))}`
        return `complete -c dpemu ${within} -l ${name}${letter}${values} -d ${quoted(flag.describe)}`
      }),
    ]
  })
  return `# dpemu: completion for fish. Save it as ~/.config/fish/completions/dpemu.fish
${lines.join('\n')}
complete -c dpemu -n __fish_use_subcommand -s h -l help -d 'Show help'
complete -c dpemu -n __fish_use_subcommand -s V -l version -d 'Show the version'
`
}
