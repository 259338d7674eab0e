/** How texts of clients are cut in access lines. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { text } from '../../../src/proxy/access-text.ts';

function escaped(character: string): string {
  const isControl = /[\u007f-\u009f]/.test(character);
  if (!isControl) return JSON.stringify(character).slice(1, -1);
  return `\\u00${character.codePointAt(0)?.toString(16)}`;
}

/** As `text` says, one character after the other. */
function slowText(value: string, maxBytes: number): string {
  let encoded = '';
  for (const character of value) {
    const longer = encoded + escaped(character);
    if (Buffer.byteLength(longer) > maxBytes - 2) break;
    encoded = longer;
  }
  return `"${encoded}"`;
}

test('B36: a text is cut after the last character that fits, escapes included', () => {
  const tricky = [
    'a',
    '"',
    '\\',
    '\n',
    '\u0001',
    '\u007f',
    '\u0080',
    '\u009b',
    '\u00a0',
    'ÿ',
    '\u07ff',
    '\u2028',
    '\uffff',
    '😀',
  ];
  const unit = fc.constantFrom(...tricky, '\ud83d', '\udca5');
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 60 }), fc.integer({ min: 2, max: 60 }), (value, maxBytes) => {
      assert.equal(text(value, maxBytes), slowText(value, maxBytes));
    }),
  );
});

/** The least that looking at each character takes. */
function sumOf(value: string): number {
  let sum = 0;
  for (let i = 0; i < value.length; i++) sum += value.charCodeAt(i);
  return sum;
}

test('a long text that must be cut with care takes little longer than looking at it', () => {
  // The fastest of many, so that other load does not count.
  const fastestMs = (work: () => unknown) => {
    const times = Array.from({ length: 1_000 }, () => {
      const startMs = performance.now();
      work();
      return performance.now() - startMs;
    });
    return Math.min(...times);
  };
  for (const unit of ['ÿ', '"', '\u0001']) {
    const value = unit.repeat(8_000);
    const ratio = fastestMs(() => text(value, 4_000)) / fastestMs(() => sumOf(value));
    assert.ok(ratio < 6, `${JSON.stringify(unit)}: ${ratio.toFixed(1)} times as long`);
  }
});
