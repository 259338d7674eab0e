/** accept: reuse_port with real processes. Stopping a process (SIGSTOP) makes connections wait in its accept queue. */
import assert from 'node:assert/strict';
import * as net from 'node:net';
import { type TestContext, test } from 'node:test';
import { ask, type NamedBackend, poolOf, startNamed, workersOf } from '../cluster/support.ts';
import { copyMadeDatabase } from '../support/made-database.ts';
import { connectRaw, type RawClient } from '../support/raw-http.ts';
import {
  type ReadyLine,
  type SluiceProcess,
  spawnSluice,
  startSluice,
  writeConfig,
} from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor, within } from '../support/wait.ts';

/** So many that the kernel gives some to each of two workers, except in one of 10^12 runs. */
const CONNECTIONS = 40;
/** Longer than any of these tests. */
const SLOW = '/slow?ms=60000';

function configOf(backend: NamedBackend, address: string, workers: number) {
  const timeouts = { drain: '30s' };
  return { accept: 'reuse_port', listen: [{ address }], workers, pools: poolOf([backend]), timeouts };
}

/** Opens connections, each with a request, without waiting until they are accepted. */
async function crowd(t: TestContext, url: string, path = '/'): Promise<RawClient[]> {
  const clients = await Promise.all(Array.from({ length: CONNECTIONS }, () => connectRaw(url)));
  t.after(() => {
    for (const client of clients) client.close();
  });
  for (const client of clients) client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
  return clients;
}

async function statusesOf(clients: RawClient[]): Promise<number[]> {
  const answers = await Promise.all(clients.map((client) => client.readResponse({ timeoutMs: 10_000 })));
  return [...new Set(answers.map(({ status }) => status))];
}

async function twoServing(sluice: SluiceProcess): Promise<number[]> {
  return waitFor('two workers to serve', async () => {
    const workers = await workersOf(sluice.adminUrl);
    return workers.filter(({ state }) => state === 'serving').length === 2 && workers.map(({ pid }) => pid);
  });
}

function waitForDrain(adminUrl: string): Promise<unknown> {
  return waitFor('a worker to drain', async () =>
    (await workersOf(adminUrl)).some(({ state }) => state === 'draining'),
  );
}

async function neverResets(t: TestContext): Promise<void> {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({ config: configOf(backend, '127.0.0.1:0', 2) });
  t.after(() => sluice.stop());
  const url = sluice.proxyUrl;

  await t.test('a worker that leaves alone serves new connections while it finishes', async () => {
    const [victim] = await twoServing(sluice);
    assert.ok(victim);
    const slow = await crowd(t, url, SLOW);
    await waitFor('all slow requests at the backend', () => backend.requestCount >= CONNECTIONS);
    process.kill(victim, 'SIGTERM');
    await waitForDrain(sluice.adminUrl);
    assert.deepEqual(await statusesOf(await crowd(t, url)), [200]);
    const states = (await workersOf(sluice.adminUrl)).map(({ state }) => state);
    assert.ok(states.includes('draining'), 'new connections had to wait for old requests');
    for (const client of slow) client.close();
    await waitFor('its replacement', async () => !(await twoServing(sluice)).includes(victim));
  });

  await t.test('connections that wait for a killed worker are served by its replacement', async () => {
    const [victim] = await twoServing(sluice);
    assert.ok(victim);
    process.kill(victim, 'SIGSTOP');
    const clients = await crowd(t, url);
    await waitFor('the other worker to have answered its own', () => {
      const answered = clients.filter(({ received }) => received.length > 0).length;
      return answered > 0 && answered < CONNECTIONS;
    });
    process.kill(victim, 'SIGKILL');
    assert.deepEqual(await statusesOf(clients), [200]);
    assert.ok(!(await twoServing(sluice)).includes(victim));
  });

  const folder = tempFolder(t);
  await copyMadeDatabase(folder);
  const secondConfig = writeConfig(folder, configOf(backend, new URL(url).host, 1));
  const startSecond = () => {
    const child = spawnSluice(['serve', '--config', secondConfig], { folder });
    t.after(() => child.kill());
    return child;
  };

  await t.test(
    'a drain serves the waiting connections before another instance gets the address',
    async () => {
      const refused = startSecond();
      await refused.waitForLine((line) => line.includes('EADDRINUSE') && line.includes(url.slice(7)));
      assert.deepEqual(await refused.exited, { code: 1, signal: null });
      const pids = await twoServing(sluice);
      for (const pid of pids) process.kill(pid, 'SIGSTOP');
      const clients = await crowd(t, url);
      sluice.signal('SIGTERM');
      await waitFor('the drain to be ordered', () => sluice.jsonLines(({ msg }) => msg === 'draining')[0]);
      for (const pid of pids) process.kill(pid, 'SIGCONT');
      assert.deepEqual(await statusesOf(clients), [200]);
      assert.deepEqual(await within(sluice.child.exited, 10_000, 'the exit'), { code: 0, signal: null });
    },
  );

  const second = startSecond();
  const ready: ReadyLine = JSON.parse(await second.waitForLine((line) => line.includes('"ready"')));
  await t.test('the only worker of an instance is replaced without a reset too', async () => {
    assert.deepEqual(ready.addresses, [url]);
    const [only] = await workersOf(ready.admin);
    assert.ok(only);
    process.kill(only.pid, 'SIGSTOP');
    const clients = await crowd(t, url);
    process.kill(only.pid, 'SIGKILL');
    assert.deepEqual(await statusesOf(clients), [200]);
  });

  await t.test(
    'a worker that was told to go before all the others closes its listeners with them',
    async () => {
      const [worker] = await waitFor('the replacement to serve', async () => {
        const workers = await workersOf(ready.admin);
        return workers[0]?.state === 'serving' && workers;
      });
      assert.ok(worker);
      const before = backend.requestCount;
      const slow = await crowd(t, url, SLOW);
      await waitFor('all slow requests at the backend', () => backend.requestCount >= before + CONNECTIONS);
      process.kill(worker.pid, 'SIGTERM');
      await waitForDrain(ready.admin);
      assert.equal((await ask(url)).status, 200);
      second.signal('SIGTERM');
      await waitFor('connections to be refused', () =>
        ask(url).then(
          () => false,
          (error: NodeJS.ErrnoException) => error.code === 'ECONNREFUSED',
        ),
      );
      assert.equal(second.exitStatus, null, 'new connections were accepted as long as old requests lasted');
      for (const client of slow) client.close();
      assert.deepEqual(await second.exited, { code: 0, signal: null });
    },
  );
}

async function isRefused(t: TestContext): Promise<void> {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const config = writeConfig(folder, configOf(backend, '127.0.0.1:0', 2));
  const child = spawnSluice(['serve', '--config', config], { folder });
  t.after(() => child.kill());
  await child.waitForLine('accept: reuse_port needs Node.js 24.19 or later');
  assert.deepEqual(await within(child.exited, 10_000, 'the exit'), { code: 1, signal: null });
}

if (typeof net.BoundSocket === 'function')
  test(
    'with reuse_port no end of a worker or instance resets a connection, and a second instance must wait',
    neverResets,
  );
else test('a Node.js before 24.19, which cannot bind sockets in advance, refuses reuse_port', isRefused);
