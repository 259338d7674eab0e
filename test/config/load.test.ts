// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references to variables are what is tested
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { changedRestartKeys, loadConfig } from '../../src/config/load.ts';
import { formatProblems } from '../../src/config/problems.ts';
import { parseYaml } from '../../src/config/yaml-source.ts';
import type { Settings } from '../../src/contract/settings.ts';
import { CLASSES, classOf, PLAIN } from '../../src/http1/header-names.ts';
import { parseConfig } from '../support/parse-config.ts';
import { plain } from '../support/settings.ts';

const POOL = 'pools: { app: { backends: [{ url: "http://127.0.0.1:8081" }] } }\n';

function settingsOf(text: string, env: Record<string, string> = {}): Settings {
  const loaded = parseConfig(text, env);
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  return loaded.settings;
}

function problemsOf(text: string, env: Record<string, string> = {}): string[] {
  const loaded = parseConfig(text, env);
  return 'problems' in loaded ? formatProblems('f', loaded.problems) : [];
}

test('a configuration needs only a pool; the rest has defaults', () => {
  assert.deepEqual(settingsOf(POOL), {
    listen: [plain({ kind: 'tcp', host: null, port: 8080 })],
    acme: null,
    admin: { host: '127.0.0.1', port: 9900, token: null, readToken: null, publicMetrics: false, hosts: [] },
    workers: 'auto',
    accept: 'shared',
    trustedProxies: [],
    pools: [
      {
        name: 'app',
        balance: 'round_robin',
        backends: [
          { id: '127.0.0.1:8081', host: '127.0.0.1', port: 8081, tls: false, weight: 1, backup: false },
        ],
        healthCheck: null,
        outlier: null,
        panicThresholdPercent: 50,
        slowStartMs: 0,
        timeouts: { connectMs: 5000, responseMs: 60_000, idleMs: 60_000 },
        retry: {
          attempts: 1,
          budgetPercent: 20,
          minConcurrent: 3,
          nonIdempotent: false,
          onStatus: [],
          perTryMs: null,
        },
        limits: { maxConcurrentPerBackend: 1024, queue: 1024, queueTimeoutMs: 1000 },
        adaptive: 'off',
        tls: null,
        protocol: 'http1',
        proxyProtocol: 'off',
      },
    ],
    routes: [
      {
        name: 'default',
        match: { host: null, path: null, methods: null },
        pool: 'app',
        redirect: null,
        upgrade: ['websocket'],
        priority: 'normal',
        rateLimit: null,
      },
    ],
    rateLimit: {
      enabled: false,
      identify: { apiKeyHeader: null, ipv4Prefix: 32, ipv6Prefix: 64 },
      policies: [],
      instances: 1,
      leases: true,
      headers: 'draft',
    },
    redis: null,
    database: { url: null, embeddedPath: './data/postgres' },
    limits: {
      bodyBytes: 1_048_576,
      targetBytes: 8192,
      headerBytes: 16_384,
      headerCount: 100,
      connections: 'auto',
      connectionsPerIp: 0,
      bodyMinRate: 0,
    },
    timeouts: {
      headersMs: 10_000,
      bodyIdleMs: 60_000,
      writeIdleMs: 60_000,
      keepAliveMs: 75_000,
      tunnelIdleMs: 300_000,
      drainGraceMs: 5000,
      drainMs: 30_000,
    },
    overload: { eventLoopDelayMs: 100, heapPercent: { soften: 92, shed: 95 } },
    primary: { graceWithoutMs: 30_000 },
    tracing: null,
    log: { level: 'info', format: 'json', file: null, access: { enabled: true, sample: 1 } },
    watch: false,
    audit: { adminChanges: true, requests: 'off', retentionMs: 30 * 86_400_000 },
    secrets: { apiKeys: null },
  });
});

test('tracing: a base URL without a slash at its end, and a share', () => {
  const read = (block: string) => settingsOf(`${POOL}tracing: ${block}`).tracing;
  assert.deepEqual(read('{ endpoint: "https://traces.example/base/" }'), {
    endpoint: 'https://traces.example/base',
    sample: 0.01,
  });
  assert.deepEqual(read('{ endpoint: "http://127.0.0.1:4318", sample: 1 }'), {
    endpoint: 'http://127.0.0.1:4318',
    sample: 1,
  });
});

test('requests are kept in a PostgreSQL, wherever its address comes from', () => {
  const requestsOf = (text: string, env = {}) => settingsOf(`${POOL}${text}`, env).audit.requests;
  const url = 'postgres://u@d/x';
  assert.equal(requestsOf(`database: { url: "${url}" }\naudit: { requests: limited }`), 'limited');
  assert.equal(requestsOf('audit: { requests: all }', { DATABASE_URL: url }), 'all');
});

test('optional sections get their defaults once they are present', () => {
  const settings = settingsOf(
    'pools: { app: { backends: [{ url: "http://a" }], healthCheck: {} } }\nrateLimit: {}\nredis: {}\n',
  );
  assert.deepEqual(settings.pools[0]?.healthCheck, {
    type: 'http',
    path: '/health',
    service: '',
    host: null,
    port: 0,
    method: 'GET',
    headers: {},
    expectBody: null,
    intervalMs: 2000,
    timeoutMs: 1000,
    rise: 2,
    fall: 3,
    expectStatus: { from: 200, to: 399 },
  });
  assert.deepEqual([settings.rateLimit.enabled, settings.rateLimit.leases], [true, true]);
  assert.equal(settings.rateLimit.identify.apiKeyHeader, 'x-api-key');
  assert.deepEqual(settings.rateLimit.policies, [
    { name: 'default', capacity: 100, refillPerSecond: 50, onStoreFailure: 'local', shadow: false },
  ]);
  assert.deepEqual(settings.routes[0]?.rateLimit, { policies: ['default'], cost: 1 });
  assert.deepEqual(settings.redis, {
    servers: { kind: 'single', url: 'redis://127.0.0.1:6379' },
    prefix: 'sluice',
    timeoutMs: 20,
  });
});

test('settings are deeply frozen and plain JSON', () => {
  const settings = settingsOf(`${POOL}rateLimit: {}\ntrustedProxies: [10.0.0.0/8]\n`);
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    assert.ok(Object.isFrozen(value));
    for (const inner of Object.values(value)) visit(inner);
  };
  visit(settings);
  assert.deepEqual(JSON.parse(JSON.stringify(settings)), settings);
});

test('an unquoted value gets its type after variables are replaced, a quoted one stays text', () => {
  const text = `workers: \${N}
admin: { token: "\${N}" }
log:
  format: pr\${E}
  file: \${N}.log
  access:
    enabled: \${FLAG:-false}
    sample: 0.\${N}
listen:
  - address: \${HOST:-[::1]}:\${PORT:-8081}
${POOL}`;
  const read = (env: Record<string, string>) => settingsOf(text, env);
  const settings = read({ N: '4', E: 'etty', HOST: '' });
  assert.equal(settings.workers, 4);
  assert.equal(settings.admin.token, '4');
  assert.deepEqual(settings.log, {
    level: 'info',
    format: 'pretty',
    file: '4.log',
    access: { enabled: false, sample: 0.4 },
  });
  assert.deepEqual(settings.listen, [plain({ kind: 'tcp', host: '::1', port: 8081 })]);
  assert.equal(read({ N: '4', E: 'etty', FLAG: 'true' }).log.access.enabled, true);
});

test('a variable cannot add structure or further variables', () => {
  assert.deepEqual(problemsOf(`trustedProxies: \${V}\n${POOL}`, { V: '[10.0.0.0/8]' }), [
    'f:1: trustedProxies: must be a list',
  ]);
  assert.equal(settingsOf(`admin: { token: "\${V}" }\n${POOL}`, { V: '${HOME}' }).admin.token, '${HOME}');
  assert.equal(settingsOf(`admin:\n  token: \${V:-}\n${POOL}`).admin.token, null);
});

test('$${ is a literal ${', () => {
  const tokenOf = (text: string) =>
    settingsOf(`admin: { token: "${text}" }\n${POOL}`, { A: 'x' }).admin.token;
  assert.equal(tokenOf('$${A}'), '${A}');
  assert.equal(tokenOf('${A}$${${A}$'), 'x${x$');
});

test('a secret without quotes is in no message', () => {
  for (const value of [
    '*hunter2',
    '!hunter2',
    '!hunter2 x',
    '!<hunter2> x',
    '|hunter2',
    '>hunter2',
    '"\\uhunt"',
    '&hunter2 &hunter2 x',
    '%hunter2',
    '@hunter2',
    '!!hunter2 {}',
    '[hunter2',
    '{hunter2',
  ]) {
    const problems = problemsOf(`admin:\n  token: ${value}\n${POOL}`).join('\n');
    assert.notEqual(problems, '', value);
    assert.doesNotMatch(problems, /hunt/, value);
  }
  assert.doesNotMatch(problemsOf(`%hunter2\n---\n${POOL}`).join('\n'), /hunt/);
});

test('localhost takes the address that it stands for, and no other of this machine', () => {
  const listening = (backend: string, ...addresses: string[]) =>
    problemsOf(
      `listen: [${addresses.map((address) => `{ address: "${address}" }`).join(', ')}]\npools: { a: { backends: [{ url: "http://${backend}" }] } }`,
    );
  const taken = 'f:1: listen[1].address: is taken by listen[0] already';
  assert.deepEqual(listening('b:1', '127.0.0.1:80', 'localhost:80'), [taken]);
  assert.deepEqual(listening('b:1', 'localhost:80', '[::1]:80'), [taken]);
  assert.deepEqual(listening('b:1', '0.0.0.0:80', 'localhost:80'), [taken]);
  assert.deepEqual(listening('b:1', 'localhost:80', '127.0.0.2:80', '127.0.0.1:81', '[::1]:82'), []);
  const self = ['f:2: pools.a.backends[0].url: is Sluice itself (listen[0])'];
  for (const [backend, address] of [
    ['localhost:80', '127.0.0.1:80'],
    ['[::1]:80', 'localhost:80'],
    ['0.0.0.0:80', ':80'],
    ['localhost:80', '0.0.0.0:80'],
    ['[::ffff:127.0.0.1]:80', '127.0.0.1:80'],
    ['a.localhost:80', '127.0.0.1:80'],
    ['a.localhost.:80', ':80'],
    ['a.localhost:80', 'a.localhost:80'],
    ['localhost.:80', 'localhost.:80'],
    ['[::ffff:127.0.0.1]:80', '[::ffff:127.0.0.1]:80'],
    ['127.0.0.1:80', '[::ffff:7f00:1]:80'],
  ] as const)
    assert.deepEqual(listening(backend, address), self, `${backend} ${address}`);
  for (const [backend, address] of [
    ['localhost:80', '127.0.0.2:80'],
    ['127.0.0.2:80', 'localhost:80'],
    ['[::1]:80', '0.0.0.0:80'],
  ] as const)
    assert.deepEqual(listening(backend, address), [], `${backend} ${address}`);
});

test('REDIS_URL and DATABASE_URL are used if the file sets no URL', () => {
  const env = { REDIS_URL: 'redis://:secret@r:6380/2', DATABASE_URL: 'postgres://u:secret@d/x' };
  const bare = settingsOf(POOL, env);
  const single = (url: string) => ({ kind: 'single' as const, url });
  assert.deepEqual(bare.redis, { servers: single(env.REDIS_URL), prefix: 'sluice', timeoutMs: 20 });
  assert.equal(bare.database.url, env.DATABASE_URL);
  const prefixed = settingsOf(`redis: { prefix: p }\n${POOL}`, env);
  assert.deepEqual(prefixed.redis, { servers: single(env.REDIS_URL), prefix: 'p', timeoutMs: 20 });
  const written = settingsOf(`redis: { url: "redis://w" }\ndatabase: { url: "" }\n${POOL}`, env);
  assert.deepEqual(written.redis?.servers, single('redis://w'));
  assert.equal(written.database.url, null);
  assert.equal(settingsOf(POOL, { REDIS_URL: '', DATABASE_URL: '' }).redis, null);
});

test('a Cluster or sentinels replace the single URL, and REDIS_URL is then ignored', () => {
  const env = { REDIS_URL: 'redis://elsewhere' };
  const nodes = ['redis://:p@10.0.0.1:7000', 'redis://10.0.0.2:7000'];
  const cluster = settingsOf(`redis: { cluster: ["${nodes.join('", "')}"] }\n${POOL}`, env);
  assert.deepEqual(cluster.redis?.servers, { kind: 'cluster', urls: nodes });
  const sentinel = settingsOf(`redis: { sentinel: { master: m, nodes: ["${nodes[0]}"] } }\n${POOL}`, env);
  assert.deepEqual(sentinel.redis?.servers, { kind: 'sentinel', master: 'm', urls: [nodes[0]] });
});

test('the secret of API keys comes from the file, else from the environment, and several machines need one', () => {
  const env = { SLUICE_KEY_SECRET: 'of the environment' };
  assert.equal(settingsOf(POOL, env).secrets.apiKeys, env.SLUICE_KEY_SECRET);
  assert.equal(settingsOf(`secrets: { apiKeys: own }\n${POOL}`, env).secrets.apiKeys, 'own');
  assert.equal(settingsOf(`secrets: { apiKeys: "" }\n${POOL}`, env).secrets.apiKeys, null);
  const machines = (identify: string) => `${POOL}rateLimit: { instances: 2, identify: { ${identify} } }\n`;
  assert.equal(settingsOf(machines(''), env).rateLimit.identify.apiKeyHeader, 'x-api-key');
  assert.equal(settingsOf(machines('apiKeyHeader: ""')).rateLimit.identify.apiKeyHeader, null);
  assert.equal(problemsOf(machines('')).length, 1);
});

test('API keys cannot be in a field that Sluice reads, sets or drops', () => {
  const refused = (name: string) =>
    problemsOf(`${POOL}rateLimit: { identify: { apiKeyHeader: "${name}" } }\n`);
  for (const name of [...CLASSES.keys(), 'x-forwarded-key']) {
    assert.notEqual(classOf(name), PLAIN, name);
    assert.equal(refused(name).length, 1, name);
  }
  for (const name of ['user-agent', 'cookie', 'X_Api_Key', 'x api', 'x:y'])
    assert.equal(refused(name).length, 1, name);
  const settings = settingsOf(`${POOL}rateLimit: { identify: { apiKeyHeader: X-My-KEY } }\n`);
  assert.equal(settings.rateLimit.identify.apiKeyHeader, 'x-my-key');
});

test('retries have limits of their own, and the time for one attempt may be shorter than for the request', () => {
  const [pool] = settingsOf(
    `pools:
  app:
    backends: [{ url: http://a }]
    retry: { attempts: 2, budgetPercent: 12.5, minConcurrent: 1, nonIdempotent: true, onStatus: [503, 429, 503], perTry: 250ms }
`,
  ).pools;
  assert.deepEqual(pool?.retry, {
    attempts: 2,
    budgetPercent: 12.5,
    minConcurrent: 1,
    nonIdempotent: true,
    onStatus: [503, 429],
    perTryMs: 250,
  });
});

test('the limits of a pool, and a queue of none', () => {
  const [pool] = settingsOf(
    `pools:
  app:
    backends: [{ url: http://a }]
    limits: { maxConcurrentPerBackend: 8, queue: 0, queueTimeout: 250ms }
    adaptive: latency
`,
  ).pools;
  assert.deepEqual(pool?.limits, { maxConcurrentPerBackend: 8, queue: 0, queueTimeoutMs: 250 });
  assert.equal(pool?.adaptive, 'latency');
});

test('the protocols of a route come out in lower case, once each; an empty list is none', () => {
  const { routes } = settingsOf(`routes:
  - { name: a, match: { path: /a }, pool: app, upgrade: [WebSocket, websocket, TCP-x/1] }
  - { name: b, pool: app, upgrade: [] }
${POOL}`);
  assert.deepEqual(
    routes.map(({ upgrade }) => upgrade),
    [['websocket', 'tcp-x/1'], []],
  );
});

test('durations and sizes are milliseconds and bytes', () => {
  const { timeouts, limits, primary } =
    settingsOf(`timeouts: { headers: 250ms, bodyIdle: 2s, writeIdle: 3s, keepAlive: 1m, tunnelIdle: 2h, drain: 1h, drainGrace: 0 }
limits: { bodyBytes: 1GiB, headerBytes: 32KiB, targetBytes: 2048 }
primary: { graceWithout: 1m }
${POOL}`);
  assert.deepEqual(timeouts, {
    headersMs: 250,
    bodyIdleMs: 2000,
    writeIdleMs: 3000,
    keepAliveMs: 60_000,
    tunnelIdleMs: 7_200_000,
    drainGraceMs: 0,
    drainMs: 3_600_000,
  });
  assert.deepEqual([limits.bodyBytes, limits.headerBytes, limits.targetBytes], [2 ** 30, 32_768, 2048]);
  assert.equal(primary.graceWithoutMs, 60_000);
});

test('addresses come out in canonical form', () => {
  const settings = settingsOf(`listen:
  - address: ":8080"
  - address: "[0:0:0:0:0:0:0:1]:8081"
  - address: LocalHost:8082
  - address: unix:/run/sluice.sock
admin: { address: ":9900", token: a-token-of-24-characters, readToken: another-token-of-some-length, hosts: [Admin.Example.com] }
trustedProxies: [10.1.2.3/8, 127.0.0.1, "FD00:0::1/8", "::ffff:10.0.0.0/104", 10.0.0.0/8]
pools: { app: { backends: [{ url: "http://[::1]:80" }, { url: "HTTP://Backend_1.internal/" }, { url: "http://a:81", id: "x:y" }] } }
`);
  assert.deepEqual(settings.listen, [
    plain({ kind: 'tcp', host: null, port: 8080 }),
    plain({ kind: 'tcp', host: '::1', port: 8081 }),
    plain({ kind: 'tcp', host: 'localhost', port: 8082 }),
    plain({ kind: 'unix', path: '/run/sluice.sock' }),
  ]);
  assert.deepEqual(settings.admin, {
    host: '::',
    port: 9900,
    token: 'a-token-of-24-characters',
    readToken: 'another-token-of-some-length',
    publicMetrics: false,
    hosts: ['admin.example.com'],
  });
  assert.deepEqual(settings.trustedProxies, ['10.0.0.0/8', '127.0.0.1', 'fd00::/8']);
  assert.deepEqual(settings.pools[0]?.backends, [
    { id: '[::1]:80', host: '::1', port: 80, tls: false, weight: 1, backup: false },
    {
      id: 'backend_1.internal:80',
      host: 'backend_1.internal',
      port: 80,
      tls: false,
      weight: 1,
      backup: false,
    },
    { id: 'x:y', host: 'a', port: 81, tls: false, weight: 1, backup: false },
  ]);
});

test('a backend may have weight 0, and be a backup', () => {
  const settings = settingsOf(
    'pools: { app: { backends: [{ url: "http://a", weight: 0 }, { url: "http://b", backup: true }] } }',
  );
  const kinds = settings.pools[0]?.backends.map(({ weight, backup }) => [weight, backup]);
  assert.deepEqual(kinds, [
    [0, false],
    [1, true],
  ]);
});

test('the threshold of panic is read, and 0 turns it off', () => {
  const threshold = (text: string) =>
    settingsOf(`pools: { app: { backends: [{ url: "http://a" }], panicThresholdPercent: ${text} } }`).pools[0]
      ?.panicThresholdPercent;
  assert.deepEqual([threshold('0'), threshold('70')], [0, 70]);
});

test('a probe may have a host, a port, a method, fields and a text to expect', () => {
  const check = settingsOf(
    `pools: { app: { backends: [{ url: "http://a" }], healthCheck:
      { host: "app.internal:8443", port: 81, method: POST, headers: { X-Key: "a b" }, expectBody: '"ok"' } } }`,
  ).pools[0]?.healthCheck;
  assert.deepEqual(
    [check?.host, check?.port, check?.method, check?.headers, check?.expectBody],
    ['app.internal:8443', 81, 'POST', { 'X-Key': 'a b' }, '"ok"'],
  );
});

test('slowStart is a duration, 0 by default', () => {
  const of = (text: string) =>
    settingsOf(`pools: { app: { backends: [{ url: "http://a" }], slowStart: ${text} } }`).pools[0]
      ?.slowStartMs;
  assert.deepEqual([of('30s'), of('0'), of('0s')], [30_000, 0, 0]);
});

test('outlier is off until it is written, and then has defaults', () => {
  const outlierOf = (text: string) =>
    settingsOf(`pools: { app: { backends: [{ url: "http://a" }], outlier: ${text} } }`).pools[0]?.outlier;
  const defaults = {
    consecutiveErrors: 5,
    baseEjectionMs: 30_000,
    maxEjectionMs: 300_000,
    maxEjectedPercent: 50,
  };
  assert.deepEqual(outlierOf('{}'), defaults);
  assert.deepEqual(outlierOf('{ consecutiveErrors: 3, baseEjection: 1s }'), {
    ...defaults,
    consecutiveErrors: 3,
    baseEjectionMs: 1_000,
  });
});

test('a route without a policy has `default`, or no limit if that is not defined', () => {
  const routes = `routes:
  - { name: a, pool: app }
  - { name: b, pool: app, rateLimit: off, match: { host: "*.Example.com", path: /x/, methods: [get, POST, GET] } }
  - { name: c, pool: app, rateLimit: { policy: strict } }
${POOL}`;
  const limitsOf = (text: string) =>
    settingsOf(text).routes.map(({ rateLimit }) => rateLimit?.policies.join() ?? null);
  const strict = 'strict: { capacity: 1, refillPerSecond: 1 }';
  assert.deepEqual(limitsOf(`${routes}rateLimit: { policies: { default: {}, ${strict} } }`), [
    'default',
    null,
    'strict',
  ]);
  assert.deepEqual(limitsOf(`${routes}rateLimit: { policies: { ${strict} } }`), [null, null, 'strict']);
  assert.deepEqual(limitsOf(`${routes}rateLimit: { enabled: false, policies: { ${strict} } }`), [
    null,
    null,
    null,
  ]);
  const { match } = settingsOf(`${routes}rateLimit: { policies: { ${strict} } }`).routes[1] ?? {};
  assert.deepEqual(match, { host: '*.example.com', path: '/x/', methods: ['GET', 'POST'] });
});

test('a route may name several policies, with a cost for each', () => {
  const text = `routes:
  - { name: a, pool: app, rateLimit: { policy: [second, day], cost: 1000 } }
  - { name: b, pool: app, rateLimit: { policy: [day] } }
rateLimit:
  headers: off
  policies:
    second: { capacity: 1000, onStoreFailure: allow }
    day: { capacity: 100000, onStoreFailure: deny }
${POOL}`;
  const { routes, rateLimit } = settingsOf(text);
  assert.deepEqual(
    routes.map((route) => route.rateLimit),
    [
      { policies: ['second', 'day'], cost: 1000 },
      { policies: ['day'], cost: 1 },
    ],
  );
  assert.deepEqual(
    rateLimit.policies.map(({ onStoreFailure }) => onStoreFailure),
    ['allow', 'deny'],
  );
  assert.equal(rateLimit.headers, 'off');
});

test('unsupported keys with the value of the actual behaviour are accepted', () => {
  settingsOf(`listen: [{ address: ":8080", http2: false, proxyProtocol: false }]
pools: { app: { backends: [{ url: "http://a" }], slowStart: 0s, panicThresholdPercent: 0 } }
rateLimit: { leases: false, headers: draft, policies: { default: { onStoreFailure: local } } }
audit: { requests: off, adminChanges: false, retention: 24h }
`);
});

test('anchors and aliases may be used', () => {
  const text = `pools:
  a: &pool { backends: [{ url: "http://a", id: &id one }], timeouts: &t { connect: 1s } }
  b: { backends: [{ url: "http://b", id: *id }], timeouts: *t }
  c: *pool
routes: [{ name: r, pool: a }]
`;
  assert.deepEqual(
    settingsOf(text).pools.map(({ backends, timeouts }) => [backends[0]?.id, timeouts.connectMs]),
    [
      ['one', 1000],
      ['one', 1000],
      ['one', 1000],
    ],
  );
});

test('__proto__ and the like are ordinary names', () => {
  const settings = settingsOf('pools: { constructor: { backends: [{ url: "http://a" }] } }');
  assert.equal(settings.pools[0]?.name, 'constructor');
  assert.deepEqual(
    problemsOf(`routes: [{ name: a, pool: app, rateLimit: { policy: toString } }]\nrateLimit: {}\n${POOL}`),
    ['f:1: routes[0].rateLimit.policy: there is no policy toString'],
  );
});

test('the files of config/ are accepted', () => {
  const root = fileURLToPath(new URL('../../config/', import.meta.url));
  const env = {
    SLUICE_ADMIN_TOKEN: 'a-token-of-24-characters',
    SLUICE_READ_TOKEN: 'another-of-24-characters',
    REDIS_URL: 'redis://redis',
    DATABASE_URL: 'postgres://u:p@postgres/sluice',
    SLUICE_KEY_SECRET: 'a-secret-of-24-characters',
  };
  const local = loadConfig(`${root}local.yaml`, {});
  assert.ok('settings' in local);
  assert.deepEqual(local.settings.trustedProxies, ['127.0.0.0/8', '::1']);
  assert.equal(local.settings.log.format, 'pretty');
  assert.equal(local.settings.timeouts.drainGraceMs, 0);
  assert.ok('settings' in loadConfig(`${root}example.yaml`, {}));
  const docker = loadConfig(`${root}docker.yaml`, env);
  assert.ok('settings' in docker && docker.warnings.length === 0);
  assert.ok('problems' in loadConfig(`${root}docker.yaml`, { ...env, SLUICE_ADMIN_TOKEN: '' }));
});

test('a reload reports changed keys that need a restart', () => {
  const before = settingsOf(POOL);
  assert.deepEqual(changedRestartKeys(before, settingsOf(POOL)), []);
  const after = settingsOf(`listen: [{ address: ":1" }]
accept: reuse_port
workers: 3
admin: { token: a }
redis: {}
database: { embeddedPath: x }
timeouts: { drain: 1s }
trustedProxies: ["::1"]
rateLimit: {}
log: { level: warn }
limits: { bodyBytes: 1 }
pools: { other: { backends: [{ url: "http://a" }] } }
`);
  assert.deepEqual(changedRestartKeys(before, after), ['accept', 'admin', 'database', 'workers']);
  assert.deepEqual(changedRestartKeys(before, settingsOf(`workers: 3\n${POOL}`)), []);
  const [one, two] = ['one', 'two'].map((name) =>
    settingsOf(`database: { url: "postgres://${name}/" }\n${POOL}`),
  );
  assert.ok(one && two);
  assert.deepEqual(changedRestartKeys(one, two), []);
  assert.deepEqual(changedRestartKeys(before, one), ['database']);
  assert.deepEqual(changedRestartKeys(one, before), ['database']);
});

test('a complaint of the YAML parser about a colon is said whole', () => {
  const said = (text: string) => parseYaml(text, {}).problems.map(({ message }) => message);
  assert.deepEqual(said(`${'k'.repeat(1025)}: 1\n`), [
    'not valid YAML: The : indicator must be at most 1024 chars after the start of an implicit block mapping key',
  ]);
  assert.deepEqual(said('a: { "b" 1 }\n'), ['not valid YAML: Missing , or : between flow map items']);
});
