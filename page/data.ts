/** What the file holds, read out of it: JSON as it is, or deflated and in base64 where it is large. */
import type { PageData } from '../src/report/html/page-data.ts'

export async function readData(): Promise<PageData> {
  const element = document.getElementById('data')
  const text = element?.textContent ?? ''
  if (element?.getAttribute('type') === 'application/json') return JSON.parse(text) as PageData
  const binary = atob(text.trim())
  const bytes = Uint8Array.from(binary, (letter) => letter.charCodeAt(0))
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'))
  return JSON.parse(await new Response(stream).text()) as PageData
}
