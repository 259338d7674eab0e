import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PROTOCOL_TEXT, parsePrimaryMessage, parseWorkerMessage } from '../../src/contract/messages.ts';
import { sluiceVersion } from '../../src/infra/build-info.ts';
import { PROTOCOL_VERSION, protocolVersionOf } from '../../src/infra/protocol-version.ts';

test('unknown and malformed messages are refused at both ends', () => {
  for (const raw of [
    null,
    'ready',
    {},
    { type: 'nonsense' },
    { type: 'ready', addresses: [], revision: '1' },
    { type: 'drain', graceMs: 1 },
    { type: 'stop', extra: true },
  ]) {
    assert.equal(parsePrimaryMessage(raw), null);
    assert.equal(parseWorkerMessage(raw), null);
  }
});

test('messages are the same after JSON', () => {
  const takes = {
    type: 'bucket-takes',
    id: 7,
    takes: [
      {
        key: '{h}:default',
        capacity: 5,
        rateMicro: 1,
        versionUs: 1,
        need: 1,
        partial: true,
        ahead: 0,
        ret: 0,
        spent: 0,
        retEpoch: 0,
        refund: 0,
        refundEpoch: 0,
      },
    ],
  };
  assert.deepEqual(parseWorkerMessage(JSON.parse(JSON.stringify(takes))), takes);
  const clients = {
    type: 'clients',
    part: 7,
    begins: false,
    complete: true,
    records: 'AAAA',
  };
  assert.deepEqual(parsePrimaryMessage(JSON.parse(JSON.stringify(clients))), clients);
});

test('what workers answer to questions of the admin port is checked to the last field', () => {
  const caller = { name: 'acme', isClient: true, requestsPerSec: 1.5, limitedPerSec: 0 };
  const top = { type: 'top-callers', id: 1, items: [caller], totalPerSec: 2, errorPerSec: 0 };
  assert.deepEqual(parseWorkerMessage(top), top);
  assert.equal(parseWorkerMessage({ ...top, items: [{ ...caller, limitedPerSec: '0' }] }), null);
  const seen = { type: 'watched-requests', id: 1, lines: ['{}'], dropped: 3 };
  assert.deepEqual(parseWorkerMessage(seen), seen);
  assert.equal(parseWorkerMessage({ ...seen, lines: [{}] }), null);
  const secs = { type: 'seen-clients', id: 1, seenSecs: [0, 1_796_000_000] };
  assert.deepEqual(parseWorkerMessage(secs), secs);
  assert.equal(parseWorkerMessage({ ...secs, seenSecs: [null] }), null);
  const list = { type: 'list-seen', id: 1, clientIds: ['acme'] };
  assert.deepEqual(parsePrimaryMessage(list), list);
  assert.equal(parsePrimaryMessage({ ...list, clientIds: 'acme' }), null);
  assert.equal(parseWorkerMessage({ type: 'explained', id: 1, explanation: { route: 'api' } }), null);
  const filter = { client: null, route: 'api', status: { from: 500, to: 599 }, slowerThanMs: null };
  const watch = { type: 'watch-requests', id: 1, filter };
  assert.deepEqual(parsePrimaryMessage(watch), watch);
  assert.equal(parsePrimaryMessage({ ...watch, filter: { ...filter, status: 500 } }), null);
});

test('the version of the protocol is made of every message of both ends, and of the columns of audited requests', () => {
  for (const part of ['"patient":"boolean"', '"openFiles":"number"', 'bytes_out, total_ms'])
    assert.ok(PROTOCOL_TEXT.includes(part), part);
});

test('another shape of a message, another column and another version of the product each make another version of the protocol', () => {
  const product = sluiceVersion();
  const others = [
    [product, PROTOCOL_TEXT.replace('"patient":"boolean"', '"patient":"number"')],
    [product, PROTOCOL_TEXT.replace('bytes_out, total_ms', 'bytes_out, more, total_ms')],
    [`${product}-1`, PROTOCOL_TEXT],
  ] as const;
  const versions = others.map(([version, shapes]) => protocolVersionOf(version, shapes));
  assert.equal(PROTOCOL_VERSION, protocolVersionOf(product, PROTOCOL_TEXT));
  assert.equal(new Set([PROTOCOL_VERSION, ...versions]).size, 4);
});
