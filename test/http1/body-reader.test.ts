import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CHUNKED_BODY } from '../../src/contract/request-head.ts';
import { BodyReader } from '../../src/http1/body-reader.ts';

/** Decodes segment by segment, each in memory that is overwritten afterwards. */
function decode(segments: Buffer[]): { payload: string; reader: BodyReader; leftoverBytes: number } {
  const reader = new BodyReader({ refusesFramingTrailers: false });
  reader.start(CHUNKED_BODY);
  let payload = '';
  let leftoverBytes = 0;
  for (const segment of segments) {
    const buffer = Buffer.alloc(segment.length + 9, '\n');
    segment.copy(buffer, 4);
    reader.read(buffer, 4, 4 + segment.length);
    payload += buffer.toString('latin1', reader.payloadFrom, reader.payloadTo);
    leftoverBytes += 4 + segment.length - reader.at;
    buffer.fill(0x21);
  }
  return { payload, reader, leftoverBytes };
}

test('chunks in any segmentation decode to their payload, and no byte behind them is consumed', () => {
  const data = fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 80 });
  fc.assert(
    fc.property(
      fc.array(data, { maxLength: 12 }),
      fc.array(fc.nat(2000), { maxLength: 12 }),
      fc.string({ unit: 'binary-ascii', maxLength: 10 }),
      (pieces, cuts, behind) => {
        const chunks = pieces.map((piece) => `${piece.length.toString(16)};x=y\r\n${piece}\r\n`).join('');
        const whole = Buffer.from(`${chunks}0\r\nX: 1\r\n\r\n${behind}`, 'latin1');
        const at = [0, ...cuts.map((cut) => cut % (whole.length + 1)).sort((a, b) => a - b), whole.length];
        const { payload, reader, leftoverBytes } = decode(
          at.slice(1).map((end, i) => whole.subarray(at[i], end)),
        );
        assert.equal(payload, pieces.join(''));
        assert.equal(reader.complete, true);
        assert.equal(reader.problem, '');
        assert.deepEqual(reader.trailers, ['X', '1']);
        assert.equal(leftoverBytes, behind.length);
      },
    ),
    { numRuns: 1_000 },
  );
});

test('chunk sizes of 16 digits are valid up to 2^53 - 1', () => {
  for (const [size, right] of [
    ['001fffffffffffff', true],
    ['0020000000000000', false],
    ['ffffffffffffffff', false],
    ['00000000000000000', false],
  ] as const) {
    const { reader } = decode([Buffer.from(`${size}\r\nx`)]);
    assert.equal(reader.problem === '', right, size);
  }
});
