import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE, Http2Error } from '../../src/http2/frames.ts';
import { HpackDecoder } from '../../src/http2/hpack-decoder.ts';
import { integer, prefixed } from '../support/h2-frames.ts';

const LIMITS = { maxFields: 1000, maxListBytes: 65_536 };

const indexed = (index: number) => prefixed(0x80, 7, index);
const sized = (bytes: number) => prefixed(0x20, 5, bytes);
const text = (value: string) => Buffer.concat([integer(value.length, 7), Buffer.from(value, 'latin1')]);
/** A field that gets into the table. */
const added = (name: string, value: string) => Buffer.concat([Buffer.from([0x40]), text(name), text(value)]);
const literal = (name: string, value: string) => Buffer.concat([Buffer.from([0]), text(name), text(value)]);

function decode(decoder: HpackDecoder, ...parts: (Buffer | string)[]): string[] | null {
  const block = Buffer.concat(
    parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'hex') : part)),
  );
  return decoder.decode(block, 0, block.length);
}

const isCompressionError = (error: unknown) =>
  error instanceof Http2Error && error.http2Code === CODE.COMPRESSION_ERROR;

const BROKEN: Record<string, (Buffer | string)[]> = {
  'index 0': ['80'],
  'an index that no table has': [indexed(62)],
  'an index above the dynamic table': [added('a', 'b'), indexed(63)],
  'a name with an index that no table has': [prefixed(0x40, 6, 62), text('x')],
  'an index that is cut': ['ff'],
  'an index that is cut in its second byte': ['ff80'],
  'an index of more than 32 bits': ['ffffffffff10'],
  'a field without a name': ['40'],
  'a name that is cut': ['400361'],
  'a field without a value': ['400161'],
  'a value that is cut': ['4001610562'],
  'a length that is cut': ['4001617f'],
  'a length of more than 32 bits': ['4001617fffffffff7f'],
  'a Huffman-coded value that is cut': ['40016183ff'],
  'a table size above our limit': [sized(4097)],
  'a table size that is cut': ['3f'],
  'a table size behind a field': ['82', sized(0)],
  'a table size behind a literal': [literal('a', 'b'), sized(100), '82'],
  'Huffman code with padding of zeros': ['40016181', '18'],
  'Huffman code with 8 bits of padding': ['40016182', '1fff'],
  'Huffman code of padding alone': ['40016181', 'ff'],
  'Huffman code with EOS': ['40016184', 'ffffffff'],
  'Huffman code with EOS behind a character': ['40016185', '1fffffffff'],
  'Huffman code that is cut in a long code': ['40016183', 'fffffe'],
};

for (const [name, parts] of Object.entries(BROKEN)) {
  test(`${name} is a COMPRESSION_ERROR`, () => {
    assert.throws(() => decode(new HpackDecoder(LIMITS), ...parts), isCompressionError);
    const few = new HpackDecoder({ maxFields: 0, maxListBytes: 0 });
    assert.throws(() => decode(few, '84', ...parts), isCompressionError, 'above the limits too');
  });
}

test('a number may have 5 bytes behind the first one, though they are zeros, and no more', () => {
  const value = 'x'.repeat(127);
  assert.deepEqual(decode(new HpackDecoder(LIMITS), '4001617f8080808000', Buffer.from(value)), ['a', value]);
  const decoder = new HpackDecoder(LIMITS);
  assert.throws(() => decode(decoder, '4001617f808080808000', Buffer.from(value)), isCompressionError);
});

test('a field that goes on behind the end of the block is cut', () => {
  for (const [hex, to] of [
    ['ff00', 1],
    ['40016102626382', 5],
    ['40016102626382', 3],
    ['40016102626382', 2],
  ] as const) {
    assert.throws(() => new HpackDecoder(LIMITS).decode(Buffer.from(hex, 'hex'), 0, to), isCompressionError);
  }
});

test('Huffman code ends with up to 7 ones, or with its last character', () => {
  const value = (hex: string) => decode(new HpackDecoder(LIMITS), '400161', hex)?.[1];
  assert.equal(value('811f'), 'a');
  assert.equal(value('80'), '');
  assert.equal(value('8518c6318c63'), 'aaaaaaaa');
  assert.equal(value('82fe3f'), '!');
  assert.equal(value('84fffffff3'), '\n', 'the longest code, without padding but for two bits');
});

test('the oldest entries leave the table when others need their room', () => {
  const decoder = new HpackDecoder(LIMITS);
  // Room for two entries of 34 bytes.
  decode(decoder, sized(70), added('a', '1'), added('b', '2'), added('c', '3'));
  assert.deepEqual(decode(decoder, indexed(62), indexed(63)), ['c', '3', 'b', '2']);
  assert.throws(() => decode(decoder, indexed(64)), isCompressionError);
});

test('an entry that is larger than the table empties it', () => {
  const decoder = new HpackDecoder(LIMITS);
  const large = 'x'.repeat(4096 - 32);
  assert.deepEqual(decode(decoder, added('a', '1'), added('b', large)), ['a', '1', 'b', large]);
  assert.throws(() => decode(decoder, indexed(62)), isCompressionError);
});

test('an entry that fills the table is kept', () => {
  const decoder = new HpackDecoder(LIMITS);
  const value = 'x'.repeat(4096 - 32 - 1);
  decode(decoder, added('a', '1'), added('b', value));
  assert.deepEqual(decode(decoder, indexed(62)), ['b', value]);
  assert.throws(() => decode(decoder, indexed(63)), isCompressionError);
});

test('the name of an entry can be used for the entry that pushes it out', () => {
  const decoder = new HpackDecoder(LIMITS);
  decode(decoder, sized(40), added('name', '1'));
  assert.deepEqual(decode(decoder, prefixed(0x40, 6, 62), text('2345')), ['name', '2345']);
  assert.deepEqual(decode(decoder, indexed(62)), ['name', '2345']);
});

test('several table sizes may begin a block, and the table is empty after size 0', () => {
  const decoder = new HpackDecoder(LIMITS);
  decode(decoder, added('a', '1'));
  assert.deepEqual(decode(decoder, sized(0), sized(4096), added('b', '2'), indexed(62)), [
    'b',
    '2',
    'b',
    '2',
  ]);
  assert.throws(() => decode(decoder, indexed(63)), isCompressionError);
  assert.deepEqual(decode(new HpackDecoder(LIMITS), sized(0)), []);
});

test('the table works for ever, however many entries come and go', () => {
  const decoder = new HpackDecoder(LIMITS);
  for (let i = 0; i < 2_000; i++) {
    decode(decoder, sized(i % 97 === 0 ? 300 : 4096), added(`name-${i}`, 'x'.repeat(i % 50)));
    const [name, value] = decode(decoder, indexed(62)) ?? [];
    assert.deepEqual([name, value], [`name-${i}`, 'x'.repeat(i % 50)]);
  }
  // 4096 / 32 = 128 entries of no bytes: the largest number there can be.
  for (let i = 0; i < 200; i++) decode(decoder, '400000');
  assert.deepEqual(decode(decoder, indexed(61 + 128)), ['', '']);
  assert.throws(() => decode(decoder, indexed(61 + 129)), isCompressionError);
});

test('a block with too many fields or bytes gives null, and the table stays in step', () => {
  const decoder = new HpackDecoder({ maxFields: 3, maxListBytes: 200 });
  assert.equal(decode(decoder, '82848586'), null, 'four fields');
  const roomy = new HpackDecoder({ maxFields: 3, maxListBytes: 65_536 });
  assert.equal(decode(roomy, '8284858682'), null, 'five fields');
  assert.equal(decode(decoder, '828485')?.length, 6);
  assert.equal(decode(decoder, '82', literal('a', 'x'.repeat(200)), added('b', '2')), null, 'too many bytes');
  assert.deepEqual(decode(decoder, indexed(62)), ['b', '2']);
  // 32 + 1 + 167 = 200.
  assert.deepEqual(decode(decoder, literal('a', 'x'.repeat(167))), ['a', 'x'.repeat(167)]);
  assert.equal(decode(decoder, literal('a', 'x'.repeat(168))), null);
});

test('a block that repeats a large entry is counted with all its bytes, and costs next to nothing', () => {
  const decoder = new HpackDecoder(LIMITS);
  // No connection takes such a block. The peak of the process shows what its fields cost while it is read.
  const block = Buffer.concat([added('a', 'x'.repeat(4_000)), Buffer.alloc(20_000_000, 0xbe)]);
  const peakKib = () => process.resourceUsage().maxRSS;
  const before = peakKib();
  assert.equal(decoder.decode(block, 0, block.length), null);
  assert.ok(peakKib() - before < 50_000, `${peakKib() - before} KiB`);
});

test('bytes that no field may have are told of, in literals and in entries that have them', () => {
  const decoder = new HpackDecoder(LIMITS);
  const isMalformed = (...parts: Buffer[]) => {
    decode(decoder, ...parts);
    return decoder.isMalformed;
  };
  for (const name of ['', ':', 'A', 'a b', 'a:', '::a', 'a\0', 'a\x7f', '\xe4', 'a\r\n', 'a(']) {
    assert.ok(isMalformed(literal(name, 'x')), JSON.stringify(name));
  }
  for (const value of ['\0', 'a\nb', 'a\r', '\x7f', '\x1f', ' a', 'a ', '\ta', 'a\t', ' ']) {
    assert.ok(isMalformed(literal('a', value)), JSON.stringify(value));
  }
  for (const [name, value] of [
    [':a', ''],
    ["!#$%&'*+-.^_`|~09az", 'a b\tc'],
    ['a', '\x80\xff'],
  ] as const)
    assert.equal(isMalformed(literal(name, value)), false);

  assert.ok(isMalformed(added('a', 'x\n')));
  assert.ok(isMalformed(indexed(62)), 'an entry with a bad value');
  assert.equal(isMalformed(prefixed(0, 4, 62), text('good')), false, 'its name is good');
  assert.ok(isMalformed(added('A', 'x')));
  assert.ok(isMalformed(prefixed(0x40, 6, 62), text('good')), 'a bad name from the table');
  assert.ok(isMalformed(indexed(62), Buffer.from([0x82])), 'an entry made with it');
  assert.equal(isMalformed(Buffer.from([0x82])), false);
});
