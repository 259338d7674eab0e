import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ListenSockets } from '../../../src/primary/workers/listen-sockets.ts';
import { Orphans } from '../../../src/primary/workers/orphans.ts';
import { ReceivedSockets } from '../../../src/primary/workers/received-sockets.ts';
import { waitForSuccessor } from '../../../src/worker/orphan.ts';
import { leaveDeadSocket } from '../../support/dead-socket.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { waitFor } from '../../support/wait.ts';
import { keepLog } from './fixtures/harness.ts';

const always = async (): Promise<boolean> => true;

/** A process with two listening sockets that awaits a successor, and what a new primary sees of it. */
async function scene(t: TestContext, graceMs = 20_000, socketCount = 1) {
  const folder = join(tempFolder(t), 'orphans');
  const server = createServer((socket) => socket.end('old'));
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as { port: number };
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
  const log = keepLog();
  const note = { keys: [String(port)], socketCount, drainMs: 1_000 };
  const relieved = waitForSuccessor({ folder, note, fds: [fd], graceMs, logger: log.logger });
  await waitFor('the orphan to listen', () => {
    try {
      return readdirSync(folder).length === 2;
    } catch {
      return false;
    }
  });
  const look = async (key = String(port)) => {
    const orphans = new Orphans({ folder, keys: [key], logger: log.logger });
    t.after(() => orphans.close());
    await orphans.look();
    return orphans;
  };
  const address = { kind: 'tcp', host: '127.0.0.1', port } as const;
  return { folder, server, port, address, relieved, look, log };
}

test('a new primary gets the listening sockets of an orphan, and lets it go', async (t) => {
  const { folder, address, relieved, look } = await scene(t);
  const orphans = await look();
  const received = new ReceivedSockets();
  t.after(() => received.close());
  await orphans.give(received, always);
  assert.equal(await received.count(address), 1);
  assert.equal(await received.count({ ...address, host: '127.0.0.2' }), 0);
  assert.equal(await received.count({ ...address, port: 0 }), 0);
  // The same socket once more.
  await (await look()).give(received, always);
  assert.equal(await received.count(address), 1);
  orphans.drain();
  assert.equal(await relieved, true);
  assert.deepEqual(readdirSync(folder), []);
});

for (const accept of ['shared', 'reuse_port', 'round_robin'] as const) {
  test(`with accept: ${accept} a socket that was taken over is listened on again`, async (t) => {
    const { server, port, address, look } = await scene(t);
    const received = new ReceivedSockets();
    await (await look()).give(received, always);
    const sockets = await ListenSockets.open({ listen: [address], accept, workerCount: 2, received });
    t.after(() => sockets.close());
    assert.deepEqual(sockets.addresses, [`http://127.0.0.1:${port}`]);
    const { fds } = sockets.inheritedBy(1);
    assert.equal(fds.length, accept === 'round_robin' ? 0 : 1);
    server.close();
    // The kernel still takes connections: somebody holds the socket.
    const client = connect(port, '127.0.0.1');
    t.after(() => client.destroy());
    await once(client, 'connect');
  });
}

test('an orphan without listening sockets gives none, and is let go', async (t) => {
  const { address, relieved, look, log } = await scene(t, 20_000, 0);
  const orphans = await look();
  const received = new ReceivedSockets();
  await orphans.give(received, always);
  assert.equal(await received.count(address), 0);
  orphans.drain();
  assert.equal(await relieved, true);
  assert.deepEqual(log.lines, []);
});

test('orphans of other addresses are left alone', async (t) => {
  const { look, relieved } = await scene(t, 1_000);
  const orphans = await look('1');
  assert.equal(orphans.count, 0);
  orphans.drain();
  assert.equal(await relieved, false);
});

test('a primary that ends before it lets an orphan go changes nothing for it', async (t) => {
  const { look, relieved } = await scene(t);
  (await look()).close();
  const orphans = await look();
  assert.equal(orphans.count, 1);
  orphans.drain();
  assert.equal(await relieved, true);
});

test('an orphan that has ended by the time at which it is killed changes nothing', async (t) => {
  const folder = tempFolder(t);
  const { logger, lines } = keepLog();
  const note = { keys: ['1'], socketCount: 0, drainMs: 1_000 };
  const gone = createServer((socket) => socket.write(`${JSON.stringify(note)}\n`));
  // Above the largest pid: nobody's.
  await once(gone.listen({ path: join(folder, `${2 ** 22 + 1}.control`) }), 'listening');
  t.after(() => gone.close());
  const orphans = new Orphans({ folder, keys: ['1'], logger });
  t.after(() => orphans.close());
  await orphans.look();
  assert.equal(orphans.count, 1);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  orphans.drain();
  t.mock.timers.tick(note.drainMs + 60_000);
  assert.deepEqual(
    lines.map(({ msg }) => msg),
    ['a worker of an earlier primary did not end, killing it'],
  );
});

test('what an orphan that was killed has left is removed', async (t) => {
  const { folder, look, relieved } = await scene(t);
  await leaveDeadSocket(join(folder, '1.control'));
  await leaveDeadSocket(join(folder, '1.sockets'));
  const orphans = await look();
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('1.')),
    [],
  );
  orphans.drain();
  await relieved;
});

test('nobody waits, or is looked for, in a folder that others can read', async (t) => {
  const folder = tempFolder(t);
  writeFileSync(join(folder, 'file'), '');
  const log = keepLog();
  const note = { keys: [], socketCount: 0, drainMs: 0 };
  const options = { note, fds: [], graceMs: 20_000, logger: log.logger };
  assert.equal(await waitForSuccessor({ folder: join(folder, 'file'), ...options }), false);
  assert.equal(await waitForSuccessor({ folder: '/tmp', ...options }), false);
  assert.equal(log.lines.length, 2);
  const orphans = new Orphans({ folder: '/tmp', keys: [], logger: log.logger });
  await orphans.look();
  assert.match(JSON.stringify(log.lines[2]?.err), /must belong to this user alone/);
});
