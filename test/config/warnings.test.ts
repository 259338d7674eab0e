import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatProblems } from '../../src/config/problems.ts';
import { parseConfig } from '../support/parse-config.ts';

const POOL = 'pools: { app: { backends: [{ url: "http://127.0.0.1:8081" }] } }\n';

function warningsOf(text: string): string[] {
  const loaded = parseConfig(text, {});
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  return formatProblems('f', loaded.warnings, 'warning: ');
}

test('probable mistakes are warnings', () => {
  const text = `trustedProxies: [10.0.0.0/8, 0.0.0.0/0]
pools:
  app: { backends: [{ url: "http://a" }] }
  spare: { backends: [{ url: "http://b" }] }
routes:
  - { name: one, pool: app, match: { host: "*.example.com", path: /api/ }, rateLimit: off }
  - { name: two, pool: app, match: { host: a.example.com, path: /api/v1/, methods: [GET] }, rateLimit: off }
  - { name: three, pool: app, match: { path: /x, methods: [GET, POST] }, rateLimit: off }
  - { name: four, pool: app, match: { path: /x, methods: [POST, GET] }, rateLimit: off }
  - { name: five, pool: app, match: { path: /x } }
  - { name: all, pool: app }
  - { name: last, pool: app, match: { methods: [PUT] } }
rateLimit:
  policies:
    default: {}
    gold: {}
`;
  assert.deepEqual(warningsOf(text), [
    'f:1: warning: trustedProxies: 0.0.0.0/0 lets every client choose its address by X-Forwarded-For',
    'f:4: warning: pools.spare: no route leads to this pool',
    'f:7: warning: routes[1]: is never reached: the route one before it matches all its requests',
    'f:9: warning: routes[3]: is never reached: the route three before it matches the same requests',
    'f:12: warning: routes[6]: is never reached: the route all before it matches all its requests',
    'f:16: warning: rateLimit.policies.gold: no route names this policy, so it limits nothing',
  ]);
  const unread =
    'f:1: warning: secrets.apiKeys: no API key is read: rateLimit is absent, or rateLimit.identify.apiKeyHeader is empty';
  const secret = `secrets: { apiKeys: s }\n${POOL}`;
  assert.deepEqual(warningsOf(secret), [unread]);
  assert.deepEqual(warningsOf(`${secret}rateLimit: { identify: { apiKeyHeader: "" } }\n`), [unread]);
  assert.deepEqual(warningsOf(`${secret}rateLimit: {}\n`), []);
  assert.deepEqual(warningsOf(`trustedProxies: ["::1"]\n${POOL}rateLimit: {}\n`), []);
});

test('a pool whose backends all have weight 0 is warned about', () => {
  const pool = (weight: number) =>
    `pools: { app: { backends: [{ url: "http://a", weight: ${weight} }, { url: "http://b", weight: 0 }] } }`;
  assert.deepEqual(warningsOf(pool(1)), []);
  assert.deepEqual(warningsOf(pool(0)), [
    'f:1: warning: pools.app: all its backends have weight 0: every request gets 503',
  ]);
});

test('keys of a pool without an effect are warned about', () => {
  const pool = (more: string, second = '') =>
    `pools: { app: { backends: [{ url: "http://a" }${second}], timeouts: { response: 5s }, ${more} } }`;
  const other = ', { url: "http://b" }';
  const cases: [string, string, string | null][] = [
    ['retry: { perTry: 4s, onStatus: [503] }, outlier: {}', other, null],
    [
      'retry: { perTry: 5s }',
      '',
      '.retry.perTry: has no effect: timeouts.response is not longer, and ends the whole request',
    ],
    ['retry: { attempts: 0, onStatus: [503] }', '', '.retry.onStatus: has no effect with attempts: 0'],
    ['outlier: {}', '', '.outlier: no backend is ejected: the only backend of a pool never is'],
    ['outlier: { maxEjectedPercent: 0 }', other, '.outlier: no backend is ejected: maxEjectedPercent is 0'],
  ];
  for (const [more, second, warning] of cases)
    assert.deepEqual(
      warningsOf(pool(more, second)),
      warning === null ? [] : [`f:1: warning: pools.app${warning}`],
    );
  assert.deepEqual(warningsOf('pools: { app: { backends: [{ url: "http://a", backup: true }] } }'), [
    'f:1: warning: pools.app: all its backends are backups, so none of them waits for another one to fail',
  ]);
});

test('a log file that cannot be opened is warned about', () => {
  const problem = 'log.file: cannot be opened, so Sluice would not start:';
  const log = (file: string) => warningsOf(`${POOL}log: { file: ${file} }\n`);
  assert.deepEqual(log('/tmp'), [`f:2: warning: ${problem} /tmp is a folder`]);
  assert.deepEqual(log('/none/of/it'), [`f:2: warning: ${problem} there is no folder /none/of`]);
  assert.deepEqual(log('./sluice.log'), []);
});

test('a redirect hides no route but another redirect, and is warned about where no address has tls', () => {
  const text = `pools: { app: { backends: [{ url: "http://a" }] } }
routes:
  - { name: secure, redirect: {} }
  - { name: again, redirect: { status: 302 } }
  - { name: app, pool: app }
  - { name: never, redirect: {} }
`;
  const nowhere = (line: number, index: number) =>
    `f:${line}: warning: routes[${index}].redirect: no address of listen has tls, so clients are sent to a port that Sluice does not serve`;
  assert.deepEqual(warningsOf(text), [
    nowhere(3, 0),
    nowhere(4, 1),
    'f:4: warning: routes[1]: is never reached: the route secure before it matches the same requests',
    nowhere(6, 3),
    'f:6: warning: routes[3]: is never reached: the route secure before it matches the same requests',
  ]);
  assert.equal(warningsOf('routes: [{ name: secure, redirect: {} }]').length, 1);
});

test('ACME without names, or without an address that can answer its challenges, is warned about', () => {
  const acme = `${POOL}acme: { directory: "https://ca.example/dir", agreeToTerms: true }\n`;
  assert.deepEqual(warningsOf(acme), [
    'f:2: warning: acme: no address of listen has names in tls.acme, so no certificate is fetched',
  ]);
  const secure = '{ address: ":443", tls: { acme: [a.example] } }';
  assert.deepEqual(warningsOf(`${acme}listen: [${secure}]`), [
    'f:2: warning: acme: no address of listen is without tls, and the authority asks for its proofs at port 80 without TLS',
  ]);
  const listen = `listen: [${secure}, { address: ":80" }]`;
  assert.deepEqual(warningsOf(`${acme}${listen}`), []);
  const shared = `${acme}${listen}\nrateLimit: { enabled: false, instances: 2, identify: { apiKeyHeader: "" } }`;
  assert.deepEqual(warningsOf(shared), [
    'f:2: warning: acme: without database.url only the instance that orders knows the proof, and the authority may ask any of them',
  ]);
  assert.deepEqual(warningsOf(`${shared}\ndatabase: { url: "postgres://d/x" }`), []);
  // Its folder would be below this file.
  const stored = acme.replace('agreeToTerms', `storage: ${import.meta.filename}/acme, agreeToTerms`);
  assert.deepEqual(warningsOf(`${stored}${listen}`), [
    `f:2: warning: acme.storage: certificates cannot be kept: ${import.meta.filename} is not a folder`,
  ]);
  assert.deepEqual(warningsOf(`${stored}${listen}\ndatabase: { url: "postgres://d/x" }`), [
    `f:2: warning: acme.storage: certificates are kept in the database alone: ${import.meta.filename} is not a folder`,
  ]);
});

test('a warning names instances that share no store, and a backend that may be there twice', () => {
  const instances = `${POOL}rateLimit: { instances: 2, identify: { apiKeyHeader: "" } }\n`;
  const alone = 'f:2: warning: rateLimit.instances:';
  const [buckets, clients] = [
    `${alone} without redis each instance admits the whole limit`,
    `${alone} without database.url each instance has clients of its own`,
  ];
  assert.deepEqual(warningsOf(instances), [buckets, clients]);
  assert.deepEqual(warningsOf(`${instances}redis: {}\n`), [clients]);
  assert.deepEqual(warningsOf(`${instances}database: { url: "postgres://d/x" }\n`), [buckets]);
  assert.deepEqual(warningsOf(instances.replace('instances', 'enabled: false, instances')), []);
  const backends = (...urls: string[]) =>
    warningsOf(`pools: { a: { backends: [${urls.map((url) => `{ url: "http://${url}" }`).join(', ')}] } }`);
  const twice = 'url: may be the same server as another backend of the pool';
  for (const address of ['127.0.0.1', '[::1]'])
    assert.deepEqual(backends(`${address}:81`, 'localhost:81'), [
      `f:1: warning: pools.a.backends[1].${twice}`,
    ]);
  assert.deepEqual(backends('127.0.0.1:81', 'localhost:82', '127.0.0.2:82', '[::1]:81'), []);
});

test('PROXY headers of everybody are a warning', () => {
  const listen = 'listen: [{ address: ":8080", proxyProtocol: { from: [10.0.0.0/8, "::/0"] } }]\n';
  assert.deepEqual(warningsOf(`${listen}${POOL}`), [
    'f:1: warning: listen[0].proxyProtocol.from: ::/0 lets every client choose its address by a PROXY header',
  ]);
});
