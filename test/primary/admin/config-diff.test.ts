import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configChanges } from '../../../src/primary/admin/config-changes.ts';
import { CONFIG, settingsOf, startAdmin } from './harness.ts';

const changesOf = (running: string, file: string) => configChanges(settingsOf(running), settingsOf(file));

test('a file that would change nothing is the same, also where it is written otherwise', async (t) => {
  const { call } = await startAdmin(t);
  const answer = await call({ path: '/api/v1/config/diff' });
  assert.deepEqual(
    [answer.status, answer.json],
    [200, { file: 'sluice.yaml', same: true, problems: [], needsRestart: false, changes: [] }],
  );
  const written = `${CONFIG}\nworkers: auto\ntimeouts: { drain: 30s }\nlog: { level: info }\n`;
  assert.deepEqual(changesOf(CONFIG, written), []);
});

test('changes have the paths of the file, and defaults count as what they are', () => {
  const file = CONFIG.replace('weight: 3', 'weight: 5').replace('interval: 2s', 'interval: 90s');
  assert.deepEqual(changesOf(CONFIG, `${file}\ntimeouts: { drain: 1m }\nworkers: 3\n`), [
    { path: 'workers', running: 'auto', file: 3 },
    { path: 'timeouts.drain', running: '30s', file: '1m' },
    { path: 'pools.app.backends[1].weight', running: 3, file: 5 },
    { path: 'pools.app.healthCheck.interval', running: '2s', file: '90s' },
  ]);
});

test('a route or a backend in front of others is one change, and so is another order', () => {
  const more = CONFIG.replace('routes:\n', 'routes:\n  - { name: first, pool: app }\n').replace(
    '      - { url: http://127.0.0.1:8081, id: one }\n',
    '',
  );
  const changes = changesOf(CONFIG, more);
  assert.deepEqual(
    changes.map(({ path, running, file }) => [path, running === null, file === null]),
    [
      ['pools.app.backends[0]', false, true],
      ['routes[0]', true, false],
    ],
  );
  const [api = '', rest = ''] = CONFIG.split('\n').filter((line) => line.includes('- { name:'));
  assert.deepEqual(changesOf(CONFIG, CONFIG.replace(`${api}\n${rest}`, `${rest}\n${api}`)), [
    { path: 'routes', running: ['api', 'rest'], file: ['rest', 'api'] },
  ]);
});

test('a backend in the place of another is one change of that place', () => {
  const gone = '      - { url: http://127.0.0.1:8081, id: one }\n';
  const changes = changesOf(
    CONFIG,
    CONFIG.replace(gone, '      - { url: http://127.0.0.1:8089, id: new }\n'),
  );
  assert.deepEqual(
    changes.map(({ path, running, file }) => [
      path,
      (running as { id: string }).id,
      (file as { id: string }).id,
    ]),
    [['pools.app.backends[0]', 'one', 'new']],
  );
});

test('a secret that changes is a change, and neither of both is shown', () => {
  const secrets = (word: string) => `${CONFIG}
admin: { token: ${word}-token-of-16-characters }
redis: { url: "redis://user:${word}@127.0.0.1:6379" }
database: { url: "postgres://u:${word}@127.0.0.1/sluice?sslpassword=${word}" }
secrets: { apiKeys: ${word} }
`;
  assert.deepEqual(changesOf(secrets('hunter2'), secrets('hunter2')), []);
  const changes = changesOf(secrets('hunter2'), secrets('hunter3'));
  assert.deepEqual(
    changes.map(({ path }) => path),
    ['admin.token', 'database.url', 'secrets.apiKeys', 'redis.url'],
  );
  assert.doesNotMatch(JSON.stringify(changes), /hunter|[0-9a-f]{64}/);
  assert.deepEqual(changes[0], { path: 'admin.token', running: '***', file: '***' });
  assert.deepEqual(changesOf(CONFIG, `${CONFIG}\nsecrets: { apiKeys: hunter2 }\n`), [
    { path: 'secrets.apiKeys', running: '', file: '***' },
  ]);
});

test('a broken file, and a change that needs a restart, are told with line and path, and warnings too', async (t) => {
  const { call, parts } = await startAdmin(t);
  const check = async () => (await call({ method: 'POST', path: '/api/v1/config/check' })).json;
  const diff = async () => (await call({ path: '/api/v1/config/diff' })).json;
  const problem = { line: 3, path: 'pools.app.balance', message: 'must be one of …' };
  const warning = { line: 9, path: 'trustedProxies', message: 'too wide' };
  parts.file = () => ({ path: 'a.yaml', loaded: null, problems: [problem] });
  assert.deepEqual(await check(), { file: 'a.yaml', ok: false, problems: [problem], warnings: [] });
  const broken = { file: 'a.yaml', same: false, problems: [problem], needsRestart: false, changes: [] };
  assert.deepEqual(await diff(), broken);
  const settings = settingsOf(`${CONFIG}\naccept: round_robin\n`);
  const restart = { line: null, path: 'accept', message: 'a change needs a restart of the process' };
  const loaded = { settings, warnings: [warning], digest: '' };
  parts.file = () => ({ path: 'a.yaml', loaded, problems: [restart] });
  assert.deepEqual(await check(), { file: 'a.yaml', ok: false, problems: [restart], warnings: [warning] });
  assert.deepEqual(await diff(), {
    ...{ file: 'a.yaml', same: false, problems: [restart], needsRestart: true },
    changes: [{ path: 'accept', running: 'shared', file: 'round_robin' }],
  });
});
