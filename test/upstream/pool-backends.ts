/** Backends for the tests of the connection pool. */
import type { Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { startRawBackend } from '../support/backend.ts';

export const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** A backend that answers every read with `answer` and lists its sockets in order of arrival. */
export async function answering(t: TestContext, answer = OK) {
  const sockets: Socket[] = [];
  const backend = await startRawBackend((socket) => {
    sockets.push(socket);
    socket.on('data', () => socket.write(answer, 'latin1'));
  });
  t.after(() => backend.close());
  return { port: backend.port, sockets };
}

/** A backend that answers when the test says so. */
export async function holding(t: TestContext) {
  const waiting: Socket[] = [];
  const backend = await startRawBackend((socket) => {
    socket.on('data', () => waiting.push(socket));
  });
  t.after(() => backend.close());
  return { port: backend.port, waiting };
}
