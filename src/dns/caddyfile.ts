/**
 * The syntax of a Corefile: server blocks of directives, as CoreDNS' Caddyfile parser reads them.
 *
 * Tokens are words between white space; `"…"` is one word, `#` starts a comment, a line ends a directive, `{` at its end opens
 * its block. `(name) { … }` is a snippet and `import name` puts it in place. Meaning is given to the directives in corefile.ts.
 * Cost: linear in the text; nesting and expansion are bounded, so no text can exhaust the stack.
 * Source: coredns/caddy caddyfile/lexer.go and parse.go; https://coredns.io/manual/toc/#corefile.
 */
import { UserError } from '../errors.ts'

export const COREFILE_WHERE: string = 'ConfigMap kube-system/coredns'

export interface Directive {
  readonly name: string
  readonly args: readonly string[]
  /** 1-based line of the Corefile. */
  readonly line: number
  readonly body: readonly Directive[]
}

export interface SyntaxBlock {
  /** `.:53`, `cluster.local`, `dns://example.org:5300`. */
  readonly keys: readonly string[]
  readonly line: number
  readonly directives: readonly Directive[]
}

interface Token {
  readonly text: string
  readonly line: number
  readonly quoted: boolean
}

/** Far above what a plugin has; bounds the recursion. */
const MAX_DEPTH = 16

/** The directive's error as CoreDNS would refuse to start over it. */
export function corefileError(line: number, message: string, hint = ''): UserError {
  return new UserError('E_COREFILE', message, { where: `${COREFILE_WHERE}, line ${line}`, hint })
}

/** Told of each directive of a server block as it is read, with the one before it; throws to refuse it. */
export type DirectiveCheck = (directive: Directive, before: Directive | undefined) => void

/**
 * The server blocks of a Corefile, in order, snippets expanded. `import` of a file stays as a directive; beside the blocks it is one
 * without keys.
 *
 * Errors: UserError E_COREFILE with the line, for braces and quotes that do not match and blocks without a key.
 */
export function parseCaddyfile(text: string, check: DirectiveCheck): SyntaxBlock[] {
  const tokens = tokenize(text)
  const blocks: SyntaxBlock[] = []
  const snippets = new Map<string, readonly Directive[]>()
  let at = 0
  while (at < tokens.length) {
    const first = tokens[at]!
    const keys: string[] = []
    let keyLine = first.line
    // Keys go on over the line's end after a comma.
    while (at < tokens.length && !isBrace(tokens[at]!, '{')) {
      const token = tokens[at]!
      if (token.line !== keyLine && !tokens[at - 1]!.text.endsWith(',')) break
      if (isBrace(token, '}')) throw corefileError(token.line, 'a } without its {')
      keyLine = token.line
      keys.push(...token.text.split(',').filter((key) => key !== ''))
      at++
    }
    if (keys.length === 0) throw corefileError(first.line, 'a server block has no zone before its {', 'write `.:53 {`')
    const braced = at < tokens.length && isBrace(tokens[at]!, '{')
    if (!braced && first.text === 'import' && !first.quoted) {
      const args = keys.slice(1)
      blocks.push({ keys: [], line: first.line, directives: [{ name: 'import', args, line: first.line, body: [] }] })
      continue
    }
    if (!braced && blocks.length > 0) {
      throw corefileError(first.line, `${keys[0]} is no server block: { is missing`, 'end the line with {')
    }
    const snippet = /^\((.+)\)$/.exec(keys[0]!)
    const openLine = braced ? tokens[at]!.line : 0
    const checked: DirectiveCheck = (directive, before) => {
      // A snippet is checked where it is put in place.
      if (snippet === null) for (const one of expand([directive], snippets, 1)) check(one, before)
    }
    const { directives, next } = parseBody(tokens, braced ? at + 1 : at, openLine, 1, checked)
    at = next
    if (snippet !== null) snippets.set(snippet[1]!, directives)
    else blocks.push({ keys, line: first.line, directives: expand(directives, snippets, 1) })
  }
  return blocks
}

/** Directives from `at` to the closing brace, or to the end of the file where `openLine` is 0. */
function parseBody(
  tokens: readonly Token[],
  at: number,
  openLine: number,
  depth: number,
  check: DirectiveCheck | null,
): { directives: Directive[]; next: number } {
  if (depth > MAX_DEPTH) throw corefileError(openLine, `blocks are nested more than ${MAX_DEPTH} deep`)
  const directives: Directive[] = []
  let next = at
  while (next < tokens.length) {
    const token = tokens[next]!
    if (isBrace(token, '}')) {
      if (openLine === 0) throw corefileError(token.line, 'a } without its {')
      return { directives, next: next + 1 }
    }
    if (isBrace(token, '{')) throw corefileError(token.line, 'a block without the name of a plugin before its {')
    const args: string[] = []
    next++
    while (next < tokens.length && tokens[next]!.line === token.line && !isAnyBrace(tokens[next]!))
      args.push(tokens[next++]!.text)
    check?.({ name: token.text, args, line: token.line, body: [] }, directives.at(-1))
    let body: Directive[] = []
    if (next < tokens.length && tokens[next]!.line === token.line && isBrace(tokens[next]!, '{')) {
      const block = parseBody(tokens, next + 1, tokens[next]!.line, depth + 1, null)
      body = block.directives
      next = block.next
    }
    directives.push({ name: token.text, args, line: token.line, body })
  }
  if (openLine !== 0) throw corefileError(openLine, 'the block that begins here is not closed', 'add }')
  return { directives, next }
}

function expand(
  directives: readonly Directive[],
  snippets: ReadonlyMap<string, readonly Directive[]>,
  depth: number,
): Directive[] {
  return directives.flatMap((directive) => {
    const snippet = directive.name === 'import' ? snippets.get(directive.args[0] ?? '') : undefined
    if (snippet === undefined) return [directive]
    if (depth > MAX_DEPTH) throw corefileError(directive.line, `import ${directive.args[0]} goes in a circle`)
    return expand(snippet, snippets, depth + 1)
  })
}

function isBrace(token: Token, brace: '{' | '}'): boolean {
  return token.text === brace && !token.quoted
}

function isAnyBrace(token: Token): boolean {
  return isBrace(token, '{') || isBrace(token, '}')
}

function tokenize(text: string): Token[] {
  const tokens: Token[] = []
  let line = 1
  // A quoted word, a comment, a line's end, a word; white space falls between.
  for (const [found, quote] of text.matchAll(/(")(?:\\[\s\S]?|[^"\\])*(?:"|$)|#[^\n]*|\n|[^\s"#][^\s]*/g)) {
    if (found === '\n') line++
    else if (quote !== undefined) {
      if (found.length < 2 || !found.endsWith('"'))
        throw corefileError(line, 'the quote that begins here is not closed', 'add "')
      tokens.push({ text: found.slice(1, -1).replaceAll('\\"', '"'), line, quoted: true })
      line += found.split('\n').length - 1
    } else if (!found.startsWith('#')) tokens.push({ text: found, line, quoted: false })
  }
  return tokens
}
