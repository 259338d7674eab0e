/** Tables of `sluice status` and `sluice top`: sections, the lines that they become, and how numbers are written. */

/** A row with a tone is in red (bad) or yellow (warn) on a terminal with colours. */
export interface Row {
  cells: string[];
  tone: 'bad' | 'warn' | null;
}

export interface Section {
  title: string;
  headings: string[];
  rows: Row[];
  /** Shown in place of no rows. */
  none: string;
  /** How many columns from the left are text; the others are aligned at their ends. */
  textColumns: number;
  /** The last column is text, too. */
  endsInText?: boolean;
}

/** A line of text and its tone; for whoever writes sections. */
export interface Line {
  text: string;
  tone: Row['tone'] | 'title' | 'dim';
}

/**
 * linesOf writes a section as a table. Of numbers alone (no text columns) it makes several tables where one is wider than `columns`;
 * others are cut by who shows them. @param printable what makes names safe for a terminal
 */
export function linesOf(
  section: Section,
  printable: (text: string) => string,
  columns = Number.POSITIVE_INFINITY,
): Line[] {
  const title: Line = { text: section.title, tone: 'title' };
  if (section.rows.length === 0) return [title, { text: section.none, tone: 'dim' }];
  const cells = section.rows.map((row) => row.cells.map(printable));
  const table = section.headings.length === 0 ? cells : [section.headings, ...cells];
  const widths = (cells[0] ?? []).map((_, at) => Math.max(...table.map((row) => row[at]?.length ?? 0)));
  const lines = partsOf(widths, section.textColumns === 0 ? columns : Number.POSITIVE_INFINITY).flatMap(
    (part) =>
      table.map((row, at): Line => {
        const index = at - (table.length - cells.length);
        return {
          text: rowText(section, row, widths, part),
          tone: index < 0 ? 'dim' : (section.rows[index]?.tone ?? null),
        };
      }),
  );
  // Sentences are not cut.
  if (section.headings.length > 0 || columns === Number.POSITIVE_INFINITY) return [title, ...lines];
  const part = new RegExp(`.{1,${Math.max(1, columns)}}`, 'gu');
  return [
    title,
    ...lines.flatMap(({ text, tone }) => (text.match(part) ?? []).map((each) => ({ text: each, tone }))),
  ];
}

const GAP = '  ';

/** Columns that fit beside each other, as numbers of columns. */
function partsOf(widths: number[], columns: number): number[][] {
  const parts: number[][] = [];
  let used = 0;
  for (const [at, width] of widths.entries()) {
    if (parts.length === 0 || used + width > columns) {
      parts.push([]);
      used = 0;
    }
    parts.at(-1)?.push(at);
    used += width + GAP.length;
  }
  return parts;
}

function rowText(
  { textColumns, endsInText = false }: Section,
  row: string[],
  widths: number[],
  part: number[],
): string {
  return part
    .map((at) => {
      const isText = at < textColumns || (endsInText && at === row.length - 1);
      const [cell = '', width = 0] = [row[at], widths[at]];
      return isText ? cell.padEnd(width) : cell.padStart(width);
    })
    .join(GAP)
    .trimEnd();
}

const NONE = '-';

/** perSec writes a number, or - where there is none. */
export function perSec(value: number | null | undefined): string {
  if (value == null) return NONE;
  return value > 0 && value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString('en');
}

/** millis writes a number, or - where there is none. */
export function millis(value: number | null | undefined): string {
  if (value == null) return NONE;
  return value < 10
    ? value.toFixed(2)
    : value < 100
      ? value.toFixed(1)
      : Math.round(value).toLocaleString('en');
}

/** whole writes a number, or - where there is none. */
export function whole(value: number | null | undefined): string {
  return value == null ? NONE : Math.round(value).toLocaleString('en');
}

/** percent writes a number, or - where there is none. */
export function percent(ratio: number | null | undefined): string {
  return ratio == null ? NONE : `${Math.round(ratio * 100)} %`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** bytes writes a number, or - where there is none. */
export function bytes(value: number | null | undefined): string {
  if (value == null) return NONE;
  const power = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, value)) / 10)));
  const shown = value / 1024 ** power;
  return `${shown < 10 && power > 0 ? shown.toFixed(1) : Math.round(shown)} ${UNITS[power]}`;
}

/** duration is a time in its two largest units; for the head of the screen too. */
export function duration(sec: number): string {
  const parts = [
    [Math.floor(sec / 86_400), 'd'],
    [Math.floor(sec / 3600) % 24, 'h'],
    [Math.floor(sec / 60) % 60, 'min'],
    [Math.floor(sec) % 60, 's'],
  ] as const;
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return '0 s';
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(' ');
}
