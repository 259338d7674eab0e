/** Headers from others, and hostile ones. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc32c } from '../../../src/infra/proxy-protocol/crc32c.ts';
import { type HeaderResult, readProxyHeader } from '../../../src/infra/proxy-protocol/proxy-header-reader.ts';

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const V4_ADDRESSES = Buffer.from('c0000201c6336407dc0401bb', 'hex');

function v2(command: number, family: number, payload: Buffer, length = payload.length): Buffer {
  return Buffer.concat([SIGNATURE, Buffer.from([command, family, length >> 8, length & 0xff]), payload]);
}

function tlv(type: number, value: Buffer | string, length = Buffer.from(value).length): Buffer {
  return Buffer.concat([Buffer.from([type, length >> 8, length & 0xff]), Buffer.from(value)]);
}

/** A header for IPv4 with these extensions and a checksum. */
function withChecksum(extensions: Buffer, change = 0): Buffer {
  const empty = v2(0x21, 0x11, Buffer.concat([V4_ADDRESSES, extensions, tlv(0x03, Buffer.alloc(4))]));
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE((crc32c(empty) ^ change) >>> 0);
  return v2(0x21, 0x11, Buffer.concat([V4_ADDRESSES, extensions, tlv(0x03, sum)]));
}

const told = (result: HeaderResult) => (result.state === 'bad' ? result.problem : result.state);
const sourceOf = (result: HeaderResult) =>
  result.state === 'done' ? result.ends?.remoteAddress : told(result);
const line = (text: string) => readProxyHeader(Buffer.from(text, 'latin1'));

test('CRC-32C is that of RFC 3720', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
});

test('version 1: addresses come out in canonical form, UNKNOWN names nobody', () => {
  assert.equal(sourceOf(line('PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\n')), '1.2.3.4');
  assert.equal(sourceOf(line('PROXY TCP6 2001:DB8:0:0::1 ::1 1 2\r\n')), '2001:db8::1');
  assert.equal(sourceOf(line('PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n')), '1.2.3.4');
  for (const text of ['PROXY UNKNOWN\r\n', 'PROXY UNKNOWN ffff:f...f:ffff 1 any thing\r\n'])
    assert.deepEqual(line(text), { state: 'done', byteCount: text.length, ends: null });
});

test('version 1: what is not exactly the line is malformed, and more than 107 bytes are too long', () => {
  const bad = [
    'GET / HTTP/1.1\r\n',
    'PROXY\r\n',
    'proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n',
    'PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n',
    'PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n',
    'PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n',
    'PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n',
    'PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n',
    'PROXY TCP4 ::1 ::1 1 2\r\n',
    'PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n',
    'PROXY TCP6 fe80::1%lo ::1 1 2\r\n',
    'PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n',
    'PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n',
    'PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n',
    'PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n',
    'PROXY UNKNOWNS\r\n',
  ];
  for (const text of bad) assert.equal(told(line(text)), 'malformed', JSON.stringify(text));
  assert.equal(told(line('PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n')), 'more', 'a lone LF ends nothing');
  const longest = `PROXY UNKNOWN ${'x'.repeat(91)}\r\n`;
  assert.equal(longest.length, 107);
  assert.equal(told(line(longest)), 'done');
  assert.equal(told(line(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`)), 'too_long');
  assert.equal(told(line(`PROXY ${'x'.repeat(101)}`)), 'too_long');
});

test('version 2: extensions are skipped, LOCAL and families without an address name nobody', () => {
  const extensions = Buffer.concat([
    tlv(0x01, 'h2'),
    tlv(0x02, 'example.com'),
    tlv(0x04, ''),
    tlv(0xea, 'x'.repeat(300)),
  ]);
  assert.equal(
    sourceOf(readProxyHeader(v2(0x21, 0x11, Buffer.concat([V4_ADDRESSES, extensions])))),
    '192.0.2.1',
  );
  const mapped = Buffer.from(`${'0'.repeat(20)}ffffc0000201${'0'.repeat(31)}100010002`, 'hex');
  assert.equal(sourceOf(readProxyHeader(v2(0x21, 0x21, mapped))), '192.0.2.1');
  const nobody = [
    v2(0x20, 0x00, Buffer.alloc(0)),
    v2(0x20, 0x11, V4_ADDRESSES),
    v2(0x20, 0x11, Buffer.from('anything')),
    v2(0x21, 0x00, Buffer.from('anything')),
    v2(0x21, 0x12, V4_ADDRESSES),
    v2(0x21, 0x31, Buffer.alloc(216)),
  ];
  for (const header of nobody)
    assert.deepEqual(readProxyHeader(header), { state: 'done', byteCount: header.length, ends: null });
});

test('version 2: another version, command, family, or a length that does not fit is malformed; above 4096 bytes it is too long', () => {
  const bad = [
    v2(0x11, 0x11, V4_ADDRESSES),
    v2(0x22, 0x11, V4_ADDRESSES),
    v2(0x21, 0x41, V4_ADDRESSES),
    v2(0x21, 0x13, V4_ADDRESSES),
    v2(0x21, 0x11, V4_ADDRESSES.subarray(0, 11)),
    v2(0x21, 0x21, V4_ADDRESSES),
    v2(0x21, 0x11, Buffer.concat([V4_ADDRESSES, Buffer.from([0x04])])),
    v2(0x21, 0x11, Buffer.concat([V4_ADDRESSES, tlv(0x04, 'x', 2)])),
    v2(0x21, 0x11, Buffer.concat([V4_ADDRESSES, tlv(0x03, 'xxx')])),
    Buffer.concat([SIGNATURE.subarray(0, 11), Buffer.from('X')]),
  ];
  for (const header of bad) assert.equal(told(readProxyHeader(header)), 'malformed', header.toString('hex'));
  assert.equal(told(readProxyHeader(v2(0x21, 0x11, Buffer.alloc(0), 4080))), 'more');
  assert.equal(told(readProxyHeader(v2(0x21, 0x11, Buffer.alloc(0), 4081))), 'too_long');
  assert.equal(told(readProxyHeader(v2(0x21, 0x11, Buffer.alloc(0), 65_535))), 'too_long');
});

test('version 2: a checksum is verified where it is present', () => {
  assert.equal(sourceOf(readProxyHeader(withChecksum(Buffer.alloc(0)))), '192.0.2.1');
  const header = withChecksum(tlv(0x02, 'example.com'));
  assert.equal(sourceOf(readProxyHeader(header)), '192.0.2.1');
  assert.equal(told(readProxyHeader(withChecksum(Buffer.alloc(0), 1))), 'checksum');
  // Every changed byte behind the length is noticed, but for the type of the checksum itself, which then is another extension.
  for (let at = 16; at < header.length; at++) {
    const changed = Buffer.from(header);
    changed[at]! ^= 0x01;
    const isType = at === header.length - 7;
    assert.equal(readProxyHeader(changed).state, isType ? 'done' : 'bad', `byte ${at}`);
  }
});

test('no bytes make the reader throw, read past the end, or change its mind about a prefix', () => {
  const start = fc.constantFrom(
    Buffer.alloc(0),
    Buffer.from('PROXY '),
    Buffer.from('PROXY TCP4 '),
    SIGNATURE,
  );
  const version = fc.constantFrom(
    Buffer.alloc(0),
    Buffer.from([0x21, 0x11, 0, 30]),
    Buffer.from([0x20, 0x21, 1, 0]),
  );
  fc.assert(
    fc.property(start, version, fc.uint8Array({ maxLength: 400 }), (head, kind, tail) => {
      const bytes = Buffer.concat([head, kind, tail]);
      const whole = readProxyHeader(bytes);
      if (whole.state === 'done') assert.ok(whole.byteCount <= bytes.length);
      // What is decided for a prefix stays decided.
      for (let size = 0; size < bytes.length; size += 7) {
        const part = readProxyHeader(bytes.subarray(0, size));
        if (part.state !== 'more') assert.deepEqual(part, whole);
      }
    }),
    { numRuns: 2_000 },
  );
});
