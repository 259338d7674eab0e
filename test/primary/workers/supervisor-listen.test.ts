import assert from 'node:assert/strict';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { type TestContext, test } from 'node:test';
import { waitFor, within } from '../../support/wait.ts';
import { makeFleet, setMode } from './fixtures/fleet.ts';

async function holdPort(t: TestContext): Promise<{ port: number; free: () => Promise<void> }> {
  const server: Server = createServer();
  const free = () => new Promise<void>((resolve) => void server.close(() => resolve()));
  t.after(free);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  return { port: (server.address() as AddressInfo).port, free };
}

async function readAll(port: number): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}

test('a starting primary tries a busy port again and serves as soon as it is free', async (t) => {
  const { port, free } = await holdPort(t);
  const { supervisor, logged } = makeFleet(t, 2, { timings: { busyPortRetryMs: 50 } });
  process.env.FIXTURE_PORT = String(port);
  const started = supervisor.start();
  await waitFor('several tries', () => logged('address is busy, trying again').length >= 6, {
    timeoutMs: 10_000,
  });
  await free();
  const addresses = await within(started, 10_000, 'the workers listen');
  assert.deepEqual(addresses, [`http://127.0.0.1:${port}`]);
  assert.match(await readAll(port), /^[01]$/);
  assert.equal(supervisor.restartCount, 0, 'tries for a port are no deaths');
  assert.equal(logged('worker died').length, 0);
});

test('a port that stays busy ends the start with the address in the message', async (t) => {
  const { port } = await holdPort(t);
  const { supervisor } = makeFleet(t, 1, { timings: { busyPortMs: 600, busyPortRetryMs: 100 } });
  process.env.FIXTURE_PORT = String(port);
  await assert.rejects(within(supervisor.start(), 10_000, 'start gives up'), {
    code: 'listen_failed',
    message: new RegExp(`^cannot listen on 127\\.0\\.0\\.1:${port}: EADDRINUSE: `),
  });
});

test('any other listen error is fatal at once', async (t) => {
  const { supervisor, pids } = makeFleet(t, 1);
  setMode('listen-failed:EACCES');
  await assert.rejects(within(supervisor.start(), 10_000, 'start gives up'), {
    code: 'listen_failed',
    message: 'cannot listen on 127.0.0.1:1: EACCES: this user may not listen there',
  });
  assert.equal(pids.size, 1);
});

test('once a worker has served, a replacement that cannot listen is a death like any other', async (t) => {
  const { supervisor, logged, serving } = makeFleet(t, 2);
  await supervisor.start();
  setMode('listen-failed:EACCES');
  process.kill(serving()[1]?.pid ?? 0, 'SIGKILL');
  await waitFor('it is tried again and again', () => logged('worker died').length >= 3, {
    timeoutMs: 10_000,
  });
  setMode('normal');
  await waitFor('both serve again', () => serving().length === 2, { timeoutMs: 10_000 });
});
