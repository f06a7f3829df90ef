/** Any report's sections as a page, with tables that sort and filter; for reports that have no charts of their own. */
import { cellText, cellTone, type ReportDocument } from '../document.ts'
import type { DocumentPage } from './page-data.ts'
import { renderPage } from './render.ts'

/** @param command  what makes it again; '' where it was no command */
export function renderDocumentHtml({ title, subtitle, sections }: ReportDocument, command: string): string {
  return renderPage({
    kind: 'document',
    title,
    subtitle,
    inShort: [],
    command,
    sections: sections.map(({ title: heading, table, lines }): DocumentPage['sections'][number] => ({
      title: heading,
      lines: lines.map((line) => ({ text: cellText(line), tone: cellTone(line) })),
      table:
        table === null
          ? null
          : {
              head: table.head,
              align: table.align,
              rows: table.rows.map((row) => row.map((cell) => ({ text: cellText(cell), tone: cellTone(cell) }))),
            },
    })),
  })
}
