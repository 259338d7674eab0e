/** Backends that switch protocols, and clients that ask them to. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';
import type { RawClient } from '../../support/raw-http.ts';

export const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
export const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';

/** wsBackend starts a WebSocket server of the package ws that echoes. */
export async function wsBackend(
  t: TestContext,
  onSocket: (socket: WebSocket) => void = echo,
): Promise<{ port: number; server: WebSocketServer }> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  server.on('connection', onSocket);
  t.after(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  return { port: (server.address() as { port: number }).port, server };
}

function echo(socket: WebSocket): void {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
}

/** UpgradeBackend answers each connection by hand. */
export interface UpgradeBackend {
  port: number;
  /** Connections so far. */
  sockets: Socket[];
  /** What each has sent, as latin1. */
  heads: string[];
}

/** upgradeBackend gives each head to `answer`, which gets the socket; bytes behind the head come as its `data`. */
export async function upgradeBackend(
  t: TestContext,
  answer: (head: string, socket: Socket) => void,
): Promise<UpgradeBackend> {
  const backend: UpgradeBackend = { port: 0, sockets: [], heads: [] };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    backend.sockets.push(socket);
    socket.on('error', () => socket.destroy());
    let head = '';
    const onData = (chunk: Buffer): void => {
      head += chunk.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return;
      socket.off('data', onData);
      backend.heads.push(head.slice(0, end + 4));
      socket.pause();
      answer(head.slice(0, end + 4), socket);
      const rest = head.slice(end + 4);
      if (rest !== '') socket.unshift(Buffer.from(rest, 'latin1'));
      socket.resume();
    };
    socket.on('data', onData);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of backend.sockets) socket.destroy();
    server.close();
  });
  backend.port = (server.address() as { port: number }).port;
  return backend;
}

/** accepting answers every request with the right 101, and then echoes bytes. */
export function accepting(head: string, socket: Socket): void {
  socket.write(switching(head));
  socket.on('data', (chunk) => socket.write(chunk));
  socket.on('end', () => socket.end());
}

/** switching is the right 101 to a request. @param more further lines, each with CRLF */
export function switching(head: string, more = ''): string {
  const token = /^Upgrade: (.*)\r$/m.exec(head)?.[1] ?? '';
  const key = /^Sec-WebSocket-Key: (.*)\r$/im.exec(head)?.[1];
  const suffix = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = createHash('sha1').update(`${key}${suffix}`).digest('base64');
  const line = key === undefined ? '' : `Sec-WebSocket-Accept: ${accept}\r\n`;
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${token}\r\nConnection: Upgrade\r\n${line}${more}\r\n`;
}

/** upgradeHead is the head of a request to switch. @param more further lines, each with CRLF */
export function upgradeHead({ token = 'websocket', path = '/', more = '' } = {}): string {
  const lines = token === 'websocket' ? `Sec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n` : '';
  return `GET ${path} HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: ${token}\r\n${lines}${more}\r\n`;
}

/** switchOn asks to switch on an open connection and waits for the 101. */
export async function switchOn(
  client: RawClient,
  options?: Parameters<typeof upgradeHead>[0],
): Promise<void> {
  client.write(upgradeHead(options));
  const { status } = await client.readResponse();
  if (status !== 101) throw new Error(`no 101 but ${status}`);
}
