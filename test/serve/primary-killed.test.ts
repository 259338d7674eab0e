import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, poolOf, startNamed } from '../cluster/support.ts';
import { freePort } from '../support/free-port.ts';
import { copyMadeDatabase } from '../support/made-database.ts';
import { spawnSluice, startSluice, writeConfig } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

test('without primary.graceWithout, when the primary is killed with -9 its workers finish their requests and exit, and a new primary gets the port', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const port = await freePort();
  const config = {
    listen: [{ address: `127.0.0.1:${port}` }],
    workers: 2,
    pools: poolOf([backend]),
    timeouts: { drain: '10s' },
    primary: { graceWithout: '0s' },
  };
  const first = await startSluice({ config, folder, data: 'made' });
  t.after(() => first.child.kill());
  const slow = ask(`${first.proxyUrl}/slow?ms=2000`);
  await waitFor('the slow request at the backend', () => backend.requestCount === 1);
  const workers = first.workerPids();
  assert.equal(workers.length, 2);
  process.kill(first.pid, 'SIGKILL');
  await waitFor('the listeners to be closed', async () => {
    const refused = await ask(first.proxyUrl).then(
      () => false,
      (error: NodeJS.ErrnoException) => error.code === 'ECONNREFUSED',
    );
    return refused;
  });
  assert.equal(first.workerPids().length >= 1, true, 'the worker with a request in flight still runs');
  // The same folder and port: the dead process's lock of the embedded database is taken over.
  const second = await startSluice({ config, folder });
  t.after(() => second.stop());
  assert.equal((await ask(second.proxyUrl)).status, 200);
  assert.equal((await slow).text, 'a');
  await waitFor('the old workers to be gone', () => first.workerPids().length === 0);
  assert.ok(workers.every((pid) => !second.workerPids().includes(pid)));
});

test('serve on a busy port fails after 10 s, and starts if the port becomes free before', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const port = await freePort();
  const config = { listen: [{ address: `127.0.0.1:${port}` }], workers: 1, pools: poolOf([backend]) };
  const first = await startSluice({ config });
  t.after(() => first.stop());
  const folder = tempFolder(t);
  await copyMadeDatabase(folder);
  const refused = spawnSluice(['serve', '--config', writeConfig(folder, config)], { folder });
  t.after(() => refused.kill());
  await refused.waitForLine(`cannot listen on 127.0.0.1:${port}: EADDRINUSE`, { timeoutMs: 30_000 });
  assert.deepEqual(await refused.exited, { code: 1, signal: null });
  assert.equal((await ask(first.proxyUrl)).text, 'a');
  const second = spawnSluice(['serve', '--config', writeConfig(folder, config)], { folder });
  t.after(() => second.kill());
  await second.waitForLine(/trying for 10 s/, { timeoutMs: 30_000 });
  await first.stop();
  await second.waitForLine('"msg":"ready"', { timeoutMs: 30_000 });
  assert.equal((await ask(`http://127.0.0.1:${port}`)).text, 'a');
  assert.deepEqual(await second.stop(), { code: 0, signal: null });
});
