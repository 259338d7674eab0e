import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { startRawBackend } from '../support/backend.ts';
import { waitFor } from '../support/wait.ts';
import { answering, holding, OK } from './pool-backends.ts';
import { ask, get, makePool, RecordingSink, send } from './support.ts';

test('one connection serves request after request', async (t) => {
  const { port, sockets } = await answering(t);
  const pool = makePool(t, { port });
  for (let i = 0; i < 5; i++) {
    const sink = await ask(pool);
    assert.equal(sink.body.toString(), 'ok');
    assert.equal(sink.exchange?.reused, i > 0);
    assert.deepEqual(sink.calls, ['head']);
    assert.equal(pool.parkedCount, 1);
  }
  assert.equal(sockets.length, 1);
  assert.equal(pool.openCount, 1);
});

test('the newest parked connection is reused first', async (t) => {
  const { port, waiting } = await holding(t);
  const pool = makePool(t, { port });
  const sinks = [0, 1, 2].map(() => send(pool, get(), new RecordingSink()));
  await waitFor('three requests', () => waiting.length === 3);
  const ports: (number | undefined)[] = [];
  for (const socket of waiting.splice(0)) {
    const before = pool.parkedCount;
    socket.write(OK);
    await waitFor('the connection to be parked', () => pool.parkedCount === before + 1);
    ports.push(socket.remotePort);
  }
  assert.ok(sinks.every((sink) => sink.ended));
  for (const expected of [ports[2], ports[1], ports[0]]) {
    send(pool, get(), new RecordingSink());
    await waitFor('the next request', () => waiting.length > 0);
    // Not answered, so that the next request takes another connection.
    assert.equal(waiting.pop()?.remotePort, expected);
  }
  assert.equal(pool.openCount, 3);
  for (const sink of sinks) sink.exchange?.destroy({ memoryIsFree: false });
});

test('a fresh request never takes a parked connection', async (t) => {
  const { port, sockets } = await answering(t);
  const pool = makePool(t, { port });
  await ask(pool);
  const sink = await send(pool, get(), new RecordingSink(), { fresh: true }).finished();
  assert.equal(sink.exchange?.reused, false);
  assert.equal(sockets.length, 2);
  assert.equal(pool.parkedCount, 2);
});

test('the sink gets no calls before start has returned', async (t) => {
  const { port } = await answering(t);
  const pool = makePool(t, { port });
  await ask(pool);
  const sink = new RecordingSink();
  pool.start(get(), sink, { fresh: false });
  assert.deepEqual(sink.calls, []);
  await sink.finished();
  assert.deepEqual(sink.calls, ['head']);
});

const ENDS: [string, (socket: Socket) => void][] = [
  ['a FIN', (socket) => socket.end()],
  ['a reset', (socket) => socket.resetAndDestroy()],
  ['a byte', (socket) => socket.write('x')],
];
for (const [name, end] of ENDS) {
  test(`${name} on a parked connection removes it at once`, async (t) => {
    const { port, sockets } = await answering(t);
    const pool = makePool(t, { port });
    await ask(pool);
    const socket = sockets[0];
    assert.ok(socket !== undefined);
    end(socket);
    await waitFor('the parked connection to go', () => pool.parkedCount === 0 && pool.openCount === 0);
    assert.equal((await ask(pool)).exchange?.reused, false);
  });
}

test('a parked connection closes at its deadline, without traffic', async (t) => {
  const { port } = await answering(t);
  const pool = makePool(t, { port, parkMs: 60 });
  await ask(pool);
  assert.equal(pool.parkedCount, 1);
  await waitFor('the parked connection to age out', () => pool.openCount === 0, { timeoutMs: 1_000 });
  assert.equal(pool.parkedCount, 0);
});

test("the backend's Keep-Alive hint shortens the parking, minus one second", async (t) => {
  const second = await answering(
    t,
    'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok',
  );
  const pool = makePool(t, { port: second.port });
  await ask(pool);
  assert.equal(pool.parkedCount, 0, 'a hint of one second leaves nothing');
  const long = await answering(
    t,
    'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2, max=99\r\nContent-Length: 2\r\n\r\nok',
  );
  const pool2 = makePool(t, { port: long.port });
  const startMs = performance.now();
  await ask(pool2);
  assert.equal(pool2.parkedCount, 1);
  await waitFor('the hinted time to end', () => pool2.parkedCount === 0, { timeoutMs: 1_900 });
  assert.ok(performance.now() - startMs >= 990, 'not before one second');
});

test('no more than maxParked connections are parked', async (t) => {
  const { port, waiting } = await holding(t);
  const pool = makePool(t, { port, maxParked: 2 });
  const sinks = Array.from({ length: 5 }, () => send(pool, get(), new RecordingSink()));
  await waitFor('five requests', () => waiting.length === 5);
  for (const socket of waiting) socket.write(OK);
  await waitFor('five answers', () => sinks.every((sink) => sink.ended));
  assert.equal(pool.parkedCount, 2);
  await waitFor('the others to close', () => pool.openCount === 2);
});

test('close destroys parked connections and lets busy ones finish', async (t) => {
  const { port, waiting } = await holding(t);
  const pool = makePool(t, { port });
  const first = send(pool, get(), new RecordingSink());
  const second = send(pool, get(), new RecordingSink());
  await waitFor('two requests', () => waiting.length === 2);
  waiting[0]?.write(OK);
  await waitFor('one to be parked', () => pool.parkedCount === 1);
  pool.close();
  pool.close();
  assert.equal(pool.parkedCount, 0);
  waiting[1]?.write(OK);
  await second.finished();
  assert.ok(first.ended && second.ended);
  await waitFor('both sockets closed', () => pool.openCount === 0);
  // A request of an older plan is still served.
  waiting.length = 0;
  const late = send(pool, get(), new RecordingSink());
  await waitFor('the late request', () => waiting.length === 1);
  waiting[0]?.write(OK);
  await late.finished();
  assert.equal(late.body.toString(), 'ok');
});

for (const [name, end] of ENDS.slice(0, 2)) {
  test(`B10: ${name} on a reused connection is retryable before a response byte, and not after one`, async (t) => {
    let requestCount = 0;
    let prefix = '';
    const backend = await startRawBackend((socket) => {
      socket.on('data', () => {
        if (requestCount++ === 0) socket.write(OK);
        else if (prefix === '') end(socket);
        else socket.write(prefix, () => end(socket));
      });
    });
    t.after(() => backend.close());
    const pool = makePool(t, { port: backend.port });
    await ask(pool);
    const reused = await ask(pool);
    assert.equal(reused.exchange?.reused, true);
    assert.equal(reused.error?.code, 'upstream_reset');
    assert.equal(reused.error?.retryable, true);

    const fresh = await ask(pool);
    assert.equal(fresh.exchange?.reused, false);
    assert.equal(fresh.error?.code, 'upstream_reset');
    assert.equal(fresh.error?.retryable, false, 'a fresh connection proves that the backend is at fault');

    requestCount = 0;
    await ask(pool);
    prefix = 'H';
    const begun = await ask(pool);
    assert.equal(begun.exchange?.reused, true);
    assert.equal(begun.error?.code, 'upstream_reset');
    // A reset may overtake the byte before it.
    if (name === 'a FIN') assert.equal(begun.error?.retryable, false);
  });
}

test('B10: the exchange tells whether its body was begun', async (t) => {
  let requestCount = 0;
  const backend = await startRawBackend((socket) => {
    socket.on('data', () => {
      if (requestCount++ === 0) socket.write(OK);
      else socket.resetAndDestroy();
    });
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port });
  await ask(pool);
  class WritingSink extends RecordingSink {
    override onConnected(): void {
      this.exchange?.writeBody(Buffer.from('hello'));
      this.exchange?.endBody([]);
    }
  }
  const sink = send(pool, get('/', { method: 'PUT', bodyLength: 5 }), new WritingSink());
  await sink.finished();
  assert.equal(sink.error?.retryable, true);
});

test('a 304 with a Content-Length keeps its connection, and a body behind it is never taken for the next answer', async (t) => {
  const { port, waiting } = await holding(t);
  const pool = makePool(t, { port });
  const first = send(pool, get(), new RecordingSink());
  await waitFor('the first request', () => waiting.length === 1);
  const socket = waiting.splice(0)[0];
  socket?.write('HTTP/1.1 304 Not Modified\r\nContent-Length: 40\r\n\r\n');
  await waitFor('the connection to be parked', () => pool.parkedCount === 1);
  assert.deepEqual([first.head?.status, first.head?.contentLength, first.ended], [304, 40, true]);
  socket?.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx');
  await waitFor('the connection to be closed', () => pool.openCount === 0);
  const second = send(pool, get(), new RecordingSink());
  await waitFor('the second request', () => waiting.length === 1);
  assert.equal(second.exchange?.reused, false);
  waiting[0]?.write(OK);
  await waitFor('its answer', () => second.ended);
  assert.equal(second.body.toString(), 'ok');
});
