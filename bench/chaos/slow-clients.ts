/**
 * Clients that send as slowly as a server lets them. Those that it sends away come again at once. Slow readers are a program in C
 * (bench/rig/slow-readers.c).
 *
 *   node bench/chaos/slow-clients.ts PORT header|body COUNT
 *
 * It prints `open` when all have a connection, and lives until it is killed.
 */
import { connect } from 'node:net';

const [portText, mode = 'header', countText] = process.argv.slice(2);
const [port, count] = [Number(portText), Number(countText)];
const PERIOD_MS = 1_000;
const AGAIN_MS = 200;

const OPENINGS: Record<string, string> = {
  header: 'GET / HTTP/1.1\r\nHost: slow\r\n',
  body: 'POST / HTTP/1.1\r\nHost: slow\r\nContent-Length: 100000\r\n\r\n',
};
const opening = OPENINGS[mode] ?? '';
const drip: Record<string, string> = { header: 'X: y\r\n', body: 'z' };
let opened = 0;

function open(): void {
  const socket = connect({ port, host: '127.0.0.1' });
  const timer = setInterval(() => socket.writable && socket.write(drip[mode] ?? ''), PERIOD_MS);
  socket.once('connect', () => {
    socket.write(opening);
    opened += 1;
    if (opened === count) console.log('open');
  });
  socket.on('error', () => socket.destroy());
  socket.on('close', () => {
    clearInterval(timer);
    setTimeout(open, AGAIN_MS);
  });
}

for (let i = 0; i < count; i += 1) {
  open();
  // As many as the slow readers. Faster, the opening of connections, here and at the backends, takes the processors from everybody.
  if (i % 16 === 15) await new Promise((resolve) => setTimeout(resolve, 20));
}
