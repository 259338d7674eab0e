/**
 * The well-behaved backend of the demo, the tests and the bench. It answers every request with its own id and the request that
 * arrived, as JSON:
 *
 *   /            {"id":"8081","method":"GET","path":"/","headers":{…},"body":""}, and an X-Backend field
 *   /echo        the request's body as it came, streamed
 *   /health      200 ok
 *   /slow?ms=N   the JSON after N ms (at most 10 min)
 *   /bytes?n=N   N bytes of x (at most 16 GiB), written as fast as they are read
 *   /stream      server-sent events: ?n=5 of them, ?ms=100 apart
 *   /status/N    status N with the JSON
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type ListenOptions, listen, runAsScript, type TestBackend } from './server.ts';

/** Not `import`: that evaluates every export of node:http and so loads undici, 15 MiB per backend. */
const { createServer } = process.getBuiltinModule('node:http');

const MAX_SLOW_MS = 600_000;
const MAX_BYTES = 16 * 2 ** 30;
const MAX_EVENTS = 100_000;
/** The JSON answer contains this much of a body and counts the rest. */
const MAX_ECHO_BYTES = 2 ** 20;
const PIECE = Buffer.alloc(64 * 1024, 'x');

export interface EchoOptions extends ListenOptions {
  /** Shown in the answers; default: the port. */
  id?: string;
}

/** startEcho runs one until close(). */
export async function startEcho(options: EchoOptions = {}): Promise<TestBackend> {
  let id = options.id ?? '';
  // Longer than the proxy keeps idle connections, so that the proxy closes first.
  const server = createServer({ keepAliveTimeout: 120_000, requestTimeout: 0 }, (request, response) => {
    response.setHeader('X-Backend', id);
    answer(id, request, response).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : new Error(String(error)));
    });
  });
  const backend = await listen(server, options);
  if (id === '') id = String(backend.port);
  return backend;
}

async function answer(id: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://backend');
  const numberOf = (name: string, fallback: number, max: number) =>
    Math.min(max, Math.max(0, Math.trunc(Number(url.searchParams.get(name) ?? fallback)) || 0));
  switch (url.pathname) {
    case '/health':
      response.setHeader('Content-Type', 'text/plain');
      response.end('ok');
      return;
    case '/echo':
      response.setHeader('Content-Type', request.headers['content-type'] ?? 'application/octet-stream');
      return pipeline(request, response);
    case '/bytes':
      return sendBytes(response, numberOf('n', 0, MAX_BYTES));
    case '/stream':
      return sendEvents(response, numberOf('n', 5, MAX_EVENTS), numberOf('ms', 100, MAX_SLOW_MS));
    case '/slow':
      await pause(response, numberOf('ms', 1_000, MAX_SLOW_MS));
      return sendJson(id, request, response);
    default: {
      const status = Number(/^\/status\/([2-5]\d\d)$/.exec(url.pathname)?.[1] ?? 200);
      response.statusCode = status;
      return sendJson(id, request, response);
    }
  }
}

async function sendJson(id: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const parts: Buffer[] = [];
  let bodyBytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    if (bodyBytes < MAX_ECHO_BYTES) parts.push(part);
    bodyBytes += part.length;
  }
  const { method, url: path, headers } = request;
  const body = Buffer.concat(parts).toString('utf8', 0, MAX_ECHO_BYTES);
  const text = JSON.stringify({ id, method, path, headers, body, bodyBytes });
  response.setHeader('Content-Type', 'application/json');
  response.setHeader('Content-Length', Buffer.byteLength(text));
  response.end(text);
}

async function sendBytes(response: ServerResponse, count: number): Promise<void> {
  response.setHeader('Content-Type', 'application/octet-stream');
  response.setHeader('Content-Length', count);
  if (count <= PIECE.length) {
    response.end(PIECE.subarray(0, count));
    return;
  }
  await pipeline(Readable.from(pieces(count), { objectMode: false }), response);
}

function* pieces(count: number): Generator<Buffer> {
  for (let left = count; left > 0; left -= PIECE.length) {
    yield left >= PIECE.length ? PIECE : PIECE.subarray(0, left);
  }
}

async function sendEvents(response: ServerResponse, count: number, everyMs: number): Promise<void> {
  response.setHeader('Content-Type', 'text/event-stream');
  response.setHeader('Cache-Control', 'no-store');
  response.flushHeaders();
  for (let index = 1; index <= count && !response.destroyed; index += 1) {
    response.write(`id: ${index}\ndata: ${JSON.stringify({ index, atMs: Date.now() })}\n\n`);
    if (index < count) await pause(response, everyMs);
  }
  response.end();
}

/** Resolves early when the client disconnects. */
function pause(response: ServerResponse, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      response.off('close', finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    response.once('close', finish);
  });
}

if (import.meta.main) {
  await runAsScript(['id'], (options, all) => startEcho({ ...options, id: all.id }));
}
