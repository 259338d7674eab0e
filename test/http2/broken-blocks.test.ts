/** Blocks that are broken, or nearly so, read by our decoder and by nghttp2. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { integer, prefixed } from '../support/h2-frames.ts';
import { Agreement } from './agreement.ts';

const bytesOf = (text: string) => Buffer.from(text, 'latin1');

const bytes = fc.uint8Array({ maxLength: 12 }).map((each) => Buffer.from(each));
/** Most are of the static table, few of none. */
const index = fc.oneof(
  { weight: 30, arbitrary: fc.integer({ min: 15, max: 61 }) },
  { weight: 6, arbitrary: fc.integer({ min: 62, max: 65 }) },
  { weight: 1, arbitrary: fc.nat(400) },
);
const GOOD_CODE = [
  '',
  'f1e3c2e5f23a6ba0ab90f4ff',
  'a8eb10649cbf',
  '25a849e95ba97d7f',
  '640e',
  '9bd9ab',
  'fe3f',
  'ffffeaff',
];
const BAD_CODE = [
  'ff',
  '18',
  '1fff',
  'ffffffff',
  'fffffffc',
  'fffffe',
  'a8eb10649cbfff',
  'a8eb1064',
  '25a849e95ba97d7e',
];
const bytesOfHex = (hex: string) => Buffer.from(hex, 'hex');
const huffman = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(...GOOD_CODE).map(bytesOfHex) },
  { weight: 1, arbitrary: fc.constantFrom(...BAD_CODE).map(bytesOfHex) },
  { weight: 1, arbitrary: bytes },
);
const plain = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom('x', 'name', 'value-1', 'x'.repeat(130), 'x'.repeat(1_500), '0').map(bytesOf),
  },
  { weight: 1, arbitrary: bytes },
);
const text = fc.oneof(
  plain.map((each) => Buffer.concat([integer(each.length, 7), each])),
  huffman.map((each) => Buffer.concat([prefixed(0x80, 7, each.length), each])),
);
const kind = fc.constantFrom<[number, number]>([0x40, 6], [0, 4], [0x10, 4]);
const field = fc.oneof(
  { weight: 4, arbitrary: index.map((each) => prefixed(0x80, 7, each)) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(kind, index, text)
      .map(([[bits, size], at, value]) => Buffer.concat([prefixed(bits, size, at), value])),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(kind, text, text)
      .map(([[bits], name, value]) => Buffer.concat([Buffer.from([bits]), name, value])),
  },
);
const size = fc
  .constantFrom(0, 31, 100, 1_000, 2_000, 4_096, 4_096, 4_097)
  .map((each) => prefixed(0x20, 5, each));
/** The pseudo-header fields of a request. */
const HEAD = Buffer.from('828684010161', 'hex');
/** Mostly blocks that can be read, so that the tables get entries. */
const whole = fc
  .tuple(fc.array(size, { maxLength: 2 }), fc.array(field, { maxLength: 6 }))
  .map(([sizes, fields]) => Buffer.concat([...sizes, HEAD, ...fields]));

const changed = fc
  .tuple(whole, fc.nat(), fc.nat(255), fc.constantFrom('set', 'cut', 'insert', 'remove'))
  .map(([block, at, byte, how]) => {
    const place = at % block.length;
    const before = block.subarray(0, place);
    if (how === 'cut') return before;
    const middle = how === 'remove' ? [] : [byte];
    return Buffer.concat([before, Buffer.from(middle), block.subarray(how === 'insert' ? place : place + 1)]);
  });
const made = fc.oneof(
  { weight: 12, arbitrary: whole },
  { weight: 3, arbitrary: changed },
  { weight: 1, arbitrary: bytes.map((each) => Buffer.concat([HEAD, each])) },
);

test('what nghttp2 cannot read we do not read, what it can we read as the same', async (t) => {
  const agreement = new Agreement();
  t.after(() => agreement.close());
  await fc.assert(
    fc.asyncProperty(fc.array(made, { minLength: 1, maxLength: 12 }), async (blocks) => {
      agreement.renew();
      for (const block of blocks) await agreement.judge(block, true);
    }),
    { numRuns: 500 },
  );
  for (const [outcome, count] of Object.entries(agreement.counts))
    assert.ok(count > 50, `${outcome}: ${count}`);
});
