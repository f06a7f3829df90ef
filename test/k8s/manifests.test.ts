import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { parseManifests, readManifestFiles } from '../../src/k8s/load.ts'
import { endpointsOf, pod, service, slicesOf } from './helpers.ts'

const folder = fileURLToPath(new URL('./manifests/', import.meta.url))
const loadFolder = (path: string) => {
  const { objects, warnings } = parseManifests(readManifestFiles([folder + path]))
  return { warnings, cluster: deriveCluster(objects) }
}

it('the seed manifests do what their author wanted', () => {
  const { cluster, warnings } = loadFolder('seed')
  expect(warnings.map(({ message }) => message)).toEqual([
    'spec.clientIP is not a field of Service; did you mean spec.sessionAffinityConfig.clientIP?',
  ])
  expect(warnings[0]!.where).toMatch(/session-affinity\.yaml, document 1, spec\.clientIP$/)
  expect(service(cluster, 'default/my-service').affinityTimeoutSeconds).toBe(10800)
  expect(service(cluster, 'default/my-loadbalancer').externalTrafficPolicy).toBe('Local')
  expect(service(cluster, 'default/my-external-db').externalName).toBe('example.mysql.whichimade')
  expect(endpointsOf(cluster, 'none-selector-service')).toEqual(['192.168.1.1:9376'])
  expect(slicesOf(cluster, 'mysql')[0]!.endpoints.map(({ hostname }) => hostname)).toEqual([
    'mysql-0',
    'mysql-1',
    'mysql-2',
  ])
  expect(cluster.ingresses[0]!.spec.rules![0]!.http!.paths[0]!.path).toBe('/service1')
  expect(pod(cluster, 'default/my-app').addresses).toHaveLength(1)
  expect(cluster.warnings.map(({ code, where }) => `${code} ${where.replace(/ \(.*/, '')}`)).toEqual([
    'W_NO_ENDPOINTS Service default/my-loadbalancer',
    'W_NO_ENDPOINTS Service default/my-service',
    'W_BACKEND_MISSING Ingress default/example-ingress',
    'W_BACKEND_MISSING Ingress default/example-ingress',
    'W_BACKEND_MISSING Ingress default/complex-ingress',
    'W_BACKEND_MISSING Ingress default/complex-ingress',
  ])
})

it('real manifests load without a warning, and every selector finds its pods', () => {
  const { cluster, warnings } = loadFolder('real')
  expect(warnings).toEqual([])
  expect(cluster.warnings).toEqual([])
  expect(cluster.services).toHaveLength(14)
  expect(cluster.services.every(({ name }) => slicesOf(cluster, name).length > 0)).toBe(true)
  const controller = service(cluster, 'ingress-nginx/ingress-nginx-controller')
  expect(controller).toMatchObject({ type: 'LoadBalancer', externalTrafficPolicy: 'Local' })
  expect(slicesOf(cluster, controller.name)[0]!.ports!.map(({ name, port }) => `${name}:${port}`)).toEqual([
    'http:80',
    'https:443',
  ])
})
