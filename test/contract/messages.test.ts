import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePrimaryMessage, parseWorkerMessage } from '../../src/contract/messages.ts';

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
