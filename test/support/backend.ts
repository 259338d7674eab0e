/** Backends for tests, on free ports. close() also closes their sockets. */
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { listen, type TestBackend } from '../../test_backs/server.ts';

export type { TestBackend } from '../../test_backs/server.ts';

export interface HttpTestBackend extends TestBackend {
  /** Requests seen since the start. */
  readonly requestCount: number;
}

/** startBackend runs an HTTP handler whose keep-alive never ends. `port` restarts a backend on its old port. */
export async function startBackend(handler: RequestListener, { port = 0 } = {}): Promise<HttpTestBackend> {
  let requestCount = 0;
  const server = createHttpServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
    requestCount += 1;
    handler(request, response);
  });
  const backend = await listen(server, { port });
  return Object.defineProperty(backend, 'requestCount', { get: () => requestCount }) as HttpTestBackend;
}

/** startRawBackend gives every accepted socket to the test, which writes the HTTP itself. */
export async function startRawBackend(
  onSocket: (socket: Socket) => void,
  { port = 0 } = {},
): Promise<TestBackend> {
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    onSocket(socket);
  });
  return listen(server, { port });
}
