/** Parsers of durations (`2s`) and sizes (`16KiB`). */

const DURATION = /^(\d{1,15})(ms|s|m|h)$/;
const MS_PER_UNIT: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** parseDuration reads `250ms`, `2s`, `1m`, `1h` or a bare 0; returns milliseconds, or null if it is none of them. */
export function parseDuration(raw: string | number): number | null {
  if (raw === 0 || raw === '0') return 0;
  if (typeof raw === 'number') return null;
  return scaled(DURATION.exec(raw), MS_PER_UNIT);
}

const SIZE = /^(\d{1,15})(B|KiB|MiB|GiB)?$/;
const BYTES_PER_UNIT: Readonly<Record<string, number>> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** parseSize reads `16KiB`, `1MiB`, `1GiB`, `512B` or a plain number of bytes; returns bytes, or null. */
export function parseSize(raw: string | number): number | null {
  if (typeof raw === 'number') return Number.isSafeInteger(raw) && raw >= 0 ? raw : null;
  return scaled(SIZE.exec(raw), BYTES_PER_UNIT);
}

function scaled(found: RegExpExecArray | null, units: Readonly<Record<string, number>>): number | null {
  if (found?.[1] === undefined) return null;
  const value = Number(found[1]) * (found[2] === undefined ? 1 : (units[found[2]] ?? Number.NaN));
  return Number.isSafeInteger(value) ? value : null;
}
