/** `*` for any characters, none too, and `?` for one. Linear in the text for each `*`: the last one alone is tried again. */
export function fits(pattern: string, text: string): boolean {
  let at = 0
  let star = -1
  let resume = 0
  let i = 0
  while (i < text.length) {
    const want = pattern[at]
    if (want === '*') {
      star = at++
      resume = i
    } else if (want === '?' || want === text[i]) {
      at++
      i++
    } else if (star >= 0) {
      at = star + 1
      i = ++resume
    } else return false
  }
  while (pattern[at] === '*') at++
  return at === pattern.length
}
