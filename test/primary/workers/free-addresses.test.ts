/** Ports that are busy at a start, and sockets that a killed process left behind. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, lstatSync, unlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ListenAddress } from '../../../src/contract/settings.ts';
import { removeDeadSockets, waitForFreeAddresses } from '../../../src/primary/workers/free-addresses.ts';
import { leaveDeadSocket } from '../../support/dead-socket.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { waitFor, within } from '../../support/wait.ts';
import { keepLog } from './fixtures/harness.ts';

async function holdPort(t: TestContext): Promise<{ address: ListenAddress; free: () => Promise<void> }> {
  const server = createServer();
  const free = () => new Promise<void>((resolve) => void server.close(() => resolve()));
  t.after(free);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { address: { kind: 'tcp', host: '127.0.0.1', port }, free };
}

const running = () => false;

test('all busy addresses are named in one line at once, and in the final error', async (t) => {
  const [first, second] = [await holdPort(t), await holdPort(t)];
  const unix: ListenAddress = { kind: 'unix', path: '/nowhere/x.sock' };
  const free: ListenAddress = { kind: 'tcp', host: null, port: 0 };
  const { logger, lines } = keepLog();
  const startedMs = performance.now();
  const [a, b] = [first.address, second.address].map((address) =>
    address.kind === 'tcp' ? `127.0.0.1:${address.port}` : '',
  );
  await assert.rejects(
    waitForFreeAddresses([first.address, unix, free, second.address], logger, running, { busyMs: 900 }),
    {
      code: 'listen_failed',
      message: new RegExp(`^cannot listen on ${a} and ${b}: EADDRINUSE: .*is another instance running`),
    },
  );
  assert.ok(performance.now() - startedMs < 1_500);
  assert.equal(lines.length, 1);
  assert.match(
    `${lines[0]?.level} ${lines[0]?.msg}`,
    new RegExp(`^40 cannot listen on ${a} and ${b}: EADDRINUSE: .*; trying for 0\\.9 s$`),
  );
});

test('an address that becomes free meanwhile is free, and stays so', async (t) => {
  const { address, free } = await holdPort(t);
  const { logger, lines } = keepLog();
  const waiting = waitForFreeAddresses([address], logger, running);
  await waitFor('the line', () => lines.length === 1);
  await free();
  await within(waiting, 5_000, 'the address to be found free');
  await waitForFreeAddresses([address], logger, running);
  assert.equal(lines.length, 1);
});

test('an aborted start does not wait for addresses', async (t) => {
  const { address } = await holdPort(t);
  let stopped = false;
  const waiting = waitForFreeAddresses([address], keepLog().logger, () => stopped);
  stopped = true;
  await within(waiting, 5_000, 'the wait to end');
});

async function listenAt(t: TestContext, path: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  t.after(() => server.close());
  server.listen({ path });
  await once(server, 'listening');
  return server;
}

async function remove(paths: string[], pause = () => Promise.resolve()): Promise<Record<string, unknown>[]> {
  const { logger, lines } = keepLog();
  await removeDeadSockets([{ kind: 'tcp', host: null, port: 1 }, ...paths.map(unixAt)], logger, pause);
  return lines;
}

function unixAt(path: string): { kind: 'unix'; path: string } {
  return { kind: 'unix', path };
}

test('a socket where nobody listens is removed, so that the address is free', async (t) => {
  const path = join(tempFolder(t), 's');
  await leaveDeadSocket(path);
  assert.ok(lstatSync(path).isSocket());
  const [line] = await remove([path]);
  assert.deepEqual([line?.msg, line?.path], ['removed a socket at which nobody listens', path]);
  await listenAt(t, path);
});

test('a socket where somebody listens stays, and so does a file that is no socket', async (t) => {
  const folder = tempFolder(t);
  const [live, file, none] = [join(folder, 'live'), join(folder, 'file'), join(folder, 'none')];
  await listenAt(t, live);
  writeFileSync(file, 'precious');
  assert.deepEqual(await remove([live, file, none]), []);
  assert.ok(existsSync(live) && existsSync(file));
});

test('an instance that is just starting keeps its socket, because it listens at the second check', async (t) => {
  const path = join(tempFolder(t), 's');
  await leaveDeadSocket(path);
  const listenMeanwhile = async (): Promise<void> => {
    unlinkSync(path);
    await listenAt(t, path);
  };
  assert.deepEqual(await remove([path], listenMeanwhile), []);
  assert.ok(existsSync(path));
});

test('a path that cannot be checked is a warning, and the start continues', async (t) => {
  const file = join(tempFolder(t), 'file');
  writeFileSync(file, '');
  const [line] = await remove([join(file, 's')]);
  assert.equal(line?.level, 40);
});
