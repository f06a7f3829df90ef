/** A table as plain text: columns as wide as they need, two spaces apart; columns of figures stand right. */

const FIGURE = /^-?[\d.]+( %)?$/

export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const columns = head.map((title, i) => {
    const cells = rows.map((row) => row[i])
    const width = Math.max(title.length, ...cells.map((cell) => cell.length))
    const right = cells.some((cell) => cell !== '') && cells.every((cell) => cell === '' || FIGURE.test(cell))
    return (cell: string): string => (right ? cell.padStart(width) : cell.padEnd(width))
  })
  const flow = (row: readonly string[]): string =>
    row
      .map((cell, i) => columns[i](cell))
      .join('  ')
      .trimEnd()
  return [head, ...rows].map(flow).join('\n')
}
