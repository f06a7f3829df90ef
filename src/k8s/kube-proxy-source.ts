/**
 * Where the manifests run kube-proxy, and which of its settings count: a configuration file's or those of its command line.
 *
 * Looked at are the containers of DaemonSets and Pods (kubeadm, EKS, AKS, GKE, kOps, Talos, RKE2) as they are written, with their
 * shell scripts, and what k3s and RKE2 note on a Node of the arguments that they were started with. A trace holds no arguments, so
 * what they say becomes a KubeProxyConfiguration among the objects.
 * Source: cmd/kube-proxy/app/options.go (a configuration file replaces what flags say); kubeProxyArgs of k3s'
 *         pkg/daemons/agent/agent_linux.go, which RKE2 uses as well.
 */
import { basename } from 'node:path'
import type { Warning } from '../errors.ts'
import { type CommandLine, readCommandLine } from './kube-proxy-flags.ts'
import { isMap } from './schema.ts'
import type { KubeProxyConfiguration, Origin } from './types.ts'

/** What a Node of k3s or RKE2 was started with, a JSON list. */
const NODE_ARGS = ['k3s.io/node-args', 'rke2.io/node-args'] as const
const DEFAULT_K3S_CIDR = '10.42.0.0/16'
const K3S_FLAGS = [
  '--proxy-mode=iptables',
  '--conntrack-max-per-core=0',
  '--conntrack-tcp-timeout-established=0s',
  '--conntrack-tcp-timeout-close-wait=0s',
] as const

/** Where a KubeProxyConfiguration among the objects came from. */
export type ConfigurationSource = 'object' | 'ConfigMap' | null

interface Found {
  /** `DaemonSet kube-system/kube-proxy`. */
  readonly title: string
  readonly where: string
  readonly line: CommandLine
}

interface StartedNode {
  readonly title: string
  readonly where: string
  readonly origin: Origin
  /** null where they cannot be read. */
  readonly args: readonly string[] | null
}

export class KubeProxySources {
  readonly #found: Found[] = []
  readonly #nodes: StartedNode[] = []

  /**
   * @param value  an object as it is written, of any kind
   * @param where  file, document and item
   */
  look(kind: string, value: Record<string, unknown>, title: string, origin: Origin, where: string): void {
    if (kind === 'Node') this.#lookAtNode(value, title, origin, where)
    if (kind !== 'DaemonSet' && kind !== 'Pod') return
    const spec = kind === 'Pod' ? value['spec'] : below(value, 'spec', 'template', 'spec')
    if (!isMap(spec) || !Array.isArray(spec['containers'])) return
    const selector = below(spec, 'nodeSelector', 'kubernetes.io/os')
    if (selector === 'windows') return
    for (const container of spec['containers'] as unknown[]) {
      const words = isMap(container) ? wordsOf(container) : null
      if (words === null) continue
      const line = readCommandLine(words, origin)
      if (!line.ends) this.#found.push({ title, where, line })
    }
  }

  #lookAtNode(value: Record<string, unknown>, title: string, origin: Origin, where: string): void {
    const annotations = below(value, 'metadata', 'annotations')
    if (!isMap(annotations)) return
    for (const name of NODE_ARGS) {
      const text = annotations[name]
      if (typeof text === 'string') this.#nodes.push({ title, where, origin, args: stringsIn(text) })
    }
  }

  /**
   * What the command lines amount to.
   *
   * @param known  the KubeProxyConfiguration that is among the objects already
   * @returns      the one to take in its place, or null to leave it
   */
  settle(known: ConfigurationSource): {
    readonly configuration: KubeProxyConfiguration | null
    /** The command line says by which name each kube-proxy goes, over the configuration. */
    readonly namesNodes: boolean
    readonly warnings: Warning[]
  } {
    const warnings: Warning[] = []
    const found = this.#found.length > 0 ? this.#found : this.#embedded(warnings)
    const first = found[0]
    const namesNodes = found.some((one) => one.line.namesNode)
    if (first === undefined) return { configuration: null, namesNodes, warnings }
    const { line, title } = first
    const where = `${title} (${first.where})`
    for (const message of line.problems) warnings.push({ code: 'W_KUBE_PROXY_FLAG', where, message })
    const other = found.find((one) => textOf(one.line) !== textOf(line))
    if (other !== undefined) {
      const message = `${other.title} runs kube-proxy with other settings; those of ${title} are taken for every node`
      warnings.push({ code: 'W_KUBE_PROXY_DIFFERS', where: `${other.title} (${other.where})`, message })
    }
    if (line.configFile !== null) {
      const flags = line.settings.map((name) => `--${name}`).join(', ')
      if (flags !== '') {
        const message = `${flags}: without effect beside --config, whose file decides alone`
        warnings.push({ code: 'W_KUBE_PROXY_FLAG', where, message })
      }
      if (known === null) {
        const message = `kube-proxy reads its settings from ${line.configFile}, and no KubeProxyConfiguration is in the manifests: its mode and the rest are assumed (add the ConfigMap that holds it)`
        warnings.push({ code: 'W_KUBE_PROXY_CONFIG', where, message })
      }
      return { configuration: null, namesNodes, warnings }
    }
    // Whoever writes the object itself into the manifests means it.
    if (known === 'object') return { configuration: null, namesNodes, warnings }
    if (known === 'ConfigMap') {
      const message = `kube-proxy is started without --config: its flags count, and not the KubeProxyConfiguration of the ConfigMap`
      warnings.push({ code: 'W_KUBE_PROXY_CONFIG', where, message })
    }
    return { configuration: line.configuration, namesNodes, warnings }
  }

  /** kube-proxies within k3s and RKE2, by the arguments of their nodes. */
  #embedded(warnings: Warning[]): Found[] {
    const servers = this.#nodes.filter(({ args }) => args?.[0] === 'server')
    const written = servers.map(({ args }) => valuesOf(args ?? [], 'cluster-cidr')).find((cidrs) => cidrs.length > 0)
    const cidr = written?.join(',') ?? (servers.length > 0 ? DEFAULT_K3S_CIDR : null)
    return this.#nodes.flatMap(({ title, where, origin, args }): Found[] => {
      if (args === null) return []
      const disabled = servers.find((server) => hasSwitch(server.args ?? [], 'disable-kube-proxy'))
      if (disabled !== undefined) {
        if (warnings.length === 0) {
          const message = `no kube-proxy runs here (--disable-kube-proxy): whatever takes its place is not modelled, and kube-proxy's rules are shown`
          warnings.push({ code: 'W_NOT_MODELLED', where: `${disabled.title} (${disabled.where})`, message })
        }
        return []
      }
      const own = valuesOf(args, 'kube-proxy-arg').map((text) => (text.startsWith('-') ? text : `--${text}`))
      const words = [...K3S_FLAGS, ...(cidr === null ? [] : [`--cluster-cidr=${cidr}`]), ...own]
      return [{ title, where, line: readCommandLine(words, origin) }]
    })
  }
}

/** Whether two command lines set the same; what differs from node to node by nature is in neither. */
function textOf({ configFile, configuration }: CommandLine): string {
  const { origin: _, ...rest } = configuration
  return JSON.stringify(configFile === null ? rest : configFile)
}

/** The arguments of kube-proxy in a container that runs it; null in another. */
function wordsOf(container: Record<string, unknown>): string[] | null {
  const command = strings(container['command'])
  const args = strings(container['args'])
  const written = [...command, ...args]
  const words = written.flatMap((word, i) => (/^-\w*c$/.test(written[i - 1] ?? '') ? shellWords(word) : [word]))
  const at = words.findIndex((word, i) => isProgram(word, words[i - 1]))
  if (at >= 0) {
    const rest = words.slice(at + 1)
    const end = rest.findIndex((word) => /^\d*[<>|&;]/.test(word))
    return substituted(end < 0 ? rest : rest.slice(0, end), container)
  }
  // The image's own entry point; without arguments there is nothing that could be known.
  const image = typeof container['image'] === 'string' ? container['image'] : ''
  const isImage = /(^|\/)kube-proxy(-[a-z0-9]+)?([:@]|$)/.test(image)
  return isImage && command.length === 0 && args.length > 0 ? substituted(args, container) : null
}

function isProgram(word: string, before: string | undefined): boolean {
  const name = basename(word)
  return name === 'kube-proxy' || (name === 'proxy' && before !== undefined && basename(before) === 'hyperkube')
}

/** `$(NAME)` where the container says what NAME is; the rest stays as it is. */
function substituted(words: readonly string[], { env }: Record<string, unknown>): string[] {
  const values = new Map<string, string>()
  for (const one of Array.isArray(env) ? (env as unknown[]) : []) {
    if (isMap(one) && typeof one['name'] === 'string' && typeof one['value'] === 'string')
      values.set(one['name'], one['value'])
  }
  return words.map((word) => word.replace(/\$\(([\w.-]+)\)/g, (whole, name: string) => values.get(name) ?? whole))
}

/** Words of a shell script, with the operators as words of their own; what a shell would substitute stays as it is. */
function shellWords(script: string): string[] {
  return Array.from(
    script
      .replace(/\\\n/g, ' ')
      .matchAll(/(?:"(?:[^"\\]|\\[\s\S])*"|'[^']*'|\\[\s\S]|[^\s"'\\;|&<>])+|\d*>>?&?\d*|[;|&<]+/g),
    ([word]) =>
      word.replace(
        /"((?:[^"\\]|\\[\s\S])*)"|'([^']*)'|\\([\s\S])/g,
        (_, double?: string, single?: string, one?: string) =>
          double !== undefined ? double.replace(/\\([\s\S])/g, '$1') : (single ?? one ?? ''),
      ),
  )
}

/** Values of a flag in the arguments of k3s, which takes `--flag value` and `--flag=value`. */
function valuesOf(args: readonly string[], name: string): string[] {
  return args.flatMap((word, i) =>
    word === `--${name}`
      ? args.slice(i + 1, i + 2)
      : word.startsWith(`--${name}=`)
        ? [word.slice(name.length + 3)]
        : [],
  )
}

function hasSwitch(args: readonly string[], name: string): boolean {
  return args.some((word, i) => (word === `--${name}` && args[i + 1] !== 'false') || word === `--${name}=true`)
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? (value as unknown[]).filter((one): one is string => typeof one === 'string') : []
}

function stringsIn(json: string): string[] | null {
  try {
    return strings(JSON.parse(json))
  } catch {
    return null
  }
}

function below(value: unknown, ...path: readonly string[]): unknown {
  let inner = value
  for (const step of path) inner = isMap(inner) ? inner[step] : undefined
  return inner
}
