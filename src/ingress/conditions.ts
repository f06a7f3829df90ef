/**
 * What a rule asks of a request besides host and path: a header, the method, the query, the client's address.
 *
 * All conditions of a rule have to hold, each by one of its values. Values are compared without regard to case, `*` and `?`
 * are wildcards; methods are compared as they stand.
 * Source: Elastic Load Balancing guide, condition types for listener rules.
 */
import { fits } from './glob.ts'
import type { HttpRequest } from './request.ts'
import { allows, type SourceRanges } from './source-ranges.ts'

export type Condition =
  /** `name` in lower case. */
  | { readonly kind: 'header'; readonly name: string; readonly values: readonly string[] }
  | { readonly kind: 'method'; readonly values: readonly string[] }
  /** '' as key: any. */
  | { readonly kind: 'query'; readonly pairs: readonly { readonly key: string; readonly value: string }[] }
  | { readonly kind: 'source'; readonly ranges: SourceRanges }

/** The first that does not hold, in words; null where all do. @param client  '' where nobody knows */
export function unmet(conditions: readonly Condition[], request: HttpRequest, client: string): string | null {
  for (const condition of conditions) {
    const why = failing(condition, request, client)
    if (why !== null) return why
  }
  return null
}

function failing(condition: Condition, request: HttpRequest, client: string): string | null {
  switch (condition.kind) {
    case 'header': {
      const { name, values } = condition
      const written = request.headers[name]
      if (written !== undefined && values.some((value) => like(value, written))) return null
      return `header ${name} ${written === undefined ? 'is not there' : `is ${written}`}, ${values.join(' or ')} is asked for`
    }
    case 'method':
      if (condition.values.includes(request.method)) return null
      return `method ${request.method} is not ${condition.values.join(' or ')}`
    case 'query': {
      const sent = request.query.split('&').map((pair): [string, string] => {
        const [key = '', ...value] = pair.split('=')
        return [key, value.join('=')]
      })
      const { pairs } = condition
      if (
        pairs.some(({ key, value }) => sent.some((pair) => (key === '' || like(key, pair[0])) && like(value, pair[1])))
      )
        return null
      return `the query has no ${pairs.map(({ key, value }) => (key === '' ? value : `${key}=${value}`)).join(' or ')}`
    }
    case 'source':
      if (client !== '' && allows(condition.ranges, client)) return null
      return client === '' ? 'the client address is not known' : `client ${client} is in none of the source ranges`
  }
}

function like(pattern: string, text: string): boolean {
  return fits(pattern.toLowerCase(), text.toLowerCase())
}
