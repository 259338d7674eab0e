/** What `explain` says of backends, and of very many routes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { routeSettings } from '../../support/settings.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { pool, startProxy } from '../support.ts';
import { explain, headOf } from './support.ts';

test('backends that are down, drained, in a panic, backups or full are told apart', async (t) => {
  const backend = (id: string, port: number, more = {}) => ({
    ...{ id, host: '127.0.0.1', port, tls: false, weight: 1, backup: false },
    ...more,
  });
  const backends = [
    backend('a', 1),
    backend('b', 2),
    backend('zero', 3, { weight: 0 }),
    backend('spare', 4, { backup: true }),
  ];
  const app = pool('app', [], {
    backends,
    limits: { maxConcurrentPerBackend: 1, queue: 5, queueTimeoutMs: 100 },
  });
  const proxy = await startProxy(t, { pools: [app], routes: [routeSettings('all')] });
  const seen = () => {
    const { backends: shown, lacking, steps } = explain(proxy, headOf('GET /'));
    return {
      tried: shown
        .filter((each) => each.wouldBeTried)
        .map(({ id }) => id)
        .join(),
      shown,
      lacking,
      last: steps.at(-1),
    };
  };
  const standing = (id: string, to: 'up' | 'out' | 'off') => {
    proxy.backend(id).standing = to;
  };
  assert.equal(seen().tried, 'a,b');
  assert.deepEqual(
    seen().shown.map(({ why }) => why),
    [
      'it takes requests',
      'it takes requests',
      'its weight is 0',
      'it is a backup: tried while no other takes requests',
    ],
  );
  standing('a', 'out');
  assert.deepEqual([seen().tried, seen().shown[0]?.why], ['b', 'it is down or ejected']);
  proxy.backend('b').enter();
  assert.equal(seen().last, 'Pool app would let it wait for room, because these are full: b.');
  const { queue } = proxy.plan().router.find('', '/', 'GET')?.pool ?? assert.fail('no pool');
  const waiting = Array.from({ length: 5 }, () => ({ isChoosy: false, tryQueued: () => false }));
  for (const each of waiting) queue.add(each);
  assert.deepEqual(
    [seen().lacking, seen().tried, seen().last],
    ['queue_full', '', 'The backends of pool app are full, and so is its queue in this worker.'],
  );
  for (const each of waiting) queue.remove(each);
  proxy.backend('b').leave();
  standing('b', 'off');
  assert.deepEqual(
    [seen().tried, seen().shown[1]?.why],
    ['spare', 'it is drained, or has no probe result yet'],
  );
  standing('spare', 'out');
  assert.deepEqual(
    [seen().tried, seen().lacking, seen().last],
    ['', 'no_backend', 'No backend of pool app takes requests.'],
  );
  proxy.plan().learn({ states: [], panics: [{ pool: 'app', panic: 'shared' }] });
  assert.equal(seen().tried, 'a');
  assert.match(seen().shown[0]?.why ?? '', /its pool panics: on trial/);
});

test('hundreds of routes make an answer of bounded size, with the one that matters', async (t) => {
  const backend = await startCapturingBackend(t);
  const many = Array.from({ length: 1_500 }, (_, i) => routeSettings(`r${i}`, { path: `/r${i}` }));
  const proxy = await startProxy(t, { backends: [backend], routes: many });
  const startMs = performance.now();
  const { routes, leftOut, route: taken } = explain(proxy, headOf('GET /r1400'));
  assert.deepEqual([routes.length, leftOut, taken, routes.at(-1)?.matched], [1_001, 499, 'r1400', true]);
  assert.ok(performance.now() - startMs < 200);
});
