/** Backends of tests: a handler on a free port, closed with all its sockets. */
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { listen, type TestBackend } from '../../test_backs/server.ts';

export type { TestBackend } from '../../test_backs/server.ts';

export interface HttpTestBackend extends TestBackend {
  /** Requests seen since the start. */
  readonly requestCount: number;
}

/** startBackend runs an HTTP handler; keep-alive never ends by itself. `port` brings one back where it was. */
export async function startBackend(handler: RequestListener, { port = 0 } = {}): Promise<HttpTestBackend> {
  let requestCount = 0;
  const server = createHttpServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
    requestCount += 1;
    handler(request, response);
  });
  const backend = await listen(server, { port });
  return Object.defineProperty(backend, 'requestCount', { get: () => requestCount }) as HttpTestBackend;
}

/** startRawBackend hands every accepted socket to the test, which speaks (or breaks) HTTP itself. */
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
