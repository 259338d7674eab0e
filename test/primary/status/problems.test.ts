import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BackendState } from '../../../src/contract/health.ts';
import { findingsOf, type ProblemFacts, ProblemTimes } from '../../../src/primary/status/problems.ts';
import { settingsOf } from '../admin/harness.ts';

const SETTINGS = settingsOf(`
pools: { app: { backends: [{ url: "http://10.0.0.12" }, { url: "http://10.0.0.13", id: two }] } }
rateLimit: { policies: { default: {}, strict: { onStoreFailure: deny }, free: { onStoreFailure: allow } } }
`);
const NOW_MS = Date.UTC(2026, 0, 2, 14, 3, 59);
const SERVING = { index: 0, wanted: true, state: 'serving', report: null };

const stateOf = (state: BackendState['state'], reason: string | null, more: Partial<BackendState> = {}) =>
  ({ state, reason, lastProbe: null, ...more }) as BackendState;
const UP = stateOf('up', null);

function factsOf({
  states = {},
  ...more
}: Partial<ProblemFacts> & { states?: Record<string, BackendState> }): ProblemFacts {
  return {
    settings: SETTINGS,
    stateOf: (_pool, id) => states[id] ?? UP,
    panics: [],
    queueRefusedPerSec: () => 0,
    degraded: [],
    storeFailure: null,
    withoutStore: [],
    storeWorkers: null,
    databaseFailure: null,
    clientsLoaded: true,
    refusedReload: null,
    workers: [SERVING],
    restarts: new Map(),
    certificates: [],
    certificateFault: null,
    namesWithout: [],
    lostLines: 0,
    phase: 'ready',
    ...more,
  };
}

const textsOf = (facts: Parameters<typeof factsOf>[0]) =>
  new ProblemTimes()
    .problemsOf(findingsOf(factsOf(facts)), NOW_MS)
    .map(({ severity, text }) => `${severity} ${text}`);

test('nothing is wrong', () => {
  assert.deepEqual(textsOf({}), []);
});

test('a backend that is out is told with its reason in words', () => {
  const down = stateOf('down', '3 consecutive failures: ECONNREFUSED');
  assert.deepEqual(textsOf({ states: { '10.0.0.12:80': down } }), [
    'error backend 10.0.0.12:80 of pool app is down since 14:03 UTC: 3 consecutive failures: connection refused',
  ]);
  assert.match(
    textsOf({ states: { two: stateOf('down', '3 consecutive failures: HPE_INVALID_STATUS') } })[0] ?? '',
    /3 consecutive failures: an invalid status line$/,
  );
  assert.deepEqual(textsOf({ states: { two: stateOf('ejected', '5 consecutive errors: status 500') } }), [
    'warning backend two (10.0.0.13:80) of pool app is ejected since 14:03 UTC: 5 consecutive errors: status 500',
  ]);
  const lastProbe = { atMs: 0, ok: true, durationMs: 1, detail: 'status 200', resolverError: 'ENOTFOUND' };
  assert.deepEqual(textsOf({ states: { two: stateOf('up', null, { lastProbe }) } }), [
    'warning the name of backend two (10.0.0.13:80) of pool app does not resolve since 14:03 UTC: no such name',
  ]);
  assert.deepEqual(textsOf({ states: { two: stateOf('draining', 'drained by operator') } }), []);
});

test('a pool without a healthy backend, and one that panics', () => {
  const down = stateOf('down', 'first probe failed: timeout');
  const states = { '10.0.0.12:80': down, two: down };
  const panics = [{ pool: 'app', panic: 'shared' }];
  assert.match(
    textsOf({ states })[0] ?? '',
    /^error pool app has no healthy backend since .*: its requests get 503$/,
  );
  assert.match(textsOf({ states, panics })[0] ?? '', /: those that are down are tried all the same$/);
  const drained = { ...states, two: stateOf('draining', 'drained by operator') };
  assert.match(
    textsOf({ states: drained, panics })[0] ?? '',
    /: 1 of 2 are drained, those that are down are tried all the same$/,
  );
  const [, panic] = textsOf({ states: { two: down }, panics });
  assert.equal(
    panic,
    'warning pool app panics since 14:03 UTC: 1 of 2 backends are healthy, so those that are down are used too',
  );
  const unknown = stateOf('unknown', null);
  assert.deepEqual(
    textsOf({ states: { '10.0.0.12:80': unknown, two: unknown } }),
    [],
    'nothing is known yet',
  );
});

test('a pool whose queue is full', () => {
  const told = (perSec: number) => textsOf({ queueRefusedPerSec: () => perSec });
  assert.deepEqual(told(12.36), [
    'warning pool app refuses requests since 14:03 UTC: 12 per second; its backends are full, and so is its queue, or the wait there too long',
  ]);
  assert.match(told(0.1)[0] ?? '', /: 0\.1 per second;/);
});

test('stores that are away are told with what it costs', () => {
  assert.deepEqual(
    textsOf({
      degraded: ['redis', 'postgres'],
      storeWorkers: 8,
      storeFailure: 'connect ECONNREFUSED 127.0.0.1:6379',
      databaseFailure: 'connect ECONNREFUSED',
    }),
    [
      'error Redis is away since 14:03 UTC: each worker grants an eighth of each limit; requests under strict get 503; requests under free pass; connection refused 127.0.0.1:6379',
      'error the embedded database is away since 14:03 UTC: clients and keys stay as they were read last; connection refused',
    ],
  );
  const workers = [SERVING, { ...SERVING, index: 1 }];
  assert.match(
    textsOf({ degraded: ['redis'], workers, withoutStore: [1] })[0] ?? '',
    /^error Redis does not answer every worker since .*: worker 1 grants half of each limit/,
  );
  assert.match(
    textsOf({ degraded: ['redis'], storeWorkers: 31 })[0] ?? '',
    /each worker grants 1\/31 of each limit/,
  );
  assert.match(
    textsOf({ degraded: ['postgres'], clientsLoaded: false })[0] ?? '',
    /no clients and keys are known yet$/,
  );
});

test('names for which no certificate was issued are told, the first three by name', () => {
  const why =
    ': their handshakes fail, unless a file is for the name; the log has the reason of the authority';
  assert.deepEqual(textsOf({ namesWithout: ['a.test'] }), [
    `error no certificate was issued for a.test since 14:03 UTC${why}`,
  ]);
  assert.match(
    textsOf({ namesWithout: ['a', 'b', 'c', 'd', 'e'] })[0] ?? '',
    / for a, b, c and 2 more since /,
  );
});

test('workers, reloads, certificates and lost lines', () => {
  const report = { overload: 'shedding', overloadReason: 'event_loop_delay' } as const;
  const problems = [
    { line: 3, path: 'pools.app', message: 'is not a pool' },
    { line: null, path: null, message: 'x' },
  ];
  const facts = {
    restarts: new Map([
      ['worker 0', 2],
      ['worker 1', 4],
    ]),
    workers: [{ ...SERVING, report }],
    refusedReload: { revision: 7, problems },
    certificates: [{ text: 'the certificate of a.test expires on 2026-01-05T00:00:00.000Z', isOver: false }],
    certificateFault: 'cannot read a.pem: no such file',
    lostLines: 12,
  };
  assert.deepEqual(textsOf(facts), [
    'error worker 1 restarts again and again since 14:03 UTC: 4 times in the last ten minutes',
    'error the configuration file is refused since 14:03 UTC: revision 7 stays in force; 2 problems, the first: pools.app: is not a pool (line 3)',
    'warning worker 0 is overloaded since 14:03 UTC: it refuses new requests (event loop delay)',
    'warning the certificate of a.test expires on 2026-01-05T00:00:00.000Z',
    'warning changed certificate files cannot be used since 14:03 UTC: the old ones stay; cannot read a.pem: no such file',
    'warning lines of the log are lost since 14:03 UTC: 12 in the last minute: their reader stalls, or the disk is full',
  ]);
  const workers = [{ ...SERVING, state: 'dead' }];
  assert.match(textsOf({ workers })[0] ?? '', /^error no worker serves since/);
  assert.deepEqual(textsOf({ workers, phase: 'starting' }), []);
  assert.match(textsOf({ phase: 'draining' })[0] ?? '', /^warning Sluice drains since 14:03 UTC: it ends/);
});

test('a problem keeps the time at which it was first seen until it is over', () => {
  const times = new ProblemTimes();
  const down = factsOf({ states: { two: stateOf('down', 'first probe failed: timeout') } });
  const at = (facts: ProblemFacts, ms: number) => times.problemsOf(findingsOf(facts), NOW_MS + ms)[0];
  assert.equal(at(down, 0)?.since, new Date(NOW_MS).toISOString());
  assert.equal(at(down, 5_000)?.since, new Date(NOW_MS).toISOString());
  assert.match(at(down, 24 * 3_600_000)?.text ?? '', /is down since 2026-01-02 14:03 UTC: /);
  assert.equal(at(factsOf({}), 25 * 3_600_000), undefined);
  assert.equal(at(down, 26 * 3_600_000)?.since, new Date(NOW_MS + 26 * 3_600_000).toISOString());
});
