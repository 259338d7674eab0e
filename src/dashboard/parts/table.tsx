import type { ComponentChildren, JSX } from 'preact';

export interface Column<T> {
  title: string;
  /** Numbers stand at the right. */
  number?: boolean;
  /** Lets long text break anywhere. */
  wide?: boolean;
  cell(row: T): ComponentChildren;
}

interface TableProps<T> {
  /** Read out before the table; not drawn. */
  caption: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  keyOf(row: T): string | number;
  /** Shown where there are no rows. */
  empty: ComponentChildren;
}

/** Table shows rows; on a phone each row becomes a block with the titles beside the values (style/parts.css). */
export function Table<T>({ caption, columns, rows, keyOf, empty }: TableProps<T>): JSX.Element {
  if (rows.length === 0) return <p class="empty">{empty}</p>;
  return (
    <table>
      <caption class="unseen">{caption}</caption>
      <thead>
        <tr>
          {columns.map(({ title, number }) => (
            <th key={title} scope="col" class={number ? 'number' : undefined}>
              {title}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={keyOf(row)}>
            {columns.map((column) => (
              <td
                key={column.title}
                data-title={column.title}
                class={
                  [column.number ? 'number' : '', column.wide ? 'wide' : ''].join(' ').trim() || undefined
                }
              >
                <div>{column.cell(row)}</div>
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
