/** A backend on a real socket that reads requests strictly and records them byte for byte. */
import { createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { STANDARD_METHODS } from '../../src/contract/metrics.ts';

export interface CapturedRequest {
  method: string;
  target: string;
  version: string;
  /** Names as received, in order. */
  headers: [name: string, value: string][];
  header(name: string): string | null;
  all(name: string): string[];
  /** Without chunk framing. */
  body: string;
  trailers: string;
  /** The bytes as they arrived (latin1). */
  raw: string;
  /** Number of the connection that it came on, from 0. */
  connection: number;
}

export interface CapturingBackend {
  port: number;
  requests: CapturedRequest[];
  /** All bytes received, one text per connection. */
  received: string[];
  connectionCount: number;
  /** Number of closed connections. */
  closedCount: number;
  /** Number of connections that Sluice ended by a reset. */
  resetCount: number;
  sockets: Socket[];
  close(): Promise<void>;
}

type Answer = (request: CapturedRequest, socket: Socket) => string | null;

/**
 * startCapturingBackend reads requests strictly and records them. It answers each with `answer` (default: 200 with the
 * target as body); null leaves the socket to the test. Bytes that are no request become a request with method `?`.
 */
export async function startCapturingBackend(
  t: TestContext,
  answer: Answer = echoTarget,
): Promise<CapturingBackend> {
  const sockets: Socket[] = [];
  const backend: CapturingBackend = {
    port: 0,
    requests: [],
    received: [],
    connectionCount: 0,
    closedCount: 0,
    resetCount: 0,
    sockets,
    close: () => closeServer(server, sockets),
  };
  const server = createServer({ noDelay: true }, (socket) => {
    const connection = backend.connectionCount++;
    backend.received[connection] = '';
    let pending = '';
    sockets.push(socket);
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      if (code === 'ECONNRESET') backend.resetCount++;
      socket.destroy();
    });
    socket.on('close', () => {
      backend.closedCount++;
    });
    socket.on('data', (chunk: Buffer) => {
      const text = chunk.toString('latin1');
      backend.received[connection] += text;
      pending += text;
      for (;;) {
        const found = takeRequest(pending, connection);
        if (found === null) return;
        pending = pending.slice(found.raw.length);
        backend.requests.push(found);
        const bytes = answer(found, socket);
        if (bytes !== null && socket.writable) socket.write(bytes, 'latin1');
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  backend.port = typeof address === 'object' && address !== null ? address.port : 0;
  t.after(() => backend.close());
  return backend;
}

/** ok is a plain 200 with a body. */
export function ok(body: string, headers = ''): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${headers}\r\n${body}`;
}

function echoTarget(request: CapturedRequest): string {
  return ok(request.method === 'HEAD' ? '' : `${request.method} ${request.target}`);
}

function closeServer(server: Server, sockets: Socket[]): Promise<void> {
  for (const socket of sockets) socket.destroy();
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

const KNOWN_METHODS: readonly string[] = [...STANDARD_METHODS, 'QUERY', 'PROPFIND', 'SOURCE'];

function takeRequest(text: string, connection: number): CapturedRequest | null {
  const headEnd = text.indexOf('\r\n\r\n');
  if (headEnd < 0) return null;
  const [line = '', ...lines] = text.slice(0, headEnd).split('\r\n');
  const [method = '', target = '', version = ''] = line.split(' ');
  const headers = lines.map((field): [string, string] => {
    const colon = field.indexOf(':');
    return [field.slice(0, colon), field.slice(colon + 1).trim()];
  });
  const all = (name: string) =>
    headers.filter(([key]) => key.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
  const header = (name: string) => all(name)[0] ?? null;
  const start = headEnd + 4;
  const known = KNOWN_METHODS.includes(method) && version === 'HTTP/1.1';
  const body = known ? takeBody(text, start, header) : { body: '', trailers: '', end: start };
  if (body === null) return null;
  return {
    method: known ? method : '?',
    target,
    version,
    headers,
    header,
    all,
    body: body.body,
    trailers: body.trailers,
    raw: text.slice(0, body.end),
    connection,
  };
}

function takeBody(text: string, start: number, header: (name: string) => string | null) {
  if (header('transfer-encoding') === null) {
    const end = start + Number(header('content-length') ?? 0);
    return text.length < end ? null : { body: text.slice(start, end), trailers: '', end };
  }
  let body = '';
  let at = start;
  for (;;) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) return null;
    const size = Number.parseInt(text.slice(at, lineEnd), 16);
    if (size === 0) {
      const end = text.startsWith('\r\n', lineEnd + 2) ? lineEnd : text.indexOf('\r\n\r\n', lineEnd + 2);
      if (end < 0 || text.length < end + 4) return null;
      return { body, trailers: end === lineEnd ? '' : text.slice(lineEnd + 2, end), end: end + 4 };
    }
    if (text.length < lineEnd + 2 + size + 2) return null;
    body += text.slice(lineEnd + 2, lineEnd + 2 + size);
    at = lineEnd + 2 + size + 2;
  }
}
