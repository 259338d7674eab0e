import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { ListenAddress } from '../../../src/contract/settings.ts';
import { ListenSockets } from '../../../src/primary/workers/listen-sockets.ts';
import { freePort } from '../../support/free-port.ts';

const loopback = (port: number): ListenAddress => ({ kind: 'tcp', host: '127.0.0.1', port });

const optionsOf = (listen: ListenAddress[], accept: 'shared' | 'reuse_port' = 'reuse_port') =>
  ({ listen, accept, workerCount: 2 }) as const;

async function openSockets(
  t: TestContext,
  listen: ListenAddress[],
  accept?: 'shared' | 'reuse_port',
): Promise<ListenSockets> {
  const sockets = await ListenSockets.open(optionsOf(listen, accept));
  assert.ok(sockets);
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

test('with accept shared all slots have the same descriptor of an address, and round_robin has none', async (t) => {
  const sockets = await openSockets(t, [loopback(0), { kind: 'tcp', host: null, port: 0 }], 'shared');
  const [first, second] = [sockets.descriptorsOf(0), sockets.descriptorsOf(1)];
  assert.equal(new Set(first).size, 2);
  assert.deepEqual(second, first);
  assert.equal(
    await ListenSockets.open({ listen: [loopback(0)], accept: 'round_robin', workerCount: 2 }),
    null,
  );
});

test('an address where another instance of the same user listens is refused, and the message names it', async (t) => {
  const port = await freePort();
  await listenBeside(t, port);
  await assert.rejects(ListenSockets.open(optionsOf([loopback(0), loopback(port)])), {
    code: 'listen_failed',
    message: new RegExp(`^cannot listen on 127\\.0\\.0\\.1:${port}: EADDRINUSE: `),
  });
  const anywhere: ListenAddress[] = [{ kind: 'tcp', host: null, port }];
  for (const accept of ['reuse_port', 'shared'] as const) {
    await assert.rejects(ListenSockets.open(optionsOf(anywhere, accept)), { code: 'listen_failed' });
  }
});

test('of two instances that start on a port together the second is refused, until the first is gone', async (t) => {
  const port = await freePort();
  const first = await openSockets(t, [loopback(port)]);
  await assert.rejects(ListenSockets.open(optionsOf([loopback(port)])), {
    message: `cannot listen on port ${port}: EADDRINUSE: another instance is starting on it`,
  });
  first.close();
  await openSockets(t, [loopback(port)]);
});

test('any other error names the address as well', async () => {
  await assert.rejects(ListenSockets.open(optionsOf([{ kind: 'tcp', host: '192.0.2.1', port: 0 }])), {
    code: 'listen_failed',
    message: /^cannot listen on 192\.0\.2\.1:0: EADDRNOTAVAIL: /,
  });
});
