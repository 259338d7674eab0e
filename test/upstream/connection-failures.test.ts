import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { LbError } from '../../src/contract/errors.ts';
import { startRawBackend } from '../support/backend.ts';
import { waitFor } from '../support/wait.ts';
import { answering, holding, OK } from './pool-backends.ts';
import { ask, get, makePool, RecordingSink, send } from './support.ts';

test('a refused connection is connect_failed and retryable, and leaves nothing open', async (t) => {
  const { port, close } = await startRawBackend(() => undefined);
  await close();
  const pool = makePool(t, { port });
  const sink = await ask(pool);
  assert.equal(sink.error?.code, 'connect_failed');
  assert.equal(sink.error?.retryable, true);
  assert.equal(sink.error?.status, 502);
  assert.deepEqual(sink.calls, ['error']);
  await waitFor('no socket', () => pool.openCount === 0);
});

test('a name that does not resolve is connect_failed', async (t) => {
  const pool = makePool(t, { port: 80, host: 'no-such-host.invalid' });
  const sink = await ask(pool);
  assert.equal(sink.error?.code, 'connect_failed');
});

test('names are resolved at each connect', async (t) => {
  const { port } = await answering(t);
  const pool = makePool(t, { port, host: 'localhost' });
  assert.equal((await ask(pool)).body.toString(), 'ok');
});

test('B15: a backend that accepts no connection within connectMs is connect_failed', async (t) => {
  // Linux drops handshakes when a listener's queue is full. With a backlog of 1, two connections fit.
  const { spawn } = await import('node:child_process');
  const frozen = spawn(
    process.execPath,
    [
      '-e',
      `const s=require('node:net').createServer();s.listen({port:0,host:'127.0.0.1',backlog:1},()=>{
        process.stdout.write(s.address().port+'\\n',()=>{for(;;);})})`,
    ],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  t.after(() => frozen.kill('SIGKILL'));
  let text = '';
  frozen.stdout.on('data', (data: Buffer) => {
    text += data.toString();
  });
  const port = Number(
    await waitFor('the port of the frozen listener', () => text.includes('\n') && text.trim()),
  );
  const pool = makePool(t, { port, connectMs: 150, responseMs: 60_000 });
  const sinks = Array.from({ length: 6 }, () => send(pool, get(), new RecordingSink()));
  await waitFor('refused handshakes', () => sinks.filter((sink) => sink.error !== null).length >= 3);
  for (const sink of sinks) {
    if (sink.error === null) sink.exchange?.destroy({ memoryIsFree: false });
    else assert.equal(sink.error.code, 'connect_failed');
  }
});

test('B15: no response head within responseMs is upstream_timeout, and the connection closes', async (t) => {
  const { port, waiting } = await holding(t);
  const pool = makePool(t, { port, responseMs: 80 });
  const startMs = performance.now();
  const sink = await ask(pool);
  assert.equal(sink.error?.code, 'upstream_timeout');
  assert.equal(sink.error?.status, 504);
  assert.ok(performance.now() - startMs >= 80);
  assert.equal(waiting.length, 1);
  await waitFor('the connection to be destroyed', () => pool.openCount === 0);
});

test('B15: a body that pauses for idleMs is upstream_timeout; without such a pause it may take any time', async (t) => {
  const PARTS = 12;
  const backend = await startRawBackend((socket) => {
    socket.on('data', (data) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${PARTS}\r\n\r\n`);
      let left = data.includes('/steady') ? PARTS : 3;
      const timer = setInterval(() => {
        socket.write('x');
        if (--left === 0) clearInterval(timer);
      }, 30);
      socket.on('close', () => clearInterval(timer));
    });
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port, idleMs: 150, responseMs: 150 });
  const steady = await ask(pool, get('/steady'));
  assert.equal(steady.error, null);
  assert.equal(steady.body.length, PARTS);
  const stalled = await ask(pool, get('/stalled'));
  assert.equal(stalled.error?.code, 'upstream_timeout');
  assert.equal(stalled.body.length, 3);
});

test('B28: destroy closes the connection at once, and the sink gets no more calls', async (t) => {
  const { port, waiting } = await holding(t);
  const pool = makePool(t, { port });
  const states: [string, () => Promise<unknown>][] = [
    ['while connecting', async () => undefined],
    ['while waiting', () => waitFor('the request', () => waiting.length > 0)],
  ];
  for (const [state, reached] of states) {
    const sink = send(pool, get(), new RecordingSink());
    await reached();
    const calls = sink.calls.length;
    const startMs = performance.now();
    sink.exchange?.destroy({ memoryIsFree: false });
    await waitFor(`no socket after an abort ${state}`, () => pool.openCount === 0, { everyMs: 1 });
    assert.ok(performance.now() - startMs < 100);
    assert.equal(sink.calls.length, calls);
    // Every later call has no effect.
    assert.equal(sink.exchange?.writeBody(Buffer.from('x')), true);
    sink.exchange?.endBody([]);
    sink.exchange?.resume();
    sink.exchange?.settled();
    sink.exchange?.destroy({ memoryIsFree: false });
  }
});

test('B28: 200 aborts at random moments leave no socket open on either side', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n');
      socket.write(Buffer.alloc(400_000));
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const pool = makePool(t, { port: address.port });
  const errors: LbError[] = [];
  for (let i = 0; i < 200; i++) {
    const sink = send(pool, get(), new RecordingSink());
    for (let turns = i % 7; turns > 0; turns--) await new Promise(setImmediate);
    sink.exchange?.destroy({ memoryIsFree: false });
    if (sink.error !== null) errors.push(sink.error);
  }
  await waitFor('no socket of the pool', () => pool.openCount === 0);
  await waitFor('no socket of the backend', async () => {
    const count = await new Promise<number>((resolve) => {
      server.getConnections((_error, connections) => resolve(connections));
    });
    return count === 0;
  });
  assert.deepEqual(errors, []);
  assert.deepEqual(pool.faults, []);
});

const SINK_FAULTS: [
  keyof RecordingSink & ('onConnected' | 'onInformation' | 'onHead' | 'onBody' | 'onEnd'),
  string,
][] = [
  ['onConnected', OK],
  ['onInformation', `HTTP/1.1 103 E\r\n\r\n${OK}`],
  ['onHead', OK],
  ['onHead', 'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok'],
  ['onBody', 'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok'],
  ['onEnd', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: 1\r\n\r\n'],
];
for (const [method, answer] of SINK_FAULTS) {
  test(`a sink that throws in ${method} fails its own request only (${answer.length} bytes)`, async (t) => {
    const { port } = await answering(t, answer);
    const pool = makePool(t, { port });
    class ThrowingSink extends RecordingSink {}
    Object.defineProperty(ThrowingSink.prototype, method, {
      value: () => {
        throw new Error('sink bug');
      },
    });
    const request = method === 'onConnected' ? get('/', { method: 'PUT', bodyLength: 5 }) : get();
    const sink = send(pool, request, new ThrowingSink());
    await waitFor('the internal error', () => sink.error !== null);
    assert.equal(sink.error?.code, 'internal_error');
    assert.equal(pool.faults.length, 1);
    assert.match(pool.faults[0]?.message ?? '', /sink bug/);
  });
}

test('a sink that cannot send on what a backend said fails its request as the backend’s fault', async (t) => {
  const { port } = await answering(t, `HTTP/1.1 103 E\r\n\r\n${OK}`);
  const pool = makePool(t, { port });
  const sink = new RecordingSink();
  sink.onInformation = () => {
    throw new LbError('upstream_invalid', 'cannot be sent on');
  };
  await send(pool, get(), sink).finished();
  assert.equal(sink.error?.code, 'upstream_invalid');
  assert.deepEqual(pool.faults, []);
});

test('an exception in onError of a sink is reported and does no harm', async (t) => {
  const { port } = await answering(t, 'nonsense');
  const pool = makePool(t, { port });
  class ThrowingSink extends RecordingSink {
    override onError(): void {
      throw new Error('worse bug');
    }
  }
  send(pool, get(), new ThrowingSink());
  await waitFor('the fault', () => pool.faults.length === 1);
  assert.match(pool.faults[0]?.message ?? '', /worse bug/);
});
