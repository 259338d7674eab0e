/** Backends of tests: a handler on a free port, closed with all its sockets. */
import { once } from 'node:events';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';

export interface TestBackend {
  readonly port: number;
  /** http://127.0.0.1:port */
  readonly url: string;
  /** Connections open now. */
  readonly sockets: ReadonlySet<Socket>;
  /** Connections accepted since the start. */
  readonly connectionCount: number;
  /** Requests seen since the start; stays 0 for raw backends. */
  readonly requestCount: number;
  /** close refuses new connections and destroys the open ones; may be called twice. */
  close(): Promise<void>;
}

/** startBackend runs an HTTP handler; keep-alive never ends by itself. `port` brings one back where it was. */
export async function startBackend(handler: RequestListener, { port = 0 } = {}): Promise<TestBackend> {
  let requestCount = 0;
  const server = createHttpServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
    requestCount += 1;
    handler(request, response);
  });
  return listen(server, port, () => requestCount);
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
  return listen(server, port, () => 0);
}

async function listen(server: Server, wantedPort: number, requestCount: () => number): Promise<TestBackend> {
  const sockets = new Set<Socket>();
  let connectionCount = 0;
  server.on('connection', (socket: Socket) => {
    connectionCount += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(wantedPort, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : wantedPort;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    sockets,
    get connectionCount() {
      return connectionCount;
    },
    get requestCount() {
      return requestCount();
    },
    async close() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
