import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, lstatSync, unlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { removeDeadSockets } from '../../../src/primary/workers/free-addresses.ts';
import { leaveDeadSocket } from '../../support/dead-socket.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { keepLog } from './fixtures/harness.ts';

function folderOf(t: TestContext): string {
  return tempFolder(t);
}

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
  const path = join(folderOf(t), 's');
  await leaveDeadSocket(path);
  assert.ok(lstatSync(path).isSocket());
  const [line] = await remove([path]);
  assert.deepEqual([line?.msg, line?.path], ['removed a socket at which nobody listens', path]);
  await listenAt(t, path);
});

test('a socket where somebody listens stays, and so does a file that is no socket', async (t) => {
  const folder = folderOf(t);
  const [live, file, none] = [join(folder, 'live'), join(folder, 'file'), join(folder, 'none')];
  await listenAt(t, live);
  writeFileSync(file, 'precious');
  assert.deepEqual(await remove([live, file, none]), []);
  assert.ok(existsSync(live) && existsSync(file));
});

test('an instance that is just starting keeps its socket, because it listens at the second check', async (t) => {
  const path = join(folderOf(t), 's');
  await leaveDeadSocket(path);
  const listenMeanwhile = async (): Promise<void> => {
    unlinkSync(path);
    await listenAt(t, path);
  };
  assert.deepEqual(await remove([path], listenMeanwhile), []);
  assert.ok(existsSync(path));
});

test('a path that cannot be checked is a warning, and the start continues', async (t) => {
  const file = join(folderOf(t), 'file');
  writeFileSync(file, '');
  const [line] = await remove([join(file, 's')]);
  assert.equal(line?.level, 40);
});
