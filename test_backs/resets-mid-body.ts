/**
 * A backend that announces a body, sends a part of it and then resets the connection. /chunked resets inside a chunk,
 * /before-head before any byte of an answer, every other path inside a body with Content-Length.
 */
import { createServer } from 'node:net';
import { type ListenOptions, listen, runAsScript, type TestBackend } from './server.ts';

const HEAD_WITH_LENGTH = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n';
const HEAD_CHUNKED = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n';

/** startResetsMidBody runs one until close(). */
export function startResetsMidBody(options: ListenOptions = {}): Promise<TestBackend> {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', (request: Buffer) => {
      const target = request.toString('latin1').split(' ')[1] ?? '';
      if (target.startsWith('/before-head')) {
        socket.resetAndDestroy();
        return;
      }
      const head = target.startsWith('/chunked') ? `${HEAD_CHUNKED}3e8\r\n` : HEAD_WITH_LENGTH;
      // Waits for the write and one turn of the event loop, because a reset may discard bytes that the receiver has not read.
      socket.write(`${head}${'x'.repeat(100)}`, () => setImmediate(() => socket.resetAndDestroy()));
    });
  });
  return listen(server, options);
}

if (import.meta.main) await runAsScript([], startResetsMidBody);
