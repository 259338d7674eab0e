/** SIGUSR2 where systemd can be told of another pid: a program in the place of systemd-notify writes down what it is told. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ask, askJson, poolOf, startNamed } from '../cluster/support.ts';
import { freePort } from '../support/free-port.ts';
import { startLoad } from '../support/load.ts';
import { startSluice } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

const REPLACEMENTS = 2;
const START_MS = 60_000;
const STOP_MS = 20_000;

/** @param hasClients without their database each primary takes a second of CPU time less */
async function scene(t: TestContext, more: object = {}, hasClients = true) {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const said = join(folder, 'said');
  writeFileSync(said, '');
  const program = `#!/bin/sh\nprintf '%s|' "$@" >> ${said}\necho >> ${said}\n[ ! -e ${folder}/wait ] || sleep 4\n`;
  writeFileSync(join(folder, 'systemd-notify'), program, { mode: 0o755 });
  const [port, adminPort] = [await freePort(), await freePort()];
  const config = {
    listen: [{ address: `127.0.0.1:${port}` }],
    admin: { address: `127.0.0.1:${adminPort}` },
    workers: 2,
    pools: poolOf([backend]),
    ...more,
  };
  const env = { PATH: `${folder}:${process.env.PATH}`, NOTIFY_SOCKET: '/run/none' };
  const sluice = await startSluice({ config, folder, env, ...(hasClients && { data: 'made' }) });
  t.after(() => sluice.child.kill());
  /** Of the primaries that systemd was told of, the last one. */
  const mainPid = (): number => Number(readFileSync(said, 'utf8').match(/.*MAINPID=(\d+)/s)?.[1]);
  return { sluice, folder, config, mainPid, said, url: sluice.proxyUrl, adminUrl: sluice.adminUrl };
}

test('B39: SIGUSR2 replaces the primary and its workers, and no request fails', async (t) => {
  const { sluice, mainPid, said, url, adminUrl } = await scene(t);
  const client = {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: '{"mode":"blocked"}',
  };
  assert.ok((await ask(`${adminUrl}/api/v1/clients/ip:192.0.2.1`, client)).status < 300);
  const kept = startLoad({ url, connections: 8, pauseMs: 25 });
  t.after(() => kept.stop());
  const fresh = startLoad({ url, connections: 2, pauseMs: 25, headers: { connection: 'close' } });
  t.after(() => fresh.stop());
  for (let count = 0; count < REPLACEMENTS; count++) {
    const before = mainPid();
    const workers = sluice.child.groupPids().filter((pid) => pid !== before);
    process.kill(before, 'SIGUSR2');
    await waitFor('another primary', () => mainPid() !== before, { timeoutMs: START_MS });
    const isGone = () => !sluice.child.groupPids().some((pid) => pid === before || workers.includes(pid));
    await waitFor('the old processes to be gone', isGone, { timeoutMs: START_MS });
    await Promise.all([kept.atLeast(20), fresh.atLeast(5)]);
    assert.equal((await ask(`${adminUrl}/api/v1/clients/ip:192.0.2.1`)).status, 200);
  }
  for (const { failures, statuses } of [await kept.stop(), await fresh.stop()]) {
    assert.deepEqual(failures, {});
    assert.deepEqual(Object.keys(statuses), ['200']);
  }
  assert.deepEqual(sluice.child.exitStatus, { code: 0, signal: null });
  assert.doesNotMatch(readFileSync(said, 'utf8'), /STOPPING/);
  const { body } = await askJson(`${adminUrl}/api/v1/audit?kind=instance`);
  const told = (body.items as { text: string }[]).filter(({ text }) =>
    text.startsWith('another primary serves'),
  );
  assert.equal(told.length, REPLACEMENTS, 'what an old one could not write is written by the new one');
  assert.deepEqual(
    sluice.jsonLines(({ msg }) => /not written to the audit/.test(String(msg))),
    [],
  );
  process.kill(mainPid(), 'SIGTERM');
  await waitFor('everything to end', () => sluice.child.groupPids().length === 0, { timeoutMs: START_MS });
});

for (const moment of ['before', 'after']) {
  test(`B39: the old primary is killed ${moment} it has given way: the new one serves, and no request fails`, async (t) => {
    const { sluice, mainPid, url, adminUrl } = await scene(t);
    const kept = startLoad({ url, connections: 8, pauseMs: 25 });
    t.after(() => kept.stop());
    const old = sluice.child.groupPids();
    sluice.signal('SIGUSR2');
    await sluice.child.waitForLine('starting the primary that replaces this one', { timeoutMs: START_MS });
    const isAdminClosed = () =>
      ask(`${adminUrl}/livez`).then(
        () => false,
        () => true,
      );
    if (moment === 'after') await waitFor('the old one to give way', isAdminClosed, { timeoutMs: START_MS });
    process.kill(sluice.pid, 'SIGKILL');
    await waitFor('another primary', () => mainPid() !== sluice.pid, { timeoutMs: START_MS });
    const isGone = () => !sluice.child.groupPids().some((pid) => old.includes(pid));
    await waitFor('the old workers to be gone', isGone, { timeoutMs: START_MS });
    await kept.atLeast(20);
    const { failures, statuses } = await kept.stop();
    assert.deepEqual(failures, {});
    assert.deepEqual(Object.keys(statuses), ['200']);
    process.kill(mainPid(), 'SIGTERM');
    await waitFor('everything to end', () => sluice.child.groupPids().length === 0, { timeoutMs: START_MS });
  });
}

test('B39: a reload and a new log file that come while the primary is replaced reach the new one', async (t) => {
  const folder = tempFolder(t);
  const file = join(folder, 'sluice.log');
  const { sluice, config, mainPid, url, adminUrl } = await scene(t, { log: { file } });
  const other = await startNamed('b');
  t.after(() => other.close());
  sluice.signal('SIGUSR2');
  const hasGivenWay = () =>
    ask(`${adminUrl}/livez`).then(
      () => false,
      () => true,
    );
  await waitFor('the old one to give way', hasGivenWay, { timeoutMs: START_MS });
  sluice.configure({ ...config, pools: poolOf([other]) });
  renameSync(file, `${file}.1`);
  sluice.signal('SIGUSR1');
  sluice.signal('SIGHUP');
  await waitFor('another primary', () => mainPid() !== sluice.pid, { timeoutMs: START_MS });
  const hasReloaded = () =>
    readFileSync(file, 'utf8')
      .split('\n')
      .some((line) => line.includes(`"pid":${mainPid()},`) && line.includes('"msg":"reloaded"'));
  await waitFor('its reload in the new file', hasReloaded, { timeoutMs: START_MS });
  assert.equal((await ask(url)).text, 'b');
  process.kill(mainPid(), 'SIGTERM');
  await waitFor('everything to end', () => sluice.child.groupPids().length === 0, { timeoutMs: START_MS });
});

test('B39: a new primary that cannot serve changes nothing', async (t) => {
  const { sluice, config, mainPid, url, adminUrl } = await scene(t);
  const statusOf = (path: string) =>
    ask(path).then(
      ({ status }) => status,
      () => 0,
    );
  const serves = async () => {
    assert.equal(await statusOf(url), 200);
    await waitFor('the clients', async () => (await statusOf(`${adminUrl}/api/v1/clients`)) === 200);
    assert.equal(mainPid(), sluice.pid);
  };
  sluice.configure('listen: wrong\n');
  sluice.signal('SIGUSR2');
  const failures = () =>
    sluice.stdout.filter((line) => line.includes('the new primary does not serve')).length;
  await waitFor('the first failure', () => failures() === 1, { timeoutMs: START_MS });
  await serves();
  // This one fails after it has been given the database and the admin port.
  const busy = createServer();
  t.after(() => busy.close());
  const busyPort = await new Promise<number>((resolve) => {
    busy.listen(0, '127.0.0.1', () => resolve((busy.address() as { port: number }).port));
  });
  sluice.configure({ ...config, listen: [...config.listen, { address: `127.0.0.1:${busyPort}` }] });
  sluice.signal('SIGUSR2');
  await waitFor('the second failure', () => failures() === 2, { timeoutMs: START_MS });
  await serves();
  assert.deepEqual(await sluice.stop(), { code: 0, signal: null });
});

test('B39: an old primary that drains reads no new file, and leaves the new one alone when it is told to stop', async (t) => {
  const more = { timeouts: { drain: '60s' }, watch: true };
  const { sluice, config, mainPid, url, adminUrl } = await scene(t, more, false);
  const before = sluice.pid;
  // The old worker has this request, and waits for its body.
  const headers = { expect: '100-continue', 'content-length': 1 };
  const held = request(url, { method: 'POST', headers });
  t.after(() => held.destroy());
  await once(held, 'continue');
  const answered = once(held, 'response');
  sluice.signal('SIGUSR2');
  await sluice.child.waitForLine('another primary serves: draining', { timeoutMs: START_MS });
  const next = mainPid();
  assert.notEqual(next, before);
  sluice.configure({ ...config, log: { level: 'debug' } });
  await sluice.child.waitForLine('"msg":"reloaded"', { timeoutMs: START_MS });
  sluice.signal('SIGHUP');
  await sluice.child.waitForLine('the reload is left out: this primary stops', { timeoutMs: START_MS });
  sluice.signal('SIGTERM');
  held.end('x');
  const [answer] = await answered;
  assert.equal(answer.resume().statusCode, 200);
  await waitFor('the old one to end', () => !sluice.child.groupPids().includes(before));
  const noticed = sluice.jsonLines(({ msg }) => msg === 'the configuration file has changed');
  assert.deepEqual(
    noticed.map(({ pid }) => pid),
    [next],
  );
  assert.ok(sluice.child.groupPids().includes(next));
  assert.equal((await ask(`${adminUrl}/readyz`)).status, 200);
  process.kill(next, 'SIGTERM');
  await waitFor('everything to end', () => sluice.child.groupPids().length === 0, { timeoutMs: START_MS });
});

test('B39: a stop while the new primary starts ends both, and the workers of both', async (t) => {
  const { sluice, folder, mainPid } = await scene(t, { timeouts: { drainGrace: '0s', drain: '1s' } }, false);
  await waitFor('systemd to be told', () => mainPid() === sluice.pid);
  // The new one is ready for the old one once systemd has been told.
  writeFileSync(join(folder, 'wait'), '');
  sluice.signal('SIGUSR2');
  await waitFor('the new primary', () => mainPid() !== sluice.pid, { timeoutMs: START_MS });
  sluice.signal('SIGTERM');
  // Less than primary.graceWithout, for which workers serve on whose primary was killed.
  await waitFor('all to end', () => sluice.child.groupPids().length === 0, { timeoutMs: STOP_MS });
});
