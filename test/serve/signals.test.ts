/** Signals at any time, and signals that must have no effect. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { stringify } from 'yaml';
import { ask, poolOf, startNamed } from '../cluster/support.ts';
import { startBackend } from '../support/backend.ts';
import { completeConfig, spawnSluice, startSluice, writeConfig } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

function folderFor(t: TestContext): string {
  return tempFolder(t);
}

for (const [signal, moment] of [
  ['SIGTERM', 'first line'],
  ['SIGINT', 'probe'],
  ['SIGQUIT', 'probe'],
] as const) {
  test(`${signal} during the start (at its ${moment}) ends it with exit 0, whatever it waits for`, async (t) => {
    const hung = await startBackend(() => undefined);
    t.after(() => hung.close());
    const folder = folderFor(t);
    const check = { healthCheck: { type: 'http', path: '/', interval: '60s', timeout: '50s' } };
    const config = { pools: poolOf([hung], check), timeouts: { drainGrace: '30s', drain: '30s' } };
    const child = spawnSluice(['serve', '--config', writeConfig(folder, config)], { folder });
    t.after(() => child.kill());
    if (moment === 'first line') await child.waitForLine('Sluice starts');
    else await waitFor('the first probe', () => hung.requestCount === 1);
    child.signal(signal);
    assert.deepEqual(await child.stop(signal, 15_000), { code: 0, signal: null });
    assert.ok(!child.stdout.some((line) => line.includes('"msg":"ready"')), child.describe());
  });
}

/** A server that accepts and never answers. */
async function startDeaf(t: TestContext): Promise<{ address: string; acceptedCount: () => number }> {
  let count = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    count++;
    sockets.add(socket.on('error', () => undefined));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { address: `127.0.0.1:${port}`, acceptedCount: () => count };
}

for (const [store, moment] of [
  ['database', 'first connection'],
  ['database', 'first probe'],
  ['redis', 'first connection'],
] as const) {
  test(`a stop during the start (at its ${moment}) ends it within the drain where the ${store} never answers`, async (t) => {
    const hung = await startBackend(() => undefined);
    t.after(() => hung.close());
    const deaf = await startDeaf(t);
    const url = store === 'redis' ? `redis://${deaf.address}` : `postgres://someone@${deaf.address}/any`;
    const folder = folderFor(t);
    const check = { healthCheck: { type: 'http', path: '/', interval: '60s', timeout: '50s' } };
    const timeouts = { drainGrace: '30s', drain: '4s' };
    const config = { pools: poolOf([hung], check), timeouts, [store]: { url } };
    const child = spawnSluice(['serve', '--config', writeConfig(folder, config)], { folder });
    t.after(() => child.kill());
    const reached = () => (moment === 'first probe' ? hung.requestCount : deaf.acceptedCount()) > 0;
    await waitFor(`the ${moment}`, reached);
    assert.deepEqual(await child.stop('SIGTERM', 4_000), { code: 0, signal: null });
    assert.ok(!child.stdout.some((line) => line.includes('"msg":"ready"')), child.describe());
  });
}

test('signals before the configuration is read do not end the process by mistake', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = folderFor(t);
  const path = join(folder, 'pipe.yaml');
  execFileSync('mkfifo', [path]);
  const child = spawnSluice(['serve', '--config', path], { folder });
  t.after(() => child.kill());
  // Opening for writing succeeds when there is a reader.
  const pipe = await waitFor('the process to read its configuration', () =>
    openSync(path, constants.O_WRONLY | constants.O_NONBLOCK),
  );
  for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) child.signal(signal);
  writeSync(pipe, stringify(completeConfig({ pools: poolOf([backend]) })));
  closeSync(pipe);
  await child.waitForLine('"msg":"ready"');
  assert.ok(!child.stderr.some((line) => line.includes('Debugger')), child.describe());
  // SIGHUP reloads, which reads the pipe again.
  const again = await waitFor('the reload to read', () =>
    openSync(path, constants.O_WRONLY | constants.O_NONBLOCK),
  );
  writeSync(again, stringify(completeConfig({ pools: poolOf([backend]) })));
  closeSync(again);
  await child.waitForLine('"reloaded"');
  assert.deepEqual(await child.stop(), { code: 0, signal: null });
});

test('SIGUSR1 opens no debugger, SIGUSR2 replaces the workers, and neither ends the primary', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const config = { workers: 1, pools: poolOf([backend]), log: { level: 'debug' } };
  const sluice = await startSluice({ config });
  t.after(() => sluice.stop());
  const [worker = 0] = sluice.workerPids();
  for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) {
    sluice.signal(signal);
    process.kill(worker, signal);
  }
  await waitFor('the lines of both', () => {
    const ofPrimary = sluice.jsonLines(({ msg }) => msg === 'worker replaced');
    const ofWorker = sluice.jsonLines(({ msg }) => msg === 'signal ignored: the primary handles it');
    // Node itself keeps SIGUSR1 from a worker.
    return ofPrimary.length === 1 && ofWorker.length === 1;
  });
  assert.deepEqual(sluice.stderr, [], 'node tells of a debugger there');
  const [replacement] = await waitFor('the old worker to end', () => {
    const pids = sluice.workerPids();
    return pids.length === 1 && pids;
  });
  assert.notEqual(replacement, worker);
  assert.equal((await ask(sluice.proxyUrl)).text, 'a');
});

test('Ctrl-C that reaches the whole group twice within milliseconds cuts no request', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const timeouts = { drainGrace: '0s', drain: '20s' };
  const sluice = await startSluice({ config: { workers: 2, pools: poolOf([backend]), timeouts } });
  t.after(() => sluice.stop());
  const slow = ask(`${sluice.proxyUrl}/slow?ms=1500`);
  await waitFor('the request at the backend', () => backend.requestCount === 1);
  process.kill(-sluice.pid, 'SIGINT');
  setTimeout(() => process.kill(-sluice.pid, 'SIGINT'), 4);
  await sluice.child.waitForLine('"draining"');
  sluice.signal('SIGUSR2');
  await sluice.child.waitForLine('SIGUSR2 is ignored: this instance stops');
  assert.equal((await slow).status, 200);
  assert.deepEqual(await sluice.stop('SIGCONT'), { code: 0, signal: null });
});
