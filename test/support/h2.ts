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

export const { NGHTTP2_REFUSED_STREAM, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_NO_ERROR, NGHTTP2_CANCEL } = constants;

const PREFACE_BYTES = 24;

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH: 5,
  PING: 6,
  GOAWAY: 7,
  CONTINUATION: 9,
};
export const FLAG = { END_STREAM: 1, ACK: 1, END_HEADERS: 4 };

/** frame makes one frame (RFC 9113 §4.1). */
export function frame(
  type: number,
  flags: number,
  streamId: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

/** fields makes a header block of literals that are not indexed (RFC 7541 §6.2.2). Texts are latin1. */
export function fields(...pairs: readonly (readonly [name: string, value: string])[]): Buffer {
  return Buffer.concat(pairs.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]));
}

function literal(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  const length: number[] = [];
  if (bytes.length < 127) length.push(bytes.length);
  else {
    length.push(127);
    let rest = bytes.length - 127;
    for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

export interface FrameHead {
  type: number;
  flags: number;
  streamId: number;
  /** Index of the connection. */
  connection: number;
}

export interface RawBackend {
  port: number;
  sockets: Socket[];
}

/** startRawBackend sends its SETTINGS, then calls onFrame with each frame of the client. */
export async function startRawBackend(
  t: TestContext,
  onFrame: (socket: Socket, head: FrameHead, payload: Buffer) => void,
  settings: Buffer | null = frame(FRAME.SETTINGS, 0, 0),
): Promise<RawBackend> {
  const sockets: Socket[] = [];
  const server = createTcpServer((socket) => {
    const connection = sockets.push(socket) - 1;
    socket.on('error', () => undefined);
    if (settings !== null) socket.write(settings);
    let pending: Buffer = Buffer.alloc(0);
    let sawPreface = false;
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      if (!sawPreface && pending.length >= PREFACE_BYTES) {
        sawPreface = true;
        pending = pending.subarray(PREFACE_BYTES);
      }
      while (sawPreface && pending.length >= 9) {
        const end = 9 + pending.readUIntBE(0, 3);
        if (pending.length < end) break;
        const head = { type: pending[3]!, flags: pending[4]!, streamId: pending.readUInt32BE(5), connection };
        const payload = pending.subarray(9, end);
        pending = pending.subarray(end);
        onFrame(socket, head, payload);
      }
    });
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}
