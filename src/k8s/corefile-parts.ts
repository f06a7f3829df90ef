/**
 * The Corefile as CoreDNS reads it: the ConfigMap's text with the files that clusters mount beside it put in place.
 *
 * k3s, RKE2, AKS and Gardener import the keys of ConfigMap coredns-custom, by their endings: `import /etc/coredns/custom/*.override`
 * inside a server block, `*.server` beside them, in the node-local cache's Corefile too; k3s keeps the nodes' names in the key
 * NodeHosts. An import of which nothing is known stays as it is, and one that matches no key is nothing, as CoreDNS has it.
 * Source: k3s manifests/coredns.yaml; AKS, "Customize CoreDNS"; gardener pkg/component/networking/nodelocaldns; coredns/caddy
 * caddyfile/parse.go doImport (glob patterns).
 */
import type { ConfigMap } from './types.ts'

export const COREDNS: string = 'coredns'
export const COREDNS_CUSTOM: string = 'coredns-custom'
const COREFILE = 'Corefile'
const NODE_HOSTS = 'NodeHosts'
/** NodeLocal DNSCache's: upstream's name and kubespray's. */
export const NODE_DNS: ReadonlySet<string> = new Set(['node-local-dns', 'nodelocaldns'])

export interface CorefileText {
  /** `ConfigMap kube-system/coredns` */
  readonly where: string
  readonly text: string
  /** Where each line of the text was written: `ConfigMap kube-system/coredns-custom, key shop.override, line 3`. */
  readonly origins: readonly string[]
}

interface Line {
  readonly text: string
  readonly origin: string
}

/** null where there is no ConfigMap with a Corefile. */
export function corefileOf(configMaps: readonly ConfigMap[]): CorefileText | null {
  return inPlace(
    configMaps,
    inSystem(configMaps).find(({ metadata }) => metadata.name === COREDNS),
  )
}

/** The Corefile of NodeLocal DNSCache, or null. */
export function nodeDnsCorefileOf(configMaps: readonly ConfigMap[]): CorefileText | null {
  return inPlace(
    configMaps,
    inSystem(configMaps).find(({ metadata }) => NODE_DNS.has(metadata.name)),
  )
}

function inSystem(configMaps: readonly ConfigMap[]): ConfigMap[] {
  return configMaps.filter(({ metadata }) => metadata.namespace === 'kube-system')
}

function inPlace(configMaps: readonly ConfigMap[], map: ConfigMap | undefined): CorefileText | null {
  const text = map?.data?.[COREFILE]
  if (map === undefined || text === undefined) return null
  const custom = inSystem(configMaps).find(({ metadata }) => metadata.name === COREDNS_CUSTOM)
  const where = `ConfigMap kube-system/${map.metadata.name}`
  const own = linesOf(text, where)
  const lines = own.flatMap((line) => imported(line.text, custom) ?? nodeHosts(line, map) ?? [line])
  return { where, text: lines.map((line) => line.text).join('\n'), origins: lines.map(({ origin }) => origin) }
}

function linesOf(text: string, where: string): Line[] {
  return text.split('\n').map((line, i) => ({ text: line, origin: `${where}, line ${i + 1}` }))
}

function imported(line: string, custom: ConfigMap | undefined): readonly Line[] | null {
  const glob = /^\s*import\s+\S*\bcustom\/([^\s/]*\*[^\s/]*)\s*(?:#.*)?$/.exec(line)?.[1]
  if (glob === undefined) return null
  const pattern = new RegExp(`^${glob.split('*').map(escaped).join('.*')}$`)
  return Object.entries(custom?.data ?? {})
    .filter(([key]) => pattern.test(key))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([key, text]) => linesOf(text, `ConfigMap kube-system/${COREDNS_CUSTOM}, key ${key}`))
}

/** `hosts /etc/coredns/NodeHosts {`: the file's lines as if they stood in the block, which means the same. */
function nodeHosts({ text, origin }: Line, map: ConfigMap): readonly Line[] | null {
  const [, indent, brace] = /^(\s*)hosts\s+\S*\/NodeHosts\s*(\{?)\s*$/.exec(text) ?? []
  const hosts = map.data?.[NODE_HOSTS]
  if (indent === undefined || hosts === undefined) return null
  const within = linesOf(hosts, `ConfigMap kube-system/${map.metadata.name}, key ${NODE_HOSTS}`)
  const lines = [{ text: `${indent}hosts {`, origin }, ...within]
  return brace === '{' ? lines : [...lines, { text: '}', origin }]
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}
