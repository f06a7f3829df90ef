/** The sentences of a document's section "In short". */
import { cellText, type ReportDocument } from '../document.ts'

export function inShortOf({ sections }: ReportDocument): string[] {
  return sections.find(({ title }) => title === 'In short')?.lines.map((line) => cellText(line).trim()) ?? []
}
