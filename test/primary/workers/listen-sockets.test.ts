import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ListenAddress, Settings } from '../../../src/contract/settings.ts';
import { ListenSockets } from '../../../src/primary/workers/listen-sockets.ts';
import { freePort } from '../../support/free-port.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const loopback = (port: number): ListenAddress => ({ kind: 'tcp', host: '127.0.0.1', port });

const optionsOf = (listen: ListenAddress[], accept: Settings['accept'] = 'reuse_port') =>
  ({ listen, accept, workerCount: 2 }) as const;

async function openSockets(
  t: TestContext,
  listen: ListenAddress[],
  accept?: Settings['accept'],
): Promise<ListenSockets> {
  const sockets = await ListenSockets.open(optionsOf(listen, accept));
  t.after(() => sockets.close());
  return sockets;
}

/** Like an instance whose workers listen already: SO_REUSEPORT, same user. */
async function listenBeside(t: TestContext, port: number): Promise<() => Promise<void>> {
  const server = createServer();
  await new Promise<void>((resolve) =>
    server.listen({ host: '127.0.0.1', port, reusePort: true }, () => resolve()),
  );
  const close = () => new Promise<void>((resolve) => void server.close(() => resolve()));
  t.after(close);
  return close;
}

test('each slot has a descriptor per TCP address, none for a Unix socket, and none after close', async (t) => {
  const folder = tempFolder(t);
  const path = join(folder, 'x.sock');
  const sockets = await openSockets(t, [
    loopback(0),
    { kind: 'unix', path },
    { kind: 'tcp', host: null, port: 0 },
    { kind: 'tcp', host: 'localhost', port: 0 },
  ]);
  const [first, second] = [sockets.inheritedBy(0), sockets.inheritedBy(1)];
  assert.equal(new Set([...first.fds, ...second.fds]).size, 6);
  assert.deepEqual(first.listenFds, { '127.0.0.1:0': 4, ':0': 5, 'localhost:0': 6 });
  assert.deepEqual(second.listenFds, first.listenFds);
  assert.deepEqual(
    sockets.addresses.map((url) => url.replace(/[1-9]\d*$/, 'PORT')),
    ['http://127.0.0.1:PORT', `unix:${path}`, 'http://127.0.0.1:PORT', 'http://localhost:PORT'],
  );
  sockets.close();
  sockets.close();
  assert.deepEqual(sockets.inheritedBy(0).fds, []);
  assert.equal(existsSync(path), false);
});

test('with accept shared all slots have the same descriptor of an address, and with round_robin none', async (t) => {
  const sockets = await openSockets(t, [loopback(0), { kind: 'tcp', host: null, port: 0 }], 'shared');
  const [first, second] = [sockets.inheritedBy(0), sockets.inheritedBy(1)];
  assert.equal(new Set(first.fds).size, 2);
  assert.deepEqual(second, first);
  const dealt = await openSockets(t, [loopback(0)], 'round_robin');
  assert.deepEqual(dealt.inheritedBy(0), { fds: [], listenFds: {} });
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

test('any other error names the address too', async () => {
  await assert.rejects(ListenSockets.open(optionsOf([{ kind: 'tcp', host: '192.0.2.1', port: 0 }])), {
    code: 'listen_failed',
    message: /^cannot listen on 192\.0\.2\.1:0: EADDRNOTAVAIL: /,
  });
});
