import assert from 'node:assert/strict';
import { test } from 'node:test';
import { areRivals, listenKey } from '../../src/contract/orphans.ts';

const tcp = (host: string | null, port = 8080) => listenKey({ kind: 'tcp', host, port }) ?? '';
const unix = (path: string) => listenKey({ kind: 'unix', path }) ?? '';

test('instances at different addresses of one port are no rivals: one leaves the sockets of the other alone', () => {
  assert.equal(areRivals(tcp('127.0.0.1'), tcp('127.0.0.2')), false);
  assert.equal(areRivals(tcp('127.0.0.1'), tcp('127.0.0.1', 8081)), false);
  assert.equal(areRivals(tcp('::1'), tcp('127.0.0.1')), false);
  assert.equal(areRivals(unix('/run/a'), unix('/run/b')), false);
  assert.equal(areRivals(unix('/run/a:8080'), tcp(null)), false);
});

test('instances that cannot listen at the same time are rivals', () => {
  for (const all of [null, '0.0.0.0', '::', 'localhost']) {
    assert.ok(areRivals(tcp('127.0.0.1'), tcp(all)));
    assert.ok(areRivals(tcp(all), tcp('::1')));
    assert.ok(areRivals(tcp(all), tcp(null)));
  }
  assert.ok(areRivals(tcp('::1'), tcp('::1')));
  assert.ok(areRivals(unix('/run/a'), unix('/run/a')));
  assert.equal(listenKey({ kind: 'tcp', host: null, port: 0 }), null);
});
