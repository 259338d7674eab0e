import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HpackDecoder } from '../../src/http2/hpack-decoder.ts';
import { HpackEncoder } from '../../src/http2/hpack-encoder.ts';
import { usedBytes } from '../proxy/bodies/memory.ts';

const LIMITS = { maxFields: 5_000, maxListBytes: 1_000_000 };

/** An encoder with the decoder that reads all its blocks. */
class Pair {
  readonly encoder = new HpackEncoder();
  readonly #decoder = new HpackDecoder(LIMITS);

  /** send encodes, checks what is decoded, and gives the block as hex. */
  send(...fields: string[]): string {
    const block = this.encoder.encode(fields);
    const hex = block.toString('hex');
    const expected = fields.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text));
    assert.deepEqual(this.#decoder.decode(block, 0, block.length), expected);
    return hex;
  }
}

const hexOf = (text: string) => Buffer.from(text, 'latin1').toString('hex');

test('fields of the static table are one byte', () => {
  const sent = new Pair().send(
    ':status',
    '200',
    ':method',
    'POST',
    ':path',
    '/',
    'accept-encoding',
    'gzip, deflate',
  );
  assert.equal(sent, '88838490');
  assert.equal(new Pair().send('accept', ''), '93');
});

test('a value that comes a second time in a row gets into the table, and is one byte from then on', () => {
  const pair = new Pair();
  assert.equal(
    pair.send('server', 'sluice'),
    `0f2706${hexOf('sluice')}`,
    'without indexing, with the name of the static table',
  );
  assert.equal(pair.send('server', 'sluice'), `7606${hexOf('sluice')}`, 'with indexing');
  assert.equal(pair.send('server', 'sluice'), 'be');
  assert.equal(pair.send('server', 'other'), `0f2705${hexOf('other')}`);
  assert.equal(pair.send('server', 'sluice'), 'be');
});

test('values that change each time never get into the table', () => {
  const pair = new Pair();
  for (let i = 0; i < 3; i++) pair.send('server', 'sluice');
  for (let i = 0; i < 500; i++) {
    assert.equal(pair.send('x-request-id', `id-${i}`).startsWith('00'), true);
    assert.equal(pair.send('server', 'sluice'), 'be');
  }
});

test('a name that is in the dynamic table is sent as its index', () => {
  const pair = new Pair();
  pair.send('x-name', 'a');
  pair.send('x-name', 'a');
  assert.equal(pair.send('x-name', 'b'), '0f2f0162');
});

test('credentials and cookies are never indexed, here and at the next hops', () => {
  const pair = new Pair();
  for (const [name, start] of [
    ['authorization', '1f08'],
    ['proxy-authorization', '1f22'],
    ['Cookie', '1f11'],
    ['set-cookie', '1f28'],
    ['X-Api-Key', `1009${hexOf('x-api-key')}`],
  ] as const) {
    for (let i = 0; i < 4; i++) assert.equal(pair.send(name, 'secret'), `${start}06${hexOf('secret')}`, name);
  }
});

test('names are sent in lower case, in whatever case they come', () => {
  const pair = new Pair();
  for (const name of [
    'Content-Type',
    'content-type',
    'CONTENT-TYPE',
    'X-Some-Name',
    'x-some-name',
    'X-SOME-NAME',
  ]) {
    for (let i = 0; i < 3; i++) pair.send(name, 'text/plain');
  }
  assert.equal(pair.send('Content-Type', 'text/plain'), pair.send('content-type', 'text/plain'));
  pair.send(`X-${'Long'.repeat(1000)}`, 'x');
});

test('texts of any length are sent, with any byte of latin1', () => {
  const pair = new Pair();
  for (const length of [0, 1, 7, 8, 9, 126, 127, 128, 254, 255, 256, 2_015, 2_016, 16_383, 16_384, 100_000]) {
    for (let i = 0; i < 3; i++) pair.send('x', '\xe9'.repeat(length), 'content-length', '1');
  }
  pair.send(...Array.from({ length: 4_000 }, (_, i) => (i % 2 === 0 ? `name-${i}` : `${i}`)));
});

test('the block after a change of the size of the table begins with the smallest size and the last one', () => {
  const pair = new Pair();
  pair.encoder.limitTable(65_536);
  assert.equal(pair.send(':status', '200'), '88', 'nothing changes above 4,096 bytes');
  pair.encoder.limitTable(100);
  assert.equal(pair.send(':status', '200'), '3f4588');
  assert.equal(pair.send(':status', '200'), '88');
  pair.encoder.limitTable(0);
  pair.encoder.limitTable(200);
  assert.equal(pair.send(':status', '200'), '203fa90188');
  pair.encoder.limitTable(65_536);
  assert.equal(pair.send(':status', '200'), '3fe11f88', '4,096 at most');
  pair.encoder.limitTable(10);
  pair.encoder.limitTable(4_096);
  assert.equal(pair.send(':status', '200'), '2a3fe11f88');
});

test('a table of size 0 gets no entries, and gets them again when it may grow', () => {
  const pair = new Pair();
  for (let i = 0; i < 3; i++) pair.send('server', 'sluice');
  pair.encoder.limitTable(0);
  for (let i = 0; i < 4; i++) assert.match(pair.send('server', 'sluice'), /0f2706[0-9a-f]{12}$/);
  pair.encoder.limitTable(4_096);
  pair.send('server', 'sluice');
  pair.send('server', 'sluice');
  assert.equal(pair.send('server', 'sluice'), 'be');
});

test('entries that were pushed out are sent as literals', () => {
  const pair = new Pair();
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 60; i++) for (let j = 0; j < 3; j++) pair.send(`name-${i}`, 'x'.repeat(i * 5));
  }
});

test('a value in the table does not keep the head that it was cut from', () => {
  const before = usedBytes();
  const encoders = Array.from({ length: 400 }, (_, i) => {
    const encoder = new HpackEncoder();
    const value = `a value of the head ${i}`;
    const cut = Buffer.from(value.padEnd(16_384)).toString('latin1').slice(0, value.length);
    for (let times = 0; times < 2; times++) encoder.encode(['server', cut]);
    return encoder;
  });
  const heldBytes = usedBytes() - before;
  assert.ok(heldBytes < 3e6, `${heldBytes} bytes are held`);
  assert.equal(encoders[0]?.encode(['server', 'a value of the head 0']).toString('hex'), 'be');
});

test('an entry of more than half of the table is not worth the others', () => {
  const pair = new Pair();
  for (let i = 0; i < 3; i++) pair.send('server', 'sluice');
  for (let i = 0; i < 3; i++) pair.send('csp', 'x'.repeat(2_014));
  assert.equal(pair.send('server', 'sluice'), 'be');
});
