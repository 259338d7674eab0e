/** A client that sends exactly the given bytes and reads answers without node:http. */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { waitFor, within } from './wait.ts';

export interface RawResponse {
  version: string;
  status: number;
  reason: string;
  /** Names as received, in order. */
  headers: [name: string, value: string][];
  /** Value of the first field of that name (in any case), or null. */
  header(name: string): string | null;
  /** Values of all fields of that name. */
  all(name: string): string[];
  /** The body without chunk framing. */
  body: Buffer;
  trailers: [name: string, value: string][];
  /** The 1xx answers before this one. */
  interims: { status: number; headers: [name: string, value: string][] }[];
}

export type RawTarget = string | { port: number; host?: string } | { path: string };

const STUCK_MS = 500;
const MOST_STUCK_BYTES = 64 << 20;

export class RawClient {
  readonly socket: Socket;
  /** Joined when somebody looks: joined for each piece, 8 MiB in TLS records would be 2 GiB of copies. */
  #pieces: Buffer[] = [];
  /** The other side has sent its FIN. */
  ended = false;
  /** The socket is closed, by FIN or reset. */
  closed = false;
  /** The error that closed it, if any (ECONNRESET, …). */
  error: NodeJS.ErrnoException | null = null;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.#pieces.push(chunk);
    });
    socket.on('end', () => {
      this.ended = true;
    });
    socket.on('error', (error) => {
      this.error = error;
    });
    socket.on('close', () => {
      this.closed = true;
    });
  }

  /** Bytes received and not yet taken by readResponse. */
  get received(): Buffer {
    if (this.#pieces.length !== 1) this.#pieces = [Buffer.concat(this.#pieces)];
    return this.#pieces[0]!;
  }

  set received(rest: Buffer) {
    this.#pieces = [rest];
  }

  /** write sends bytes; a string is latin1, so that '\xff' is one byte. */
  write(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** writeUntilStuck is the function of that name on this connection. */
  writeUntilStuck(piece: Buffer): Promise<number> {
    return writeUntilStuck(this.socket, piece);
  }

  /** end sends our FIN and keeps reading. */
  end(): void {
    this.socket.end();
  }

  /** reset ends the connection with a RST. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** close destroys the connection. It may be called twice. */
  close(): void {
    this.socket.destroy();
  }

  /** readResponse returns the next final answer. @param method of the request: an answer to HEAD has no body */
  async readResponse({ method = 'GET', timeoutMs = 15_000 } = {}): Promise<RawResponse> {
    const found = await waitFor(
      'a whole HTTP response',
      () => takeResponse(this.received, method, this.ended || this.closed),
      { timeoutMs, everyMs: 2 },
    ).catch((error: Error) => {
      const shown = JSON.stringify(this.received.subarray(0, 600).toString('latin1'));
      throw new Error(
        `${error.message}; closed: ${this.closed} (${this.error?.code ?? 'no error'}); got ${shown}`,
      );
    });
    this.received = this.received.subarray(found.usedBytes);
    return found.response;
  }

  /** waitForBytes waits until `received` holds the text (latin1). */
  async waitForBytes(text: string, timeoutMs = 15_000): Promise<void> {
    await waitFor(`to receive ${JSON.stringify(text)}`, () => this.received.includes(text, 0, 'latin1'), {
      timeoutMs,
      everyMs: 2,
    });
  }

  /** waitForClose waits until the other side has ended or reset the connection. It returns the bytes not yet taken. */
  async waitForClose(timeoutMs = 15_000): Promise<Buffer> {
    await waitFor('the connection to be closed by the other side', () => this.ended || this.closed, {
      timeoutMs,
      everyMs: 2,
    });
    return this.received;
  }
}

/**
 * writeUntilStuck sends `piece` repeatedly until the other side accepts nothing for STUCK_MS, the only sign that it does not read.
 * It rejects when the other side ends the connection, or still reads after MOST_STUCK_BYTES. @returns the bytes sent
 */
export async function writeUntilStuck(socket: Socket, piece: Buffer): Promise<number> {
  for (let sentBytes = piece.length; sentBytes <= MOST_STUCK_BYTES; sentBytes += piece.length) {
    if (socket.write(piece)) continue;
    const drained = once(socket, 'drain').then(() => true);
    if (await within(drained, STUCK_MS, 'room').catch(() => false)) continue;
    if (socket.destroyed) throw new Error('the connection ended', { cause: socket.errored });
    return sentBytes;
  }
  throw new Error(`still read after ${MOST_STUCK_BYTES} bytes`);
}

/** connectRaw opens a connection to a URL, a port of 127.0.0.1 or a Unix socket. */
export async function connectRaw(target: RawTarget, { allowHalfOpen = true } = {}): Promise<RawClient> {
  const socket = createConnection({ ...addressOf(target), allowHalfOpen });
  const client = new RawClient(socket);
  await within(once(socket, 'connect'), 15_000, `a connection to ${JSON.stringify(target)}`);
  return client;
}

/** exchangeRaw sends the bytes on a new connection and returns the first final answer. */
export async function exchangeRaw(
  target: RawTarget,
  bytes: string | Buffer,
  options: { method?: string; timeoutMs?: number } = {},
): Promise<RawResponse> {
  const client = await connectRaw(target);
  try {
    client.write(bytes);
    return await client.readResponse(options);
  } finally {
    client.close();
  }
}

function addressOf(target: RawTarget): { host: string; port: number } | { path: string } {
  if (typeof target === 'string') {
    const url = new URL(target);
    return { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || 80) };
  }
  return 'path' in target ? target : { host: '127.0.0.1', ...target };
}

interface Head {
  version: string;
  status: number;
  reason: string;
  headers: [name: string, value: string][];
  endOffset: number;
}

function takeResponse(
  bytes: Buffer,
  method: string,
  ended: boolean,
): { response: RawResponse; usedBytes: number } | null {
  const interims: RawResponse['interims'] = [];
  let offset = 0;
  for (;;) {
    const head = takeHead(bytes, offset);
    if (head === null) return null;
    offset = head.endOffset;
    if (head.status < 200 && head.status !== 101) {
      interims.push({ status: head.status, headers: head.headers });
      continue;
    }
    const body = takeBody(bytes, offset, { head, method, ended });
    if (body === null) return null;
    const all = (name: string) =>
      head.headers.filter(([key]) => key.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
    const { version, status, reason, headers } = head;
    return {
      response: {
        version,
        status,
        reason,
        headers,
        interims,
        all,
        header: (name) => all(name)[0] ?? null,
        body: body.bytes,
        trailers: body.trailers,
      },
      usedBytes: body.endOffset,
    };
  }
}

function takeHead(bytes: Buffer, start: number): Head | null {
  const end = bytes.indexOf('\r\n\r\n', start);
  if (end < 0) return null;
  const [statusLine = '', ...lines] = bytes.toString('latin1', start, end).split('\r\n');
  const match = /^HTTP\/(\d\.\d) (\d{3}) ?(.*)$/.exec(statusLine);
  if (match === null) throw new Error(`not a status line: ${JSON.stringify(statusLine)}`);
  const [, version = '', status = '', reason = ''] = match;
  return { version, status: Number(status), reason, headers: lines.map(parseField), endOffset: end + 4 };
}

function parseField(line: string): [string, string] {
  const colon = line.indexOf(':');
  if (colon < 1) throw new Error(`not a field line: ${JSON.stringify(line)}`);
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')];
}

interface Body {
  bytes: Buffer;
  trailers: [name: string, value: string][];
  endOffset: number;
}

/** RFC 9112 §6.3, from the client's side. */
function takeBody(
  bytes: Buffer,
  start: number,
  { head, method, ended }: { head: Head; method: string; ended: boolean },
): Body | null {
  const fieldOf = (name: string) => head.headers.find(([key]) => key.toLowerCase() === name)?.[1];
  const { status } = head;
  if (method === 'HEAD' || status === 101 || status === 204 || status === 304) {
    return { bytes: Buffer.alloc(0), trailers: [], endOffset: start };
  }
  if (fieldOf('transfer-encoding') !== undefined) return takeChunked(bytes, start);
  const length = fieldOf('content-length');
  if (length !== undefined) {
    const endOffset = start + Number(length);
    if (bytes.length < endOffset) return null;
    return { bytes: bytes.subarray(start, endOffset), trailers: [], endOffset };
  }
  return ended ? { bytes: bytes.subarray(start), trailers: [], endOffset: bytes.length } : null;
}

function takeChunked(bytes: Buffer, start: number): Body | null {
  const parts: Buffer[] = [];
  let offset = start;
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', offset);
    if (lineEnd < 0) return null;
    const line = bytes.toString('latin1', offset, lineEnd);
    if (!/^[0-9a-fA-F]+(;.*)?$/.test(line)) throw new Error(`not a chunk size: ${JSON.stringify(line)}`);
    const size = Number.parseInt(line, 16);
    const dataStart = lineEnd + 2;
    if (size === 0) return takeTrailers(bytes, dataStart, Buffer.concat(parts));
    if (bytes.length < dataStart + size + 2) return null;
    if (bytes.toString('latin1', dataStart + size, dataStart + size + 2) !== '\r\n') {
      throw new Error('a chunk is longer than its size says');
    }
    parts.push(bytes.subarray(dataStart, dataStart + size));
    offset = dataStart + size + 2;
  }
}

function takeTrailers(bytes: Buffer, start: number, body: Buffer): Body | null {
  const trailers: [string, string][] = [];
  let offset = start;
  for (;;) {
    const end = bytes.indexOf('\r\n', offset);
    if (end < 0) return null;
    if (end === offset) return { bytes: body, trailers, endOffset: end + 2 };
    trailers.push(parseField(bytes.toString('latin1', offset, end)));
    offset = end + 2;
  }
}
