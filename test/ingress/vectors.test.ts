/**
 * Requests against Ingress objects as ingress-controller-conformance and the Kubernetes documentation state them; each file
 * in vectors/ names its source and commit.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { compileRoutes, parseHttpLine, route } from '../../src/ingress/index.ts'
import { clusterFromText } from './build.ts'

interface Vector {
  source: string
  objects: object[]
  requests: {
    scheme?: string
    host: string
    method?: string
    path: string
    headers?: Record<string, string>
    expect: { status: number; service?: string; port?: number; ingress?: string }
  }[]
}

const folder = new URL('./vectors/', import.meta.url)

for (const file of readdirSync(folder).sort()) {
  const vector = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Vector
  describe(`${file}: ${vector.source}`, () => {
    const table = compileRoutes(
      clusterFromText(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: vector.objects })),
    )
    it.each(
      vector.requests.map((request) => [`${request.method ?? 'GET'} ${request.host}${request.path}`, request] as const),
    )('%s', (_name, request) => {
      const result = route(
        table,
        parseHttpLine({
          id: 'r',
          url: `${request.scheme ?? 'http'}://${request.host || 'ingress'}${request.path}`,
          ...(request.host ? {} : { host: '' }),
          method: request.method,
          headers: request.headers,
        }),
      )
      const { status, service, port, ingress } = result
      expect({ status, service, port, ingress }).toMatchObject(request.expect)
    })
  })
}
