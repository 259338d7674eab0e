import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LbError } from '../../../src/contract/errors.ts';
import { configView } from '../../../src/primary/admin/config-view.ts';
import { Authority } from '../../support/certificates.ts';
import { parseConfig } from '../../support/parse-config.ts';
import { assertProblem, CONFIG, type Json, settingsOf, startAdmin } from './harness.ts';

test('/livez is 200 in every phase; /readyz only while ready with a serving worker', async (t) => {
  const { call, parts } = await startAdmin(t);
  for (const { id } of parts.settings.pools[0]?.backends ?? [])
    parts.registry.record('app', id, { atMs: 0, ok: true, durationMs: 1, detail: 'status 200' });
  parts.settings = { ...parts.settings, redis: settingsOf(`${CONFIG}\nredis: {}\n`).redis };
  const away = { storeConnected: false, databaseAway: true };
  const cases: [Partial<typeof parts.now>, number, string, string[]][] = [
    [{ phase: 'starting', serving: 1 }, 503, 'starting', []],
    [{ phase: 'ready', serving: 1 }, 200, 'ready', []],
    [{ phase: 'ready', serving: 2, ...away }, 200, 'ready', ['redis', 'postgres']],
    [{ phase: 'ready', serving: 0, storeConnected: true, databaseAway: false }, 503, 'starting', []],
    [{ phase: 'draining', serving: 2 }, 503, 'draining', []],
  ];
  for (const [change, status, shown, degraded] of cases) {
    const { serving } = Object.assign(parts.now, change);
    const answer = await call({ path: '/readyz' });
    assert.equal(answer.status, status);
    assert.deepEqual(answer.json, { status: shown, degraded, workers: { serving, wanted: 2 } });
    const alive = await call({ path: '/livez' });
    assert.deepEqual([alive.status, alive.json], [200, { status: 'alive' }]);
  }
  parts.registry.setEnabled('bare', '127.0.0.1:8083', false);
  const { json } = await call({ path: '/readyz' });
  assert.deepEqual((json as { degraded: string[] }).degraded, ['backends'], 'the only backend is drained');
});

test('B35: /metrics is the Prometheus text as the registry rendered it', async (t) => {
  const { call, parts } = await startAdmin(t);
  const answer = await call({ path: '/metrics' });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  assert.equal(answer.text, await parts.metrics());
  parts.metrics = async () => {
    throw new Error('secret host db-7');
  };
  const failed = await call({ path: '/metrics' });
  assertProblem(failed, 500);
  assert.doesNotMatch(failed.text, /db-7/);
});

test('pools are shown with the state of every backend', async (t) => {
  const { call, parts } = await startAdmin(t);
  const failed = { atMs: Date.UTC(2026, 0, 2, 3, 4, 5, 6), ok: false, durationMs: 1.5, detail: 'timeout' };
  for (let i = 0; i < 3; i++) parts.registry.record('app', 'one', failed);
  const fresh = {
    reason: null,
    enabled: true,
    ejectedUntil: null,
    lastProbe: null,
    consecutivePasses: 0,
    consecutiveFailures: 0,
    inFlight: 0,
    requestsPerSec: 0,
    p99Ms: null,
    share: null,
  };
  const down = {
    ...fresh,
    reason: 'first probe failed: timeout',
    consecutiveFailures: 3,
    inFlight: 2,
    lastProbe: { at: '2026-01-02T03:04:05.006Z', ok: false, durationMs: 1.5, detail: 'timeout' },
  };
  const answer = await call({ path: '/api/v1/pools' });
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.json, {
    items: [
      {
        pool: 'app',
        balance: 'round_robin',
        queueRefusedPerSec: 0,
        backends: [
          { id: 'one', url: 'http://127.0.0.1:8081', weight: 1, backup: false, state: 'down', ...down },
          {
            id: '[::1]:8082',
            url: 'http://[::1]:8082',
            weight: 3,
            backup: false,
            state: 'unknown',
            ...fresh,
          },
        ],
      },
      {
        pool: 'bare',
        balance: 'round_robin',
        queueRefusedPerSec: 0,
        // Not probed, so it counts as healthy.
        backends: [
          {
            id: '127.0.0.1:8083',
            url: 'http://127.0.0.1:8083',
            weight: 1,
            backup: false,
            state: 'up',
            ...fresh,
          },
        ],
      },
    ],
    next: null,
  });
});

test('the last backend of a pool is drained only by force, also in a panic', async (t) => {
  const { call, parts } = await startAdmin(t);
  const drain = (id: string, query = '') =>
    call({ method: 'POST', path: `/api/v1/pools/app/backends/${encodeURIComponent(id)}/drain${query}` });
  const [one, two] = ['one', '[::1]:8082'];
  const see = (id: string, ok: boolean) => {
    const result = { atMs: 1, ok, durationMs: 1, detail: 'status' };
    for (let i = 0; i < 3; i++) parts.registry.record('app', id, result);
  };
  const assertLast = async (id: string, words: RegExp) => {
    const before = parts.state();
    for (const query of ['', '?force=false']) {
      const answer = await drain(id, query);
      assertProblem(answer, 409);
      const { code, detail } = answer.json as { code: string; detail: string };
      assert.equal(code, 'last_backend');
      assert.match(detail, words);
    }
    assert.equal(parts.state(), before);
  };
  see(one, true);
  see(two, false);
  await assertLast(one, /^backend one is the last one of pool app that is healthy: .* down or ejected$/);
  assert.equal((await drain(two)).status, 200, 'the other one is healthy');
  await assertLast(one, /^backend one is the last one of pool app that takes requests: .* 503$/);
  see(one, false);
  await assertLast(one, /takes requests/);
  parts.registry.setEnabled('app', two, true);
  assert.equal((await drain(one)).status, 200, 'in a panic the other one is tried as well');
  assertProblem(await drain(two, '?force=yes'), 422, ['force']);
  assert.equal((await drain(two, '?force=true')).status, 200);
  assert.equal((await drain(two)).status, 200, 'it takes no requests');
});

test('a backend is drained and enabled by pool and id, and each answer shows its new state, once that is kept', async (t) => {
  const { call, parts } = await startAdmin(t);
  const operate = (id: string, operation: string, pool = 'app') =>
    call({ method: 'POST', path: `/api/v1/pools/${pool}/backends/${encodeURIComponent(id)}/${operation}` });
  let keptCount = 0;
  for (const id of ['one', '[::1]:8082']) {
    for (const [operation, state, enabled] of [
      ['drain', 'draining', false],
      ['drain', 'draining', false],
      ['enable', 'unknown', true],
    ] as const) {
      const { status, json } = await operate(id, operation);
      assert.ok(status === 200 && typeof json === 'object' && json !== null && !Array.isArray(json));
      assert.deepEqual([json.id, json.state, json.enabled], [id, state, enabled]);
      assert.equal(parts.saved, ++keptCount);
    }
  }
  const bare = await operate('127.0.0.1:8083', 'enable', 'bare');
  assert.match(bare.text, /"state":"up"/);
  // A disk that stands still: the change is in force, so it is no failure.
  const save = t.mock.method(parts.health, 'save', () => new Promise<void>(() => undefined));
  const unsaved = await operate('one', 'drain');
  assert.equal(unsaved.status, 200);
  assert.match(unsaved.text, /"state":"draining"/);
  save.mock.restore();
  assert.equal((await operate('one', 'enable')).status, 200);
  const before = parts.state();
  for (const [id, pool] of [
    ['two', 'app'],
    ['one', 'bare'],
    ['one', 'nowhere'],
    ['constructor', '__proto__'],
    ['a/b c', 'app'],
  ] as const) {
    assertProblem(await operate(id, 'drain', pool), 404);
    assertProblem(await operate(id, 'enable', pool), 404);
  }
  assertProblem(await operate('one', 'stop'), 404);
  assert.equal(parts.state(), before);
});

test('GET lists tunnels in pages; a cursor that is none is 422, and a silent worker makes it 503', async (t) => {
  const { call } = await startAdmin(t);
  const first = (await call({ path: '/api/v1/tunnels?limit=2' })).json as { items: Json[]; next: string };
  assert.deepEqual(first.items[1], {
    id: '4711-2',
    worker: 0,
    route: 'chat',
    pool: 'app',
    backend: 'one',
    clientIp: '192.0.2.1',
    clientId: null,
    host: 'example.com',
    path: '/chat',
    protocol: 'websocket',
    openedAt: '1970-01-01T00:00:01.000Z',
    bytesIn: 5,
    bytesOut: 7,
    idleMs: 0,
  });
  const last = (await call({ path: `/api/v1/tunnels?limit=2&after=${first.next}` })).json as typeof first;
  assert.deepEqual([first.items.length, last.items.length, last.next], [2, 1, null]);
  const cursor = (text: string) => Buffer.from(text).toString('base64url');
  for (const bad of ['x', cursor('0'), cursor('0-1'), cursor('-1-2-3'), cursor('0-1-1e3')])
    assertProblem(await call({ path: `/api/v1/tunnels?after=${bad}` }), 422, ['after']);
  assertProblem(await call({ path: `/api/v1/tunnels?after=${cursor('9-1-0')}` }), 503);
});

test('GET shows the workers with their load', async (t) => {
  const { call } = await startAdmin(t);
  const answer = await call({ path: '/api/v1/workers' });
  assert.equal(answer.status, 200);
  const quiet = { overload: 'none', overloadReason: null };
  const load = { connections: 3, requestsTotal: 99, inFlight: 1, loopDelayMs: 0.5, ...quiet };
  const none = { connections: 0, requestsTotal: 0, inFlight: 0, loopDelayMs: 0, ...quiet };
  assert.deepEqual(answer.json, {
    items: [
      { id: 0, pid: 4711, state: 'serving', uptimeSec: 12, revision: 1, ...load },
      { id: 1, pid: 4712, state: 'starting', uptimeSec: 12, revision: null, ...none },
    ],
    next: null,
  });
});

test('a reload answers with the revision, or with every problem of the file', async (t) => {
  const { call, parts } = await startAdmin(t);
  const good = await call({ method: 'POST', path: '/api/v1/reload' });
  assert.deepEqual([good.status, good.json], [200, { revision: 2, pendingWorkers: [] }]);
  parts.outcome = async () => ({
    ok: false,
    problems: [
      { line: 3, path: 'pools.app', message: 'is not a pool' },
      { line: null, path: 'listen', message: 'a change needs a restart of the process' },
      { line: null, path: null, message: 'the file is empty' },
    ],
  });
  const bad = await call({ method: 'POST', path: '/api/v1/reload' });
  assertProblem(bad, 422, ['pools.app', 'listen', '']);
  assert.deepEqual((bad.json as { errors: unknown[] }).errors[0], {
    field: 'pools.app',
    line: 3,
    message: 'is not a pool',
  });
  assert.match(bad.text, /the file is empty/);
});

test('a rolling replacement is answered once it has begun, and one that cannot begin says why', async (t) => {
  const { call, parts } = await startAdmin(t);
  const restart = () => call({ method: 'POST', path: '/api/v1/workers/restart' });
  const done = await restart();
  assert.deepEqual([done.status, done.json], [202, { workers: 2 }]);
  const failed = Promise.reject(new LbError('worker_gone', 'worker 0 was not replaced: no reason'));
  failed.catch(() => undefined);
  parts.roll = { begun: failed, ended: failed };
  const refused = await restart();
  assert.deepEqual(
    [refused.status, (refused.json as { detail: string }).detail],
    [500, 'worker 0 was not replaced: no reason'],
  );
  parts.now.phase = 'draining';
  assert.equal((await restart()).status, 409, 'a stop meanwhile is no failure');
  parts.roll = null;
  assert.equal((await restart()).status, 409);
});

test('a reload may take longer than other calls', async (t) => {
  const { call, parts } = await startAdmin(t, { options: { handlerMs: 50 } });
  parts.metrics = () => new Promise(() => undefined);
  // It ends after a simultaneous call that never ends has timed out.
  parts.outcome = async () => {
    assert.equal((await call({ path: '/metrics' })).status, 503);
    return { ok: true, revision: 3, pendingWorkers: [] };
  };
  assert.equal((await call({ method: 'POST', path: '/api/v1/reload' })).status, 200);
});

test('the configuration is shown without its secrets', async (t) => {
  const { call, parts } = await startAdmin(t);
  parts.settings = settingsOf(
    `${CONFIG}
admin: { token: tok-secret-1 }
redis: { url: "redis://user:red-secret-2@127.0.0.1:6379/1" }
database: { url: "postgres://user:pg-secret-3@127.0.0.1:5432/sluice?sslpassword=ssl-secret-4" }
secrets: { apiKeys: key-secret-5 }
`,
  );
  const answer = await call({ path: '/api/v1/config' });
  assert.equal(answer.status, 200);
  assert.doesNotMatch(answer.text, /-secret-/);
  const { admin, redis, database, secrets, pools, audit } = answer.json as Record<
    string,
    Record<string, unknown>
  >;
  assert.equal(audit?.retention, '30d', 'in the largest whole unit');
  assert.deepEqual([admin?.token, secrets?.apiKeys], ['***', '***']);
  assert.equal(redis?.url, 'redis://user:***@127.0.0.1:6379/1');
  assert.match(String(database?.url), /^postgres:\/\/user:\*\*\*@127\.0\.0\.1:5432\/sluice/);
  assert.deepEqual(Object.keys(pools ?? {}), ['app', 'bare']);
});

test('the shown configuration is a valid file with the same meaning', () => {
  const texts = [
    CONFIG,
    'pools: { app: { backends: [{ url: "http://backend.internal" }] } }',
    `
listen: [{ address: ":0" }, { address: "[::1]:8080" }, { address: "127.0.0.1:8081" }, { address: "unix:/tmp/a.sock", h2c: true, proxyProtocol: { from: [10.0.0.0/8, "unix:"] } }]
admin: { address: "[::1]:9901", publicMetrics: true, hosts: [a.example] }
workers: 3
accept: round_robin
trustedProxies: [10.0.0.0/8, "fd00::/8"]
pools:
  tcp:
    balance: least_requests
    backends: [{ url: "http://127.0.0.1:1", weight: 7, id: first }, { url: "http://127.0.0.1:2" }]
    healthCheck: { type: tcp, interval: 90s, timeout: 1500ms, rise: 1, fall: 9, expectStatus: 204 }
    timeouts: { connect: 1ms, response: 90m, idle: 61s }
routes:
  - { name: one, match: { host: x.example, path: /exact, methods: [get, POST] }, pool: tcp, rateLimit: { policy: slow } }
  - { name: two, pool: tcp, rateLimit: off }
  - { name: three, pool: tcp, rateLimit: { policy: [slow, strict], cost: 1 } }
rateLimit:
  identify: { ipv4Prefix: 24, ipv6Prefix: 56 }
  policies: { slow: { capacity: 1, refillPerSecond: 0.000001, shadow: true }, strict: { onStoreFailure: deny } }
  instances: 3
  headers: legacy
secrets: { apiKeys: "***" }
redis: { prefix: other, timeout: 35ms }
limits: { bodyBytes: 5MiB, targetBytes: 100, connections: 0, connectionsPerIp: 9 }
timeouts: { headers: 1s, drainGrace: 0s, drain: 1h }
log: { level: debug, format: pretty, access: { enabled: false, sample: 0.25 } }
`,
    'routes: [{ name: secure, redirect: { status: 301 } }]',
    `pools: { app: { backends: [{ url: "http://a", backup: true }], outlier: { baseEjection: 90s }, slowStart: 30s, panicThresholdPercent: 0,
  healthCheck: { host: app, port: 81, method: POST, headers: { X-Key: "***" }, expectBody: ok } } }`,
    `pools: { app: { backends: [{ url: "http://a" }] } }
listen: [{ address: ":443", tls: { acme: [a.example], unknownNames: refuse } }]
acme: { directory: "https://ca.example/dir", agreeToTerms: true, storage: /var/acme, ca: ${new Authority().root.certPath} }
`,
    `pools: { app: { backends: [{ url: "http://a" }] } }
acme: { directory: "https://ca.example/dir", agreeToTerms: true, email: ops@example.com }`,
  ];
  for (const text of texts) {
    const settings = settingsOf(text);
    const again = parseConfig(JSON.stringify(configView(settings)), {});
    assert.deepEqual('settings' in again && again.settings, settings);
  }
});

test('the shown configuration contains no password, token, secret or query value', () => {
  const view = (text: string) => configView(settingsOf(text)) as Record<string, Record<string, unknown>>;
  const shown = view(`admin: { token: hunter2 }
redis: { sentinel: { master: m, nodes: ["rediss://user:hunter2@r:6379"] } }
database: { url: "postgres://sluice:hunter2@d/x?sslpassword=hunter2&application_name=a" }
secrets: { apiKeys: hunter2 }
pools: { app: { backends: [{ url: "http://a" }], healthCheck: { path: "/health?token=hunter2&deep=1&flag" } } }
`);
  assert.doesNotMatch(JSON.stringify(shown), /hunter2/);
  assert.equal(shown.admin?.token, '***');
  assert.equal(shown.secrets?.apiKeys, '***');
  assert.deepEqual(shown.redis?.sentinel, { master: 'm', nodes: ['rediss://user:***@r:6379'] });
  assert.equal(shown.database?.url, 'postgres://sluice:***@d/x?sslpassword=***&application_name=a');
  const app = shown.pools?.app as { healthCheck: { path: string } } | undefined;
  assert.equal(app?.healthCheck.path, '/health?token=***&deep=***&flag');
});
