/** Clients and backends that reset, break off, lie about lengths and half-close at every point of an exchange. */
import { connect, type Socket } from 'node:net';
import type { Random } from '../fuzz/random.ts';

/** Deadline of a client whose connection nobody cuts. */
const CLIENT_LIFE_MS = 300;
const BODY = Buffer.alloc(200_000, 'x');
const lengthHead = (bytes: number) => `HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`;

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
const SWITCH = `HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n`;

const HOST = 'HTTP/1.1\r\nHost: a\r\n';
const post = (bytes: number, lines = '') =>
  `POST /b ${HOST}${lines}Content-Length: ${bytes}\r\n\r\n${'y'.repeat(bytes)}`;

export interface Attack {
  /** How many connections the two sides have ended on purpose. */
  ends: number;
  /** backend is the handler of an accepted connection. */
  backend(socket: Socket): void;
  /** client sends a few requests, whole or cut. It resolves with all bytes that it received. */
  client(port: number): Promise<string>;
}

/** makeAttack makes both sides; all chance comes from `random`. */
export function makeAttack(random: Random): Attack {
  const attack: Attack = { ends: 0, backend, client };
  const below = (n: number) => random.below(n);
  const chance = (part: number) => random.below(1_000) < part * 1_000;
  const oneOf = <T>(list: readonly T[]): T => random.pick(list);

  function leave(socket: Socket): void {
    if (socket.destroyed || !socket.writable) return;
    attack.ends += 1;
    oneOf([() => socket.end(), () => socket.destroy(), () => socket.resetAndDestroy()])();
  }

  const later = (socket: Socket, ms: number) => setTimeout(() => leave(socket), below(ms)).unref();
  /** What a backend does with a complete or incomplete request. */
  const ANSWERS: ((socket: Socket) => void)[] = [
    (socket) => leave(socket),
    (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nConte');
      later(socket, 5);
    },
    (socket) => {
      socket.write(lengthHead(BODY.length + 10));
      socket.write(BODY);
      later(socket, 20);
    },
    (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
      later(socket, 20);
    },
    (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.write(BODY);
      later(socket, 20);
    },
    (socket) => void socket.write('HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n'),
    (socket) => void socket.write('HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n'),
    (socket) => void socket.write(`${SWITCH}Sec-WebSocket-Protocol: x\r\n\r\n`),
    (socket) => void socket.write(`HTTP/1.1 103 Early\r\nLink: a\r\n\r\n${lengthHead(2)}ok`),
    (socket) => void socket.write(Buffer.concat([Buffer.from(lengthHead(BODY.length)), BODY])),
    (socket) => void socket.write(`${lengthHead(2)}ok`),
  ];

  function switchProtocols(socket: Socket): void {
    socket.write(`${SWITCH}\r\nbehind the 101`);
    later(socket, 60);
  }

  function backend(socket: Socket): void {
    if (chance(0.03)) later(socket, 5);
    socket.on('end', () => socket.end());
    socket.on('data', (chunk: Buffer) => {
      if (socket.writable && chunk.includes('Upgrade: websocket') && chance(0.5)) switchProtocols(socket);
      // Requests are not counted: extra and early answers are part of the attack.
      else if (socket.writable && (chunk.includes('HTTP/1.1\r\n') || chance(0.1))) oneOf(ANSWERS)(socket);
    });
  }

  const REQUESTS: (() => string)[] = [
    () => `GET /a ${HOST}\r\n`,
    () => `HEAD /h ${HOST}\r\n`,
    () => post(oneOf([5, 70_000, 300_000])),
    () => post(300, 'Expect: 100-continue\r\n'),
    () => `PUT /c ${HOST}Transfer-Encoding: chunked\r\n\r\n11170\r\n${'z'.repeat(70_000)}\r\n0\r\n\r\n`,
    () => `PUT /c ${HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
    () => `GET /u ${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nxxxx`,
    () =>
      `GET /w ${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${KEY}\r\n\r\nearly bytes`,
    () => 'GET /k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
    () => `CONNECT a:1 ${HOST}\r\n`,
    () => 'nonsense\r\n\r\n',
  ];

  function client(port: number): Promise<string> {
    return new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1');
      let text = '';
      socket.on('error', () => socket.destroy());
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString('latin1');
      });
      const life = setTimeout(() => socket.destroy(), CLIENT_LIFE_MS);
      socket.on('close', () => {
        clearTimeout(life);
        resolve(text);
      });
      if (chance(0.1)) socket.pause();
      socket.on('connect', () => {
        const bytes = Buffer.from(Array.from({ length: 1 + below(4) }, () => oneOf(REQUESTS)()).join(''));
        const cutAt = chance(0.5) ? bytes.length : below(bytes.length + 1);
        const middle = below(cutAt + 1);
        socket.write(bytes.subarray(0, middle));
        setImmediate(() => socket.writable && socket.write(bytes.subarray(middle, cutAt)));
        if (chance(0.6)) later(socket, 60);
      });
    });
  }
  return attack;
}
