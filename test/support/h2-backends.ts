/** Backends that speak HTTP/2, and hostile ones that write frames by hand. */
import {
  constants,
  createServer,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { block, type Fields, framesIn, PREFACE, settings } from './h2-frames.ts';

export interface H2Backend {
  port: number;
  server: Http2Server;
  sockets: Socket[];
  sessions: ServerHttp2Session[];
  streams: ServerHttp2Stream[];
  /** Fields of each request, as they came. */
  requests: string[][];
}

/** startH2Backend starts a backend that answers each stream by `answer`. It ends with the test. */
export async function startH2Backend(
  t: TestContext,
  answer: (stream: ServerHttp2Stream, fields: Record<string, unknown>) => void,
  options: Parameters<typeof createServer>[0] = {},
): Promise<H2Backend> {
  const server = createServer(options);
  const backend: H2Backend = { port: 0, server, sockets: [], sessions: [], streams: [], requests: [] };
  server.on('connection', (socket) => backend.sockets.push(socket));
  server.on('session', (session) => {
    backend.sessions.push(session);
    session.on('error', () => undefined);
  });
  server.on('stream', (stream: ServerHttp2Stream, fields, _flags, raw: string[]) => {
    stream.on('error', () => undefined);
    backend.streams.push(stream);
    backend.requests.push(raw);
    answer(stream, fields);
  });
  server.on('sessionError', () => undefined);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const session of backend.sessions) session.destroy();
    server.close();
  });
  backend.port = (server.address() as AddressInfo).port;
  return backend;
}

export const { NGHTTP2_REFUSED_STREAM } = constants;

/** fieldBlock is `block` of these fields. */
export const fieldBlock = (...fields: Fields): Buffer => block(fields);

export interface FrameHead {
  type: number;
  flags: number;
  streamId: number;
  /** Index of the connection. */
  connection: number;
}

export interface FrameBackend {
  port: number;
  sockets: Socket[];
}

/** answerOk answers a stream by 200 with the body `ok`. */
export function answerOk(stream: ServerHttp2Stream): void {
  stream.respond({ ':status': 200 });
  stream.end('ok');
}

/** startFrameBackend sends its SETTINGS, then calls onFrame with each frame of the client. */
export async function startFrameBackend(
  t: TestContext,
  onFrame: (socket: Socket, head: FrameHead, payload: Buffer) => void,
  opening: Buffer | null = settings(),
): Promise<FrameBackend> {
  const sockets: Socket[] = [];
  const server = createTcpServer((socket) => {
    const connection = sockets.push(socket) - 1;
    socket.on('error', () => undefined);
    if (opening !== null) socket.write(opening);
    let pending: Buffer = Buffer.alloc(0);
    let sawPreface = false;
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      if (!sawPreface && pending.length >= PREFACE.length) {
        sawPreface = true;
        pending = pending.subarray(PREFACE.length);
      }
      if (!sawPreface) return;
      const { frames, rest } = framesIn(pending);
      pending = rest;
      for (const { type, flags, stream: streamId, payload } of frames)
        onFrame(socket, { type, flags, streamId, connection }, payload);
    });
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}
