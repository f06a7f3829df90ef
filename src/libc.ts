/**
 * Who walks the search list in a client: Alpine images have musl, programs of Go without cgo their own resolver, nearly all
 * others glibc. `musl-1.1` stands for musl before 1.2.4, which does not ask again over TCP.
 */
export const LIBCS = ['glibc', 'musl', 'musl-1.1', 'go'] as const
export type Libc = (typeof LIBCS)[number]
