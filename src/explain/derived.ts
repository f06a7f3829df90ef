/**
 * What the manifests left out and an answer hangs on: of everything that was filled in, the notes whose addresses, node ports,
 * pods or nodes stand in the answer.
 */
import type { Cluster, ClusterPod, DerivedNote } from '../k8s/cluster.ts'

/** More than these are counted. */
const MAX_NOTES = 6
/** Of every Service with a selector; it says nothing that could be otherwise. */
const SLICES = /(^|, )\d+ endpoints? from its selector/g

/**
 * @param text  the answer, as it is told
 * @param all   every note, whether or not the answer has anything of it
 * @returns     one line a note; empty where nothing was filled in
 */
export function filledIn(cluster: Cluster, notes: readonly DerivedNote[], text: string, all: boolean): string[] {
  const line = ({ object, what }: DerivedNote): string => `${object}: ${what}`
  if (all) return notes.map(line)
  const words = wordsOf(text)
  const owners = ownersIn(cluster.pods, words)
  const found = notes.flatMap((note): DerivedNote[] => {
    const what = note.what.replace(SLICES, '').replace(/^, /, '')
    return what !== '' && isAbout({ ...note, what }, words, owners) ? [{ ...note, what }] : []
  })
  const lines = found.slice(0, MAX_NOTES).map(line)
  if (found.length === 0) return []
  const hidden = notes.length - lines.length
  return hidden === 0 ? lines : [...lines, `${lines.length} of ${notes.length} notes; --derived has all`]
}

function isAbout({ object, what }: DerivedNote, words: ReadonlySet<string>, owners: ReadonlySet<string>): boolean {
  if (owners.has(object)) return true
  const [kind, name] = object.split(' ')
  if (kind === 'NetworkPolicies') return words.has('NetworkPolicy')
  if (kind === 'NetworkPolicy') return words.has(name!)
  if (kind === 'Node') return what.startsWith('not in the manifests') ? words.has(name!) : hasAddress(what, words)
  if (kind === 'Network') return words.has('network') && words.has('plugin')
  return hasAddress(what, words)
}

/** Addresses, and ports that are named as such. */
function hasAddress(what: string, words: ReadonlySet<string>): boolean {
  const addresses = what.match(/\d+(\.\d+){3}(?!\S*\/)|[0-9a-f]*:[0-9a-f:]+(?!\S*\/)/gi) ?? []
  const ports = Array.from(what.matchAll(/odePort ([\d, ]+)/g), ([, list]) => list!.match(/\d{4,5}/g) ?? []).flat()
  return [...addresses, ...ports].some((one) => words.has(one))
}

/** Workloads that have a pod in the answer. */
function ownersIn(pods: readonly ClusterPod[], words: ReadonlySet<string>): ReadonlySet<string> {
  return new Set(
    pods.flatMap(({ owner, namespace, name, addresses, hostNetwork }) =>
      owner !== '' && (words.has(`${namespace}/${name}`) || (!hostNetwork && addresses.some((ip) => words.has(ip))))
        ? [owner]
        : [],
    ),
  )
}

/** Words of a text, an address with a port in one piece and in two. */
function wordsOf(text: string): ReadonlySet<string> {
  const words = new Set<string>()
  for (const part of text.split(/[\s,;()"]+/)) {
    const word = part.replace(/[.:/]+$/, '').replace(/\/(tcp|udp|sctp)$/, '')
    words.add(word)
    const match = /^(?:\[(.*)\]|([^:]*)):(\d+)$/.exec(word)
    if (match !== null) words.add(match[1] ?? match[2]!).add(match[3]!)
  }
  return words
}
