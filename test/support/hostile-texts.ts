/** Long texts that make careless parsers and patterns slow, and a check of the CPU time. */
import assert from 'node:assert/strict';

/** Longest acceptable turn of the event loop. */
export const MAX_TURN_MS = 20;
/** The cheapest of this many runs is not disturbed by garbage collection. */
const TRIES = 4;

const UNITS = [
  ...[' ', '\t', ',', '"', "'", ';', '%', '0', '9', '\r', '\n', ':', '/', '.', '-', '*', '@', '[', ']', '='],
  ...[
    '\\',
    '$',
    '${',
    '${A',
    '${A:-',
    '}',
    '%4',
    '%41',
    '../',
    './',
    '//',
    '1.',
    '1:',
    '::',
    'a.',
    'a:',
    '1 ',
  ],
  ...['a\t', '\u00a0', '\u00e9'],
];

/** The beginning and the end of a text, so that a pattern matches a long part before it fails. */
const FRAMES: readonly (readonly [string, string])[] = [
  ['', ''],
  ['', 'x'],
  ['a', 'b'],
  ['1', ' '],
];

/** hostileTexts makes one text for each unit and each frame. */
export function hostileTexts(prefix = '', bytes = 64 * 1024): string[] {
  return UNITS.flatMap((unit) =>
    FRAMES.map(([before, behind]) => {
      const count = Math.floor((bytes - prefix.length - 2) / unit.length);
      return `${prefix}${before}${unit.repeat(count)}${behind}`;
    }),
  );
}

/** assertCheap calls `run` a few times and fails when even the cheapest call took more than `maxMs` of CPU time. */
export async function assertCheap(what: string, run: () => unknown, maxMs = MAX_TURN_MS): Promise<void> {
  let cheapestMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < TRIES && cheapestMs > maxMs; i++) {
    const before = process.threadCpuUsage();
    await run();
    const { user, system } = process.threadCpuUsage(before);
    cheapestMs = Math.min(cheapestMs, (user + system) / 1000);
  }
  assert.ok(cheapestMs <= maxMs, `${cheapestMs} ms for ${what.slice(0, 60)} … ${what.slice(-6)}`);
}
