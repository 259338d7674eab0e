import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../../src/config/load.ts';
import { CLI } from '../support/product.ts';
import { runSluice } from '../support/run-sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { startTerminal } from '../support/terminal.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

async function init(t: TestContext, ...words: string[]) {
  const folder = tempFolder(t, 'sluice-init-');
  const path = join(folder, 'sluice.yaml');
  return { path, run: await runSluice(t, ['init', path, ...words]) };
}

test('what init writes passes the check, says what was asked for, and names the next command', async (t) => {
  const { path, run } = await init(t, '--backend', 'http://127.0.0.1:1', '127.0.0.1:2', '--limit', '100/2.5');
  assert.deepEqual([run.code, run.err], [0, '']);
  assert.equal(run.out, `wrote ${path}\nnext: sluice serve --config ${path}`);
  const loaded = loadConfig(path, {});
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  const { listen, pools, rateLimit, redis, database } = loaded.settings;
  assert.deepEqual(
    pools[0]?.backends.map(({ id }) => id),
    ['127.0.0.1:1', '127.0.0.1:2'],
  );
  const [policy] = rateLimit.policies;
  assert.deepEqual([policy?.name, policy?.capacity, policy?.refillPerSecond], ['default', 100, 2.5]);
  assert.deepEqual([listen.length, redis, database.url], [1, null, null]);
  assert.equal(loaded.warnings.length, 0);
});

test('stores and names for TLS are written, a file with a password for its owner alone', async (t) => {
  const stores = [
    '--redis',
    'redis://:p$' + '{x}"w@127.0.0.1',
    '--postgres',
    'postgres://u:p@127.0.0.1/sluice',
  ];
  const tls = ['--tls', 'a.example, b.example', '--agree-to-terms'];
  const { path, run } = await init(t, '--backend', 'http://127.0.0.1:1', ...stores, ...tls);
  assert.equal(run.code, 0, run.err);
  assert.match(run.out, /^next: sluice migrate up --config \S+, then serve$/m);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const loaded = loadConfig(path, {});
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  const { listen, acme, redis, database, routes } = loaded.settings;
  assert.deepEqual(listen[1]?.tls?.acme, ['a.example', 'b.example']);
  assert.equal(acme?.directory, 'https://acme-v02.api.letsencrypt.org/directory');
  assert.deepEqual([redis?.servers.kind, database.url], ['single', 'postgres://u:p@127.0.0.1/sluice']);
  assert.deepEqual(
    routes.map(({ name }) => name),
    ['to-https', 'app'],
  );
  const blank = await init(t, '--backend', 'http://127.0.0.1:1', '--tls', 'a.example');
  assert.deepEqual([blank.run.code, existsSync(blank.path)], [2, false]);
  assert.match(blank.run.err, /add --agree-to-terms$/);
});

test('a file that is there is never written over', async (t) => {
  const folder = tempFolder(t, 'sluice-init-');
  const path = join(folder, 'mine.yaml');
  writeFileSync(path, 'mine');
  const run = await runSluice(t, ['init', path, '--backend', 'http://127.0.0.1:1']);
  assert.deepEqual([run.code, run.err], [2, `sluice: ${path} exists already, and stays as it is`]);
  assert.equal(readFileSync(path, 'utf8'), 'mine');
});

test('init writes the file of --config, else of CONFIG_PATH, and nothing where another one is given too', async (t) => {
  const path = join(tempFolder(t, 'sluice-init-'), 'edge.yaml');
  const backend = ['--backend', 'http://127.0.0.1:1'];
  const words = ['--config', path, ...backend];
  const env = { CONFIG_PATH: join(tempFolder(t, 'sluice-init-'), 'env.yaml') };
  for (const [given, written] of [
    [words, path],
    [backend, env.CONFIG_PATH],
  ] as const) {
    const run = await runSluice(t, ['init', ...given], { env });
    assert.deepEqual([run.code, run.out.split('\n')[0]], [0, `wrote ${written}`], run.err);
  }
  const other = join(tempFolder(t, 'sluice-init-'), 'other.yaml');
  const twice = await runSluice(t, ['init', other, ...words]);
  assert.deepEqual([twice.code, existsSync(other)], [2, false]);
  assert.match(twice.err, /^sluice: where to write it was given twice/);
});

test('what the check would refuse is not written, and without a terminal a backend must be given', async (t) => {
  for (const [words, sentence] of [
    [['--backend', 'http://127.0.0.1:1/path'], /pools\.app\.backends\[0\]\.url: /],
    [['--backend', 'http://a', '--tls', 'a.pem,a.key'], /listen\[0\]\.tls\.certificates\[0\]/],
    [['--backend', 'http://a', '--limit', 'many'], /must be like 100\/50$/],
    [[], /give --backend URL$/],
  ] as const) {
    const { path, run } = await init(t, ...words);
    assert.equal(run.code, 2, run.err);
    assert.match(run.err, sentence);
    assert.equal(existsSync(path), false);
  }
});

test('on a terminal init asks, and an empty answer takes what is in brackets', async (t) => {
  const path = join(tempFolder(t, 'sluice-init-'), 'sluice.yaml');
  const terminal = startTerminal(t, `${process.execPath} ${CLI} init ${path}`, { cwd: ROOT });
  for (const [question, answer] of [
    ['Backends', '127.0.0.1:1 127.0.0.1:2'],
    ['accept requests [:8080', ':8888'],
    ['or off [100/50]', ''],
    ['Redis', ''],
    ['PostgreSQL', ''],
    ['TLS', ''],
  ] as const) {
    await terminal.sees(question);
    terminal.type(`${answer}\r`);
  }
  assert.equal(await terminal.exited, 0, terminal.plain());
  const loaded = loadConfig(path, {});
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  assert.deepEqual(
    [loaded.settings.pools[0]?.backends.length, loaded.settings.rateLimit.policies[0]?.capacity],
    [2, 100],
  );
});
