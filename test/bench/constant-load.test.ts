/** The constant load accounts for every request that was due, whatever the server does with it. */
import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { ConstantLoad, type ConstantLoadOptions } from '../../bench/rig/constant-load.ts';
import type { Tally } from '../../bench/rig/outcomes.ts';
import { listen } from '../../test_backs/server.ts';
import { freePort } from '../support/free-port.ts';
import { waitFor } from '../support/wait.ts';

const GOOD = 'HTTP/1.1 200 OK\r\nX-Backend: a\r\nContent-Length: 2\r\n\r\nok';
const REFUSAL = 'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy';
const GOODBYE = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok';

/** @param answer what the server does with its nth request */
async function loaded(
  t: TestContext,
  answer: (socket: Socket, count: number, text: string) => void,
  options: Partial<ConstantLoadOptions> = {},
): Promise<{ load: ConstantLoad; tally: Tally; connections: number }> {
  let count = 0;
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      count += 1;
      answer(socket, count, chunk.toString('latin1'));
    });
  });
  const backend = await listen(server);
  t.after(() => backend.close());
  const load = await ConstantLoad.start({
    ...{ port: backend.port, ratePerSec: 400, connections: 8, mostSec: 0.5, deadlineMs: 400, seed: 3 },
    ...options,
  });
  t.after(() => load.stop());
  await waitFor('all requests to be due', () => load.table.count[0] === load.table.dueMs.length);
  return { load, tally: await load.stop(), connections: backend.connectionCount };
}

test('each way to fail is counted by its kind, and good answers by their backend', async (t) => {
  const actions: ((socket: Socket) => unknown)[] = [
    (socket) => socket.write(GOOD),
    (socket) => socket.write(REFUSAL),
    (socket) => socket.resetAndDestroy(),
    (socket) => socket.end(GOOD.slice(0, -1)),
    (socket) => socket.write('HTTP/1.1 2000 OK\r\n\r\n'),
    (socket) => socket.write(`${GOOD}!`),
    () => undefined,
    (socket) => socket.end('HTTP/1.1 200 OK\r\nX-Backend: b\r\n\r\nuntil the end'),
  ];
  // The silent ones hold their connections, so there are more than these.
  const { tally } = await loaded(t, (socket, count) => actions[(count - 1) % actions.length]!(socket), {
    connections: 64,
    deadlineMs: 3_000,
  });
  assert.deepEqual(
    [tally.due, tally.good, tally.failed, tally.waiting],
    [200, 50, 150, 0],
    JSON.stringify(tally),
  );
  assert.deepEqual(tally.failures, { '503': 25, cut: 25, broken: 75, late: 25 });
  assert.deepEqual(tally.backends, { a: 25, b: 25 });
  assert.ok(tally.maxMs >= 3_000 && tally.p99Ms < 3_000);
});

test('requests fail while nobody listens, also those that wait for a connection', async () => {
  const load = await ConstantLoad.start({ port: await freePort(), ratePerSec: 200, mostSec: 0.5 });
  await waitFor('all requests to be due', () => load.table.count[0] === 100);
  const tally = await load.stop();
  assert.deepEqual([tally.due, tally.failed, tally.failures], [100, 100, { refused: 100 }]);
});

test('a request that waits for a connection is late too, and its latency counts from when it was due', async (t) => {
  let answered = 0;
  const { load, tally } = await loaded(
    t,
    (socket) => {
      answered += 1;
      if (answered === 1) setTimeout(() => socket.write(GOOD), 300);
      else if (answered <= 3) socket.write(GOOD);
    },
    { connections: 1, ratePerSec: 20, mostSec: 1 },
  );
  assert.ok(load.table.latencyMs[0]! >= 295 && load.table.queuedMs[0]! < 50);
  // Due at 50 ms, sent when the only connection was free again.
  assert.ok(load.table.latencyMs[1]! >= 200 && load.table.queuedMs[1]! >= 200);
  assert.deepEqual([tally.due, tally.good, tally.failures.late], [20, 3, 17]);
});

test('connections are opened anew after `Connection: close` and after a number of requests', async (t) => {
  const closing = await loaded(t, (socket) => socket.end(GOODBYE));
  assert.deepEqual([closing.tally.good, closing.tally.failed, closing.connections], [200, 0, 200]);
  const changing = await loaded(t, (socket) => socket.write(GOOD), { requestsPerConnection: 10 });
  assert.equal(changing.tally.good, 200);
  assert.ok(changing.connections >= 20 && changing.connections <= 28, `${changing.connections}`);
});

test('clients are told apart by seeded addresses', async (t) => {
  const run = async () => {
    const seen: string[] = [];
    const { tally } = await loaded(
      t,
      (socket, _, text) => {
        seen.push(/X-Forwarded-For: (\S+)/.exec(text)?.[1] ?? '');
        socket.write(GOOD);
      },
      { clients: 300, connections: 1 },
    );
    assert.equal(tally.good, 200);
    return seen;
  };
  const [first, second] = [await run(), await run()];
  assert.deepEqual(first, second);
  assert.ok(new Set(first).size > 100);
});
