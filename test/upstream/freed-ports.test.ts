import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startRawBackend } from '../support/backend.ts';
import { waitFor } from '../support/wait.ts';
import { OK } from './pool-backends.ts';
import { get, makePool, RecordingSink, send } from './support.ts';

for (const [name, request] of [
  ['an answer to HEAD', get('/', { method: 'HEAD' })],
  ['a GET with a body', get('/', { bodyLength: 1 })],
] as const) {
  test(`a connection that is not used again after ${name} is reset, so that its port is free at once`, async (t) => {
    class OneByteSink extends RecordingSink {
      override onConnected(): void {
        this.exchange?.writeBody(Buffer.from('x'));
        this.exchange?.endBody([]);
      }
    }
    const ends: (string | undefined)[] = [];
    const answer = request.method === 'HEAD' ? OK.replace('ok', '') : OK;
    const backend = await startRawBackend((socket) => {
      socket.on('error', (error: NodeJS.ErrnoException) => ends.push(error.code));
      socket.on('end', () => ends.push('FIN'));
      let text = '';
      socket.on('data', (bytes) => {
        text += bytes.toString('latin1');
        if (text.endsWith(request.method === 'HEAD' ? '\r\n\r\n' : '\r\n\r\nx')) socket.write(answer);
      });
    });
    t.after(() => backend.close());
    const pool = makePool(t, { port: backend.port });
    await send(pool, request, new OneByteSink()).finished();
    await waitFor('the end of the connection', () => ends.length > 0);
    assert.deepEqual(ends, ['ECONNRESET']);
  });
}
