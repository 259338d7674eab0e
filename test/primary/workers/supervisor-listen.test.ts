import assert from 'node:assert/strict';
import { type AddressInfo, createServer, type Server } from 'node:net';
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

test('a busy port fails the start with the address in the message', async (t) => {
  const { port } = await holdPort(t);
  const { supervisor } = makeFleet(t, 1);
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
    message:
      /^cannot listen on 127\.0\.0\.1:1: EACCES: this user may not listen there \(.*CAP_NET_BIND_SERVICE/,
  });
  assert.equal(pids.size, 1);
});

test('once a worker has served, a replacement that cannot listen counts as a death', async (t) => {
  const { supervisor, logged, serving } = makeFleet(t, 2);
  await supervisor.start();
  setMode('listen-failed:EACCES');
  process.kill(serving()[1]?.pid ?? 0, 'SIGKILL');
  await waitFor('it is tried again and again', () => logged('worker died').length >= 3);
  setMode('normal');
  await waitFor('both serve again', () => serving().length === 2);
});
