/** Lines of `explain --packets` that are HTTP requests. */
import { describe, expect, it } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { parseHttpLine, requestFor } from '../../src/ingress/index.ts'

describe('parseHttpLine', () => {
  it('reads a URL as a client sends it', () => {
    expect(
      parseHttpLine({
        id: 'r1',
        url: 'HTTPS://User:pw@Foo.com:8443/a/../b?c=d#e',
        method: 'post',
        headers: { 'X-A': '1' },
      }),
    ).toEqual({
      id: 'r1',
      scheme: 'https',
      authority: 'Foo.com',
      host: 'Foo.com:8443',
      path: '/a/../b',
      query: 'c=d',
      method: 'POST',
      headers: { 'x-a': '1' },
      from: '',
    })
  })
  it.each([
    [{ url: 'http://a/' }, 'a'],
    [{ url: 'http://a:80/', host: 'b' }, 'b'],
    [{ url: 'http://a/', host: '' }, ''],
    [{ url: 'http://a/', headers: { HOST: 'c' } }, 'c'],
    [{ url: 'http://a/', host: 'b', headers: { host: 'c' } }, 'b'],
    [{ url: 'http://[2001:db8::1]:8080/' }, '[2001:db8::1]:8080'],
  ])('%j has Host %j', (line, host) => {
    expect(parseHttpLine({ id: 1, ...line }).host).toBe(host)
  })
  it.each([
    [null, 'an HTTP line must be an object like {"id":"r1","url":"http://host/path"}'],
    [[], 'an HTTP line must be an object like {"id":"r1","url":"http://host/path"}'],
    [{ id: 'x' }, 'an HTTP line needs a "url"'],
    [{ url: 5 }, '"url" must be a string'],
    [{ url: 'ftp://a/' }, '"ftp://a/" is not an http or https URL'],
    [{ url: 'foo.com/x' }, '"foo.com/x" is not an http or https URL'],
    [{ url: 'http://a/', host: 1 }, '"host" must be a string'],
    [{ url: 'http://a/', headers: { a: 1 } }, 'header "a" must be a string'],
    [{ url: 'http://a/', headers: ['a'] }, '"headers" must be an object of strings'],
  ])('%j is wrong usage: %s', (line, message) => {
    let thrown: unknown
    try {
      parseHttpLine(line)
    } catch (error) {
      thrown = error
    }
    expect(thrown).toBeInstanceOf(UserError)
    expect(thrown).toMatchObject({ code: 'E_USAGE', exitCode: 2, message })
  })
  it('names the line', () => {
    expect(() => parseHttpLine({ id: 'r7', url: '' })).toThrow(expect.objectContaining({ where: 'line r7' }))
  })
})

it('requestFor makes a request of a host and a path of a trace', () => {
  expect(requestFor('foo.com:80', '/a?b')).toMatchObject({
    scheme: 'http',
    authority: 'foo.com',
    host: 'foo.com:80',
    path: '/a',
    query: 'b',
    method: 'GET',
  })
})
