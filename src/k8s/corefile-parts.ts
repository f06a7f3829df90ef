/**
 * The Corefile as CoreDNS reads it: the ConfigMap's text with the files that clusters mount beside it put in place.
 *
 * k3s, RKE2 and AKS import the keys of ConfigMap coredns-custom, by their endings: `import /etc/coredns/custom/*.override`
 * inside a server block, `*.server` beside them; k3s keeps the nodes' names in the key NodeHosts. An import of which nothing
 * is known stays as it is, and one that matches no key is nothing, as CoreDNS has it.
 * Source: k3s manifests/coredns.yaml; AKS, "Customize CoreDNS"; coredns/caddy caddyfile/parse.go doImport (glob patterns).
 */
import type { ConfigMap } from './types.ts'

export const COREDNS: string = 'coredns'
export const COREDNS_CUSTOM: string = 'coredns-custom'
const NODE_HOSTS = 'NodeHosts'
/** NodeLocal DNSCache's: upstream's name and kubespray's. */
export const NODE_DNS: ReadonlySet<string> = new Set(['node-local-dns', 'nodelocaldns'])

/** null where there is no ConfigMap with a Corefile. */
export function corefileOf(configMaps: readonly ConfigMap[]): string | null {
  const find = (name: string): ConfigMap | undefined =>
    configMaps.find(({ metadata }) => metadata.namespace === 'kube-system' && metadata.name === name)
  const data = find(COREDNS)?.data
  const text = data?.['Corefile']
  if (text === undefined) return null
  const custom = find(COREDNS_CUSTOM)?.data ?? {}
  const lines = text.split('\n').flatMap((line) => importedLines(line, custom) ?? hostsLines(line, data) ?? [line])
  return lines.join('\n')
}

/** The Corefile of NodeLocal DNSCache as written, or null. */
export function nodeDnsCorefileOf(configMaps: readonly ConfigMap[]): string | null {
  const own = configMaps.find(({ metadata }) => metadata.namespace === 'kube-system' && NODE_DNS.has(metadata.name))
  return own?.data?.['Corefile'] ?? null
}

function importedLines(line: string, custom: Readonly<Record<string, string>>): readonly string[] | null {
  const glob = /^\s*import\s+\S*\bcustom\/([^\s/]*\*[^\s/]*)\s*(?:#.*)?$/.exec(line)?.[1]
  if (glob === undefined) return null
  const pattern = new RegExp(`^${glob.split('*').map(escaped).join('.*')}$`)
  return Object.entries(custom)
    .filter(([key]) => pattern.test(key))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, text]) => text.split('\n'))
}

/** `hosts /etc/coredns/NodeHosts {`: the file's lines as if they stood in the block, which means the same. */
function hostsLines(line: string, data: Readonly<Record<string, string>> | undefined): readonly string[] | null {
  const [, indent, brace] = /^(\s*)hosts\s+\S*\/NodeHosts\s*(\{?)\s*$/.exec(line) ?? []
  const hosts = data?.[NODE_HOSTS]
  if (indent === undefined || hosts === undefined) return null
  const lines = [`${indent}hosts {`, ...hosts.split('\n')]
  return brace === '{' ? lines : [...lines, '}']
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}
