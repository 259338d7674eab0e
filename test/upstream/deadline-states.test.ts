/** A connection has one timer for all its states: the deadline of one state must not run on in the next. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startRawBackend } from '../support/backend.ts';
import { FakeTime } from '../support/fake-time.ts';
import { waitFor } from '../support/wait.ts';
import { get, makePool, RecordingSink, send } from './support.ts';

const SHORT_MS = 150;

/** Accepts the first piece of a body and never passes it on. */
class PausedSink extends RecordingSink {
  override onBody(chunk: Buffer): boolean {
    super.onBody(chunk);
    return false;
  }
}

test('the connect deadline ends with the handshake: an upload may take longer', async (t) => {
  let received = '';
  const backend = await startRawBackend((socket) => {
    socket.on('data', (bytes) => {
      received += bytes.toString('latin1');
      if (received.endsWith('hello')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  });
  t.after(() => backend.close());
  const time = new FakeTime();
  const pool = makePool(t, { port: backend.port, connectMs: SHORT_MS, timer: time.timer });
  const sink = send(pool, get('/', { method: 'POST', bodyLength: 5 }), new RecordingSink());
  await waitFor('the connection', () => sink.calls.includes('connected'));
  sink.exchange?.writeBody(Buffer.from('he'));
  await waitFor('a part of the body', () => received.endsWith('\r\n\r\nhe'));
  time.pass(3 * SHORT_MS);
  assert.equal(sink.error, null);
  sink.exchange?.writeBody(Buffer.from('llo'));
  sink.exchange?.endBody([]);
  await sink.finished();
  assert.deepEqual([sink.error, sink.body.toString()], [null, 'ok']);
});

test('a backend whose answer is not being read does not count as silent, while the request goes on', async (t) => {
  let received = '';
  const backend = await startRawBackend((socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'));
    socket.on('data', (bytes) => {
      received += bytes.toString('latin1');
    });
    socket.on('error', () => socket.destroy());
  });
  t.after(() => backend.close());
  const time = new FakeTime();
  const pool = makePool(t, { port: backend.port, idleMs: SHORT_MS, timer: time.timer });
  const sink = send(pool, get('/', { method: 'POST', bodyLength: 9 }), new PausedSink());
  await waitFor('the connection', () => sink.calls.includes('connected'));
  sink.exchange?.writeBody(Buffer.from('abc'));
  await waitFor('a piece', () => sink.chunks.length === 1);
  sink.exchange?.writeBody(Buffer.from('def'));
  await waitFor('the piece behind it', () => received.endsWith('abcdef'));
  time.pass(3 * SHORT_MS);
  assert.equal(sink.error, null);
  sink.exchange?.destroy({ memoryIsFree: true });
});
