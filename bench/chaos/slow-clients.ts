/**
 * Clients that are as slow as a server lets them be. Those that it sends away come again at once.
 *
 *   node bench/chaos/slow-clients.ts PORT header|body|read COUNT
 *
 * It prints `open` when all have a connection, and lives until it is killed.
 */
import { connect, type Socket } from 'node:net';

const [portText, mode = 'header', countText] = process.argv.slice(2);
const [port, count] = [Number(portText), Number(countText)];
const PERIOD_MS = 1_000;
const AGAIN_MS = 200;
/** Bytes that a slow reader takes in a period. */
const READ_BYTES = 1_024;

const OPENINGS: Record<string, string> = {
  header: 'GET / HTTP/1.1\r\nHost: slow\r\n',
  body: 'POST / HTTP/1.1\r\nHost: slow\r\nContent-Length: 100000\r\n\r\n',
  read: 'GET /large HTTP/1.1\r\nHost: slow\r\n\r\n',
};
const opening = OPENINGS[mode] ?? '';
const drip: Record<string, string> = { header: 'X: y\r\n', body: 'z' };
let opened = 0;

function open(): void {
  const socket = connect({ port, host: '127.0.0.1' });
  const timer = setInterval(() => dribble(socket), PERIOD_MS);
  socket.once('connect', () => {
    socket.write(opening);
    if (mode === 'read') socket.pause();
    opened += 1;
    if (opened === count) console.log('open');
  });
  socket.on('error', () => socket.destroy());
  socket.on('close', () => {
    clearInterval(timer);
    setTimeout(open, AGAIN_MS);
  });
}

function dribble(socket: Socket): void {
  if (mode === 'read') socket.read(READ_BYTES);
  else if (socket.writable) socket.write(drip[mode] ?? '');
}

for (let i = 0; i < count; i += 1) {
  open();
  // A burst of thousands would overflow the queue of the listener.
  if (i % 100 === 99) await new Promise((resolve) => setTimeout(resolve, 20));
}
