/** Viewers of live requests, and what workers are told of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PrimaryMessage } from '../../../src/contract/messages.ts';
import type { RequestFilter } from '../../../src/contract/request-watch.ts';
import { RequestWatch, type WatchedRequests } from '../../../src/primary/workers/request-watch.ts';

const ALL: RequestFilter = { client: null, route: null, status: null, slowerThanMs: null };

test('workers are told of each viewer and of its end, new ones too', () => {
  const sent: PrimaryMessage[] = [];
  const watch = new RequestWatch((message) => sent.push(message));
  const seen: WatchedRequests[] = [];
  const close = watch.open({ ...ALL, route: 'api' }, (requests) => seen.push(requests));
  assert.deepEqual(sent, [{ type: 'watch-requests', id: 1, filter: { ...ALL, route: 'api' } }]);
  const late: PrimaryMessage[] = [];
  watch.tell({ send: (message) => late.push(message) > 0 });
  assert.deepEqual(late, sent);
  watch.receive(3, { type: 'watched-requests', id: 1, lines: ['{}'], dropped: 2 });
  assert.deepEqual(seen, [{ worker: 3, lines: ['{}'], dropped: 2 }]);
  close();
  close();
  assert.deepEqual(sent.slice(1), [{ type: 'unwatch-requests', id: 1 }]);
  watch.receive(3, { type: 'watched-requests', id: 1, lines: ['{}'], dropped: 0 });
  assert.equal(seen.length, 1, 'what comes late is for nobody');
});
