/** What a shell is told: run in bash itself where it is there; the others by what their scripts say. */
import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { COMMANDS } from '../../src/commands/catalogue.ts'
import { completionScript, runCompletion } from '../../src/commands/completion.ts'
import { manPage } from '../../src/commands/man.ts'
import { fakeIo } from './fake-io.ts'

const hasBash = spawnSync('bash', ['-c', 'true']).status === 0

/** What bash offers for the last of the words. */
function completed(...words: string[]): string[] {
  const line = words.map((word) => `'${word}'`).join(' ')
  const script = `${completionScript('bash', COMMANDS)}
COMP_WORDS=(dpemu ${line}); COMP_CWORD=${words.length}; _dpemu; printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8' })
  expect(stderr).toBe('')
  return stdout.split('\n').filter((word) => word !== '')
}

test.runIf(hasBash).each<[string[], string[]]>([
  [['gen'], ['generate']],
  [['replay', '--thr'], ['--threshold']],
  [
    ['replay', '--policy', ''],
    ['cluster', 'local', 'as-is'],
  ],
  [['replay', '--policy', 'cluster,l'], ['cluster,local']],
  [
    ['replay', 'x.msgpack', '--proxy-mode', '=', 'ip'],
    ['iptables', 'ipvs'],
  ],
  [['capacity', '-o', 'js'], ['json']],
  [
    ['inspect', '-o', ''],
    ['text', 'json'],
  ],
  [
    ['completion', ''],
    ['bash', 'zsh', 'fish'],
  ],
  [
    ['replay', '--p'],
    ['--policy', '--proxy-mode', '--placements'],
  ],
])('bash completes dpemu %j', (words, offered) => expect(completed(...words)).toEqual(offered))

test.each(['bash', 'zsh', 'fish'] as const)(
  '%s is told every command and every flag, and no flag that is none',
  (shell) => {
    const script = completionScript(shell, COMMANDS)
    for (const { name, flags } of COMMANDS) {
      expect(script).toContain(name)
      for (const flag of Object.keys(flags)) expect(script).toContain(shell === 'fish' ? `-l ${flag}` : `--${flag}`)
    }
    expect(script).not.toMatch(/--[a-zA-Z](?![\w-])/)
  },
)

test('the values of flags are those that commands take', () => {
  for (const shell of ['zsh', 'fish'] as const) {
    expect(completionScript(shell, COMMANDS)).toContain('cluster local as-is')
  }
})

test('a shell that is not known is wrong usage, with the nearest', () => {
  expect(() => runCompletion('fishy', COMMANDS, fakeIo())).toThrow(
    expect.objectContaining({ code: 'E_USAGE', hint: 'did you mean fish?' }),
  )
})

test('the manual page has every command, flag and exit code, and no line that roff would take for a request', () => {
  const page = manPage(COMMANDS)
  for (const { name, flags } of COMMANDS) {
    expect(page).toContain(`.SS dpemu ${name}`)
    for (const flag of Object.keys(flags)) expect(page).toContain(`\\-\\-${flag.replaceAll('-', '\\-')}`)
  }
  for (const code of ['0', '1', '2', '3', '99', '130']) expect(page).toContain(`.B ${code}\n`)
  for (const line of page.split('\n')) expect(line).toMatch(/^(\.(TH|SH|SS|TP|B|I|PP|RS|RE|nf|fi)( |$)|[^.']|$)/)
})
