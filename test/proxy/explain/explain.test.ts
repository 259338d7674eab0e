/** `explain` says what requests then meet, and changes nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ApiKeyLookup } from '../../../src/contract/clients.ts';
import { systemClock } from '../../../src/contract/clock.ts';
import type { RouteSettings } from '../../../src/contract/settings.ts';
import { makeLogger } from '../../../src/infra/logging/logger.ts';
import { WorkerMetrics } from '../../../src/infra/worker-metrics.ts';
import { Limiter } from '../../../src/limit/limiter/limiter.ts';
import { MemoryBucketStore } from '../../../src/limit/store/memory-bucket-store.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { type ProxyOptions, policy, pool, route, startProxy } from '../support.ts';
import { explain, headOf } from './support.ts';

const acme = {
  clientId: 'acme',
  mode: 'limit' as const,
  limits: { default: { capacity: 7, refillPerSecond: 2 } },
  versionUs: 2,
};
const KEYS: ApiKeyLookup = {
  verify: (text) => (text === 'good' ? { clientId: 'acme', revoked: false } : 'unknown'),
  byName: (clientId) => (clientId === 'acme' ? acme : null),
};

const ROUTES: RouteSettings[] = [
  route('secure', { path: '/login' }, { pool: null, redirect: { scheme: 'https', status: 308 } }),
  route('api', { host: '*.example.com', path: '/api/', methods: ['GET'] }, { pool: 'one' }),
  route('other-host', { host: 'other.example' }, { pool: 'one' }),
  route('exact', { path: '/exact', methods: ['GET', 'PUT'] }, { pool: 'two' }),
  route(
    'limited',
    { path: '/limited/' },
    { pool: 'two', rateLimit: { policies: ['default', 'gold'], cost: 2 } },
  ),
  route('late', { path: '/api/late' }, { pool: 'two' }),
];

async function startScene(t: Parameters<typeof startProxy>[0], more: Partial<ProxyOptions> = {}) {
  const backend = await startCapturingBackend(t);
  return startProxy(t, {
    pools: [pool('one', [backend.port]), pool('two', [backend.port])],
    routes: ROUTES,
    policies: [policy('default', 10, 0.001), { ...policy('gold', 50, 5), shadow: true }],
    ...more,
  });
}

test('each route says why it takes the request or not, in order', async (t) => {
  const proxy = await startScene(t);
  const { routes, route: taken, pool: poolName, steps } = explain(proxy, headOf('GET /api/late'));
  assert.deepEqual([taken, poolName], ['api', 'one']);
  assert.deepEqual(
    routes.map(({ route: name, matched, why }) => [name, matched, why]),
    [
      ['secure', false, 'its path is /login'],
      ['api', true, 'host, path and method match'],
      ['other-host', false, 'its host is other.example'],
      ['exact', false, 'its path is /exact'],
      ['limited', false, 'its path is /limited/…'],
      ['late', false, 'shadowed: an earlier route takes the request'],
    ],
  );
  assert.ok(
    steps.includes('Route api is the first one that takes GET /api/late at host www.example.com.'),
    steps.join('\n'),
  );
  const posted = explain(proxy, headOf('POST /exact'));
  assert.equal(posted.routes[3]?.why, 'its methods are GET, PUT');
  assert.deepEqual([posted.route, posted.refusal?.status], [null, 405]);
  const secured = explain(proxy, headOf('GET /login'), { scheme: 'https' });
  assert.deepEqual(
    [secured.routes[0]?.why, secured.refusal?.reason],
    ['it redirects only requests without TLS', 'no_route'],
  );
});

test('what it says is what the request then meets', async (t) => {
  const proxy = await startScene(t, {
    trustedProxies: ['127.0.0.1'],
    apiKeyHeader: 'x-api-key',
    apiKeys: KEYS,
  });
  const heads = [
    headOf('GET /api/x'),
    headOf('POST /api/x', 'Content-Length: 0'),
    headOf('GET /exact?q=1'),
    headOf('DELETE /exact'),
    headOf('GET /nowhere'),
    headOf('GET /limited/%2e%2e/exact'),
    headOf('GET /api/./x'),
    headOf('GET /login'),
    headOf('GET /login', 'X-Forwarded-Proto: https'),
    headOf('GET http://www.example.com/api/x'),
    headOf('GET http://evil.example/api/x'),
    headOf('GET /limited/a', 'X-Api-Key: good', 'X-Forwarded-For: 192.0.2.7'),
    headOf('GET /limited/a', 'X-Api-Key: bad'),
    headOf('GET /api/x', 'Host: twice.example'),
    headOf('BREW /api/x'),
    headOf('GET /api/x', 'Content-Length: 1', 'Transfer-Encoding: chunked'),
    headOf('OPTIONS *'),
    headOf('GET /api/x', 'X-Long: '.padEnd(17_000, 'x')),
  ];
  for (const head of heads) {
    const said = explain(proxy, head);
    const before = proxy.lines.length;
    const client = await proxy.connect();
    client.write(head);
    const answer = await client.readResponse();
    const line = await waitFor('the access line', () => proxy.lines[before]);
    const shown = head.slice(0, 60);
    assert.equal(said.refusal?.status ?? said.redirect?.status ?? 200, answer.status, shown);
    assert.equal(said.refusal?.reason ?? 'ok', line.reason, shown);
    if (line.status === 200 || line.status === 308) assert.equal(said.route, line.route, shown);
    if (said.client !== null)
      assert.deepEqual([said.client.clientId, said.client.clientIp], [line.clientId, line.clientIp], shown);
    if (said.redirect !== null) assert.equal(said.redirect.location, answer.header('location'));
    if (said.pool !== null)
      assert.equal(said.backends.find(({ wouldBeTried }) => wouldBeTried)?.id, line.backend);
    client.close();
  }
});

test('nothing is taken, counted, picked or logged', async (t) => {
  const proxy = await startScene(t, { apiKeyHeader: 'x-api-key', apiKeys: KEYS });
  for (let i = 0; i < 50; i++)
    explain(proxy, headOf('GET /limited/a', `X-Api-Key: ${i % 2 ? 'good' : 'bad'}`));
  assert.deepEqual(proxy.lines, []);
  for (const name of [
    'sluice_requests_total',
    'sluice_api_key_requests_total',
    'sluice_ratelimit_decisions_total',
  ])
    assert.equal(proxy.metric(name), 0, name);
  assert.equal(proxy.handler.traffic.total, 0);
  const client = await proxy.connect();
  client.write(headOf('GET /limited/a'));
  assert.match((await client.readResponse()).header('ratelimit') ?? '', /"default";r=8/);
});

test('tokens on lease are told, and an identifier is made once per plan', async (t) => {
  const proxy = await startScene(t, {
    policies: [policy('default', 1_000, 500), { ...policy('gold', 10, 5), shadow: true }],
  });
  const told = () => {
    const { policies, steps } = explain(proxy, headOf('GET /limited/a'));
    return { leased: policies.map((each) => each.leased), step: steps.find((step) => /default/.test(step)) };
  };
  assert.deepEqual(told().leased, [0, 0]);
  assert.doesNotMatch(told().step ?? '', /lease/);
  const client = await proxy.connect();
  const { leased, step } = await waitFor('tokens on lease', async () => {
    client.write(headOf('GET /limited/a').repeat(30));
    for (let i = 0; i < 30; i++) await client.readResponse();
    return (told().leased[0] ?? 0) >= 2 && told();
  });
  assert.equal(leased[1], 0);
  assert.match(step ?? '', new RegExp(`; this worker has ${leased[0]} on lease, which go first\\)`));
  assert.equal(proxy.plan().uncounted(), proxy.plan().uncounted());
});

test('while the store is away it says how this worker decides', async (t) => {
  const store = new MemoryBucketStore(systemClock);
  Object.defineProperty(store, 'available', { value: false });
  const logger = makeLogger({ level: 'fatal', format: 'json' });
  const limiter = new Limiter({
    ...{ store, logger, timeoutMs: 200, clock: systemClock, metrics: new WorkerMetrics() },
  });
  t.after(() => limiter.close());
  limiter.shareAmong(8);
  const words = {
    local: 'with 1/8 of the limit \\(10 tokens left\\)',
    allow: 'every request passes',
    deny: 'is refused',
  } as const;
  for (const onStoreFailure of ['local', 'allow', 'deny'] as const) {
    const policies = [{ ...policy('default', 80, 1), onStoreFailure }, policy('gold', 80, 1)];
    limiter.configure({ policies, leases: true }, 1);
    const proxy = await startScene(t, { limiter, policies });
    const said = explain(proxy, headOf('GET /limited/a'));
    const { aloneAmong, onStoreFailure: told } = said.policies[0]!;
    assert.deepEqual([aloneAmong, told], [8, onStoreFailure]);
    assert.match(
      said.steps.join(' '),
      new RegExp(`store of policy default is away: [^.]*${words[onStoreFailure]}`),
    );
    const client = await proxy.connect();
    client.write(headOf('GET /limited/a'));
    assert.equal((await client.readResponse()).status, onStoreFailure === 'deny' ? 503 : 200);
    client.close();
  }
});

test('client, key, trusted proxies and limits are told', async (t) => {
  const grouped = { ...acme, clientId: '192.0.2.9', mode: 'unlimited' as const };
  const proxy = await startScene(t, {
    trustedProxies: ['10.0.0.0/8'],
    apiKeyHeader: 'x-api-key',
    apiKeys: KEYS,
    clients: [grouped],
  });
  const told = (peer: string, ...lines: string[]) => {
    const {
      client,
      apiKey,
      policies,
      steps,
      peer: shown,
    } = explain(proxy, headOf('GET /limited/a', ...lines), { peer });
    const { match: _, ...rest } = client ?? { match: null };
    return {
      client: rest,
      apiKey,
      policies: policies.map((each) => each.capacity),
      trusted: shown.trusted,
      steps,
    };
  };
  const keyed = told('10.0.0.1', 'X-Api-Key: good', 'X-Forwarded-For: 192.0.2.7');
  assert.deepEqual(keyed.client, { clientId: 'acme', clientIp: '192.0.2.7', mode: 'limit', by: 'api_key' });
  assert.deepEqual([keyed.apiKey, keyed.trusted, keyed.policies], ['valid', true, [7, 50]]);
  assert.deepEqual(keyed.steps.slice(0, 2), [
    '10.0.0.1 is a trusted proxy: by its X-Forwarded-For the client is 192.0.2.7.',
    'The API key belongs to client acme.',
  ]);
  const distrusted = told('203.0.113.1', 'X-Api-Key: bad', 'X-Forwarded-For: 192.0.2.7');
  assert.deepEqual(distrusted.client, {
    clientId: null,
    clientIp: '203.0.113.1',
    mode: 'limit',
    by: 'address',
  });
  assert.deepEqual(
    [distrusted.apiKey, distrusted.trusted, distrusted.policies],
    ['invalid', false, [10, 50]],
  );
  assert.match(
    distrusted.steps.join('\n'),
    /no trusted proxy, so its X-Forwarded-For does not count.*x-api-key is not valid/s,
  );
  const free = told('192.0.2.9');
  assert.deepEqual(
    [free.client, free.policies],
    [{ clientId: '192.0.2.9', clientIp: '192.0.2.9', mode: 'unlimited', by: 'address' }, []],
  );
  assert.deepEqual(told('2001:db8::1').client, {
    clientId: null,
    clientIp: '2001:db8::1',
    mode: 'limit',
    by: 'range',
  });
});
