import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../../src/contract/clock.ts';
import type { ListenAddress } from '../../../src/contract/settings.ts';
import { ListenSockets } from '../../../src/primary/workers/listen-sockets.ts';
import { freePort } from '../../support/free-port.ts';
import { waitFor } from '../../support/wait.ts';
import { keepLog } from './fixtures/harness.ts';

const loopback = (port: number): ListenAddress => ({ kind: 'tcp', host: '127.0.0.1', port });

function makeOptions(listen: ListenAddress[]) {
  const { logger, lines } = keepLog();
  const times = { busyPortMs: 300, busyPortRetryMs: 50 };
  const options = { listen, workerCount: 2, clock: systemClock, logger, stopped: () => false, ...times };
  return { options, lines };
}

async function openSockets(t: TestContext, listen: ListenAddress[]): Promise<ListenSockets> {
  const sockets = await ListenSockets.open(makeOptions(listen).options);
  t.after(() => sockets.close());
  return sockets;
}

/** As an instance does whose workers listen already: SO_REUSEPORT, same user. */
async function listenBeside(t: TestContext, port: number): Promise<() => Promise<void>> {
  const server = createServer();
  await new Promise<void>((resolve) =>
    server.listen({ host: '127.0.0.1', port, reusePort: true }, () => resolve()),
  );
  const close = () => new Promise<void>((resolve) => void server.close(() => resolve()));
  t.after(close);
  return close;
}

test('each slot has a descriptor per TCP address, and none after the close', async (t) => {
  const sockets = await openSockets(t, [
    loopback(0),
    { kind: 'unix', path: '/tmp/unused' },
    { kind: 'tcp', host: null, port: 0 },
    { kind: 'tcp', host: 'localhost', port: 0 },
  ]);
  const descriptors = [...sockets.descriptorsOf(0), ...sockets.descriptorsOf(1)];
  assert.equal(new Set(descriptors).size, 6);
  sockets.close();
  sockets.close();
  assert.deepEqual(sockets.descriptorsOf(0), []);
});

test('an address where another instance of the same user listens is refused, and the message names it', async (t) => {
  const port = await freePort();
  await listenBeside(t, port);
  const { options, lines } = makeOptions([loopback(0), loopback(port)]);
  await assert.rejects(ListenSockets.open(options), {
    code: 'listen_failed',
    message: new RegExp(`^cannot listen on 127\\.0\\.0\\.1:${port}: EADDRINUSE: `),
  });
  assert.ok(lines.filter(({ msg }) => msg === 'address is busy, trying again').length >= 3);
  const anywhere = makeOptions([{ kind: 'tcp', host: null, port }]);
  await assert.rejects(ListenSockets.open(anywhere.options), { code: 'listen_failed' });
});

test('of two instances that start on a port together the second waits for the first to listen or to go', async (t) => {
  const port = await freePort();
  const first = await openSockets(t, [loopback(port)]);
  const { options, lines } = makeOptions([loopback(port)]);
  await assert.rejects(ListenSockets.open(options), {
    message: `cannot listen on port ${port}: EADDRINUSE: another instance is starting on it`,
  });
  const opened = ListenSockets.open({ ...options, busyPortMs: 10_000 });
  const before = lines.length;
  await waitFor('a further try', () => lines.length > before);
  first.close();
  (await opened).close();
});

test('an instance that ends frees the address for one that waits', async (t) => {
  const port = await freePort();
  const endFirst = await listenBeside(t, port);
  const { options, lines } = makeOptions([loopback(port)]);
  const opened = ListenSockets.open({ ...options, busyPortMs: 10_000 });
  await waitFor('a first try', () => lines.length > 0);
  await endFirst();
  (await opened).close();
});

test('any other error is final at once, and a start that is called off ends', async () => {
  const elsewhere = makeOptions([{ kind: 'tcp', host: '192.0.2.1', port: 0 }]);
  await assert.rejects(ListenSockets.open(elsewhere.options), {
    code: 'listen_failed',
    message: /^cannot listen on 192\.0\.2\.1:0: EADDRNOTAVAIL: /,
  });
  assert.equal(elsewhere.lines.length, 0);
  const { options } = makeOptions([loopback(0)]);
  await assert.rejects(ListenSockets.open({ ...options, stopped: () => true }), { code: 'worker_gone' });
});
