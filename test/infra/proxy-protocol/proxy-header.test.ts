/** What is written is what is read, and what HAProxy's definition says. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxyHeader } from '../../../src/infra/proxy-protocol/proxy-header.ts';
import { readProxyHeader } from '../../../src/infra/proxy-protocol/proxy-header-reader.ts';

const V4 = { remoteAddress: '192.0.2.1', remotePort: 56_324, localAddress: '198.51.100.7', localPort: 443 };
const V6 = { remoteAddress: '2001:db8::1', remotePort: 1, localAddress: '2001:db8::2', localPort: 65_535 };
const hex = (text: string) => Buffer.from(text, 'latin1').toString('hex');
const SIGNATURE = '0d0a0d0a000d0a515549540a';

test('version 1 is a line with both addresses and ports', () => {
  assert.equal(proxyHeader('v1', V4), 'PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n');
  assert.equal(proxyHeader('v1', V6), 'PROXY TCP6 2001:db8:0:0:0:0:0:1 2001:db8:0:0:0:0:0:2 1 65535\r\n');
});

test('version 2 is the signature, the command, the family, the length, addresses and ports', () => {
  assert.equal(hex(proxyHeader('v2', V4)), `${SIGNATURE}2111000cc0000201c6336407dc0401bb`);
  const addresses = '20010db8000000000000000000000001' + '20010db8000000000000000000000002';
  assert.equal(hex(proxyHeader('v2', V6)), `${SIGNATURE}21210024${addresses}0001ffff`);
});

test('IPv4 that is mapped into IPv6 is IPv4; where only one end is IPv4 it is mapped', () => {
  const mapped = { ...V4, remoteAddress: '::ffff:192.0.2.1', localAddress: '::ffff:198.51.100.7' };
  for (const version of ['v1', 'v2'] as const)
    assert.equal(proxyHeader(version, mapped), proxyHeader(version, V4));
  const mixed = { ...V6, localAddress: '198.51.100.7' };
  assert.equal(
    proxyHeader('v1', mixed),
    'PROXY TCP6 2001:db8:0:0:0:0:0:1 0:0:0:0:0:ffff:c633:6407 1 65535\r\n',
  );
});

test('without a client, or with one on a Unix socket, the header names nobody', () => {
  for (const ends of [null, {}]) {
    assert.equal(proxyHeader('v1', ends), 'PROXY UNKNOWN\r\n');
    assert.equal(hex(proxyHeader('v2', ends)), `${SIGNATURE}20000000`);
  }
});

test('the reader reads what was written, and takes exactly its bytes', () => {
  for (const version of ['v1', 'v2'] as const) {
    for (const ends of [V4, V6, null]) {
      const header = Buffer.from(proxyHeader(version, ends), 'latin1');
      const followed = Buffer.concat([header, Buffer.from('GET / HTTP/1.1\r\n')]);
      assert.deepEqual(readProxyHeader(followed), { state: 'done', byteCount: header.length, ends });
      for (let size = 0; size < header.length; size++)
        assert.deepEqual(readProxyHeader(header.subarray(0, size)), { state: 'more' }, `${size} bytes`);
    }
  }
});
