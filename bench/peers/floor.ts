/**
 * The floor: what node:http in front and node:net behind cost by themselves, by the best practices known. No guards, no
 * timeouts, no metrics, no limits: it tells the share of the CPU and of Node.js from that of Sluice. Never use it.
 *
 *   node bench/peers/floor.ts PORT BACKEND_PORT…
 */

import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';

const HEAD_BYTES = 65_536;
/** One for all sockets: nothing of it may live on when a read callback returns. */
const shared = Buffer.allocUnsafeSlow(HEAD_BYTES);
/** Small bodies leave in one write with their head, as a string; bigger ones are copied. */
const SMALL_BODY_BYTES = 16_384;
const SKIP = 1;
const LENGTH = 2;
const HOST = 3;
const HOP_BY_HOP = ['connection', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade'];
const MAX_NAMES = 4_096;

const [port, ...backendPorts] = process.argv.slice(2).map(Number);
const idle: Upstream[][] = backendPorts.map(() => []);
const classes = new Map<string, number>();
const idPrefix = randomBytes(6).toString('hex');
let turn = 0;
let idCount = 0;

function classOf(name: string): number {
  const known = classes.get(name);
  if (known !== undefined) return known;
  const lower = name.toLowerCase();
  const found = HOP_BY_HOP.includes(lower)
    ? SKIP
    : lower === 'content-length'
      ? LENGTH
      : lower === 'host'
        ? HOST
        : 0;
  if (classes.size < MAX_NAMES) classes.set(name, found);
  return found;
}

class Upstream {
  readonly socket: Socket;
  readonly backend: number;
  response: ServerResponse | null = null;
  requestId = '';
  /** Of the body; -1: the head is awaited. */
  missingBytes = -1;

  constructor(backend: number) {
    this.backend = backend;
    this.socket = connect({
      port: backendPorts[backend]!,
      host: '127.0.0.1',
      noDelay: true,
      onread: { buffer: shared, callback: (size, bytes) => this.read(size, bytes) },
    });
    this.socket.on('error', () => this.socket.destroy());
    this.socket.on('close', () => this.response?.destroy());
  }

  read(size: number, bytes: Uint8Array): boolean {
    const { response } = this;
    if (response === null) return true;
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, size);
    if (this.missingBytes < 0) this.readHead(response, chunk);
    else {
      this.missingBytes -= size;
      response.write(Buffer.from(chunk));
      if (this.missingBytes <= 0) this.finish().end();
    }
    return true;
  }

  /** The head is taken to be in one read. */
  readHead(response: ServerResponse, chunk: Buffer): void {
    const text = chunk.toString('latin1');
    const end = text.indexOf('\r\n\r\n');
    const headers: string[] = [];
    let at = text.indexOf('\r\n') + 2;
    let bodyBytes = 0;
    while (at < end + 2) {
      const next = text.indexOf('\r\n', at);
      const colon = text.indexOf(':', at);
      const name = text.slice(at, colon);
      const value = text.slice(text.charCodeAt(colon + 1) === 32 ? colon + 2 : colon + 1, next);
      const kind = classOf(name);
      if (kind === LENGTH) bodyBytes = Number(value);
      if (kind !== SKIP) headers.push(name, value);
      at = next + 2;
    }
    headers.push('Via', '1.1 floor', 'X-Request-Id', this.requestId);
    response.removeHeader('connection');
    if (!response.shouldKeepAlive) headers.push('Connection', 'close');
    response.writeHead(Number(text.slice(9, 12)), headers);
    this.missingBytes = bodyBytes - (chunk.length - end - 4);
    if (this.missingBytes > 0) response.write(Buffer.from(chunk.subarray(end + 4)));
    else if (bodyBytes <= SMALL_BODY_BYTES) this.finish().end(text.slice(end + 4), 'latin1');
    else this.finish().end(Buffer.from(chunk.subarray(end + 4)));
  }

  finish(): ServerResponse {
    const response = this.response!;
    this.response = null;
    this.missingBytes = -1;
    idle[this.backend]!.push(this);
    return response;
  }
}

interface PeerSocket extends Socket {
  /** remoteAddress asks the kernel each time. */
  peer?: string;
}

function forward(request: IncomingMessage, response: ServerResponse): void {
  turn = (turn + 1) % backendPorts.length;
  const upstream = idle[turn]!.pop() ?? new Upstream(turn);
  upstream.response = response;
  idCount += 1;
  upstream.requestId = idPrefix + idCount.toString(36);
  response.sendDate = false;
  const { rawHeaders } = request;
  const socket: PeerSocket = request.socket;
  socket.peer ??= socket.remoteAddress ?? '';
  let head = `${request.method} ${request.url} HTTP/1.1\r\n`;
  let host = '';
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!;
    const kind = classOf(name);
    if (kind === HOST) host = rawHeaders[index + 1]!;
    if (kind !== SKIP) head += `${name}: ${rawHeaders[index + 1]}\r\n`;
  }
  head +=
    `X-Forwarded-For: ${socket.peer}\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: ${host}\r\n` +
    `X-Real-IP: ${socket.peer}\r\nX-Request-Id: ${upstream.requestId}\r\nVia: 1.1 floor\r\n\r\n`;
  upstream.socket.write(head, 'latin1');
  if (request.headers['content-length'] !== undefined)
    request.on('data', (chunk: Buffer) => upstream.socket.write(chunk));
}

createServer({ keepAliveTimeout: 0, optimizeEmptyRequests: true, requestTimeout: 0 }, forward).listen({
  port: port ?? 0,
  host: '127.0.0.1',
  backlog: 4096,
});
