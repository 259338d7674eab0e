import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ask, askJson, poolOf, startNamed } from '../cluster/support.ts';
import { startBackend } from '../support/backend.ts';
import { startLoad } from '../support/load.ts';
import { spawnSluice, startSluice, writeConfig } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

const linesOf = (path: string) => readFileSync(path, 'utf8').split('\n').slice(0, -1);

test('log.file: after `mv` and SIGUSR1 under load every line of both logs is in one of the files', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const file = join(folder, 'sluice.log');
  const sluice = await startSluice({ config: { workers: 2, pools: poolOf([backend]), log: { file } } });
  t.after(() => sluice.stop());
  const load = startLoad({ url: sluice.proxyUrl, connections: 8, pauseMs: 1 });
  t.after(() => load.stop());
  for (let moved = 1; moved <= 3; moved++) {
    await load.atLeast(300);
    renameSync(file, `${file}.${moved}`);
    sluice.signal('SIGUSR1');
    await waitFor('the new file', () => existsSync(file));
  }
  await load.atLeast(300);
  const { total, failures } = await load.stop();
  assert.deepEqual(failures, {});
  await sluice.stop();
  const entries = readdirSync(folder).flatMap((name) =>
    linesOf(join(folder, name)).map((line) => JSON.parse(line) as Record<string, unknown>),
  );
  assert.equal(entries.filter(({ route }) => route === 'default').length, total);
  assert.ok(
    linesOf(file).some((line) => line.includes('"route":"default"')),
    'the newest file is in use',
  );
  assert.ok(linesOf(`${file}.1`).some((line) => line.includes('Sluice starts')));
  assert.deepEqual(
    sluice.stdout.map((line) => JSON.parse(line).msg),
    ['ready'],
    'only the ready line is on standard output',
  );
});

test('B37: a reload changes form and file of both logs at once, for requests under way too, and refuses a file that cannot be opened', async (t) => {
  let held: (() => void) | null = null;
  const backend = await startBackend((req, res) => {
    if (/held/.test(req.url ?? '')) held = () => res.end();
    else res.end();
  });
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const file = join(folder, 'sluice.log');
  const configOf = (log: object) => ({ workers: 2, pools: poolOf([backend]), log });
  const sluice = await startSluice({ config: configOf({}) });
  t.after(() => sluice.stop());
  const reload = async (log: object) => {
    sluice.configure(configOf(log));
    return askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
  };
  /** A request that a reload comes upon. */
  const hold = async (path: string): Promise<() => Promise<unknown>> => {
    held = null;
    const answer = ask(`${sluice.proxyUrl}${path}`);
    const release = await waitFor('the request at the backend', () => held);
    return () => {
      release();
      return answer;
    };
  };
  assert.equal((await reload({ file })).status, 200);
  for (let i = 0; i < 4; i++) await ask(`${sluice.proxyUrl}/to-the-file`);
  await waitFor(
    'the access lines',
    () => linesOf(file).filter((line) => /to-the-file/.test(line)).length === 4,
  );
  assert.ok(linesOf(file).some((line) => line.includes('"reloaded"')));
  assert.equal((await reload({ file, format: 'pretty' })).status, 200);
  await ask(`${sluice.proxyUrl}/pretty`);
  await waitFor('a line for people', () =>
    linesOf(file).some((line) => /INFO: GET .*\/pretty 200/.test(line)),
  );
  const endFirst = await hold('/held-1');
  assert.equal((await reload({ file, format: 'ecs' })).status, 200);
  await endFirst();
  await ask(`${sluice.proxyUrl}/ecs`);
  const hasLine = (pattern: RegExp) => linesOf(file).some((line) => pattern.test(line));
  await waitFor('a line of the Elastic Common Schema', () => hasLine(/^{"@timestamp".*"url.path":"\/ecs"/));
  await waitFor('the line of a request from before', () => hasLine(/^{"@timestamp".*"url.path":"\/held-1"/));
  assert.ok(hasLine(/^{"@timestamp".*"message":"reloaded".*"sluice":{"revision":4}}$/));
  const refused = await reload({ file: join(folder, 'missing', 'sluice.log') });
  assert.equal(refused.status, 422);
  assert.match(JSON.stringify(refused.body), /"log\.file".*ENOENT/);
  const endSecond = await hold('/held-2');
  assert.equal((await reload({})).status, 200);
  await endSecond();
  await waitFor('the line of a request from before', () =>
    sluice.jsonLines(({ path, time }) => path === '/held-2' && time !== undefined).at(0),
  );
  await ask(`${sluice.proxyUrl}/to-stdout`);
  await waitFor('the line on standard output', () =>
    sluice.jsonLines(({ path }) => path === '/to-stdout').at(0),
  );
  assert.equal(sluice.jsonLines(({ path }) => path === '/to-the-file').length, 0);
  // A worker that starts now has the log of now.
  assert.equal((await reload({ file })).status, 200);
  process.kill(sluice.workerPids()[0] ?? 0, 'SIGKILL');
  await waitFor('the death in the file', () => linesOf(file).some((line) => /worker died/.test(line)));
});

test('serve exits with 1 where its log file cannot be opened, and says why', async (t) => {
  const folder = tempFolder(t);
  const config = { pools: poolOf([{ url: 'http://127.0.0.1:1' }]), log: { file: 'missing/sluice.log' } };
  const child = spawnSluice(['serve', '--config', writeConfig(folder, config)], { folder });
  t.after(() => child.kill());
  assert.equal((await child.exited).code, 1);
  assert.match(
    child.stdout.join('\n'),
    /cannot serve: cannot open the log file missing\/sluice\.log: ENOENT/,
  );
  // Where the file can be opened, the reason of a failed start is on standard error, too.
  const log = { file: 'sluice.log' };
  const path = writeConfig(folder, {
    ...config,
    log,
    accept: 'reuse_port',
    listen: [{ address: '192.0.2.1:1' }],
  });
  const other = spawnSluice(['serve', '--config', path], { folder });
  t.after(() => other.kill());
  assert.equal((await other.exited).code, 1);
  assert.match(other.stderr.join('\n'), /^sluice: cannot serve: cannot listen on 192\.0\.2\.1:1/m);
});
