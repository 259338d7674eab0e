/**
 * Opens connections, sends one request on each, and keeps them open until it is killed. It prints `open N` when all N have an
 * answer. With `tunnel` the request opens a WebSocket.
 *
 *   node bench/rig/idle-clients.ts PORT COUNT [tunnel]
 */
import { connect } from 'node:net';
import { OPENING_REQUEST } from './opening-handshake.ts';

const UNDER_WAY = 64;
const [port = 0, count = 0] = process.argv.slice(2).map(Number);
const tunnel = process.argv[4] === 'tunnel';
const request = tunnel ? OPENING_REQUEST : 'GET /tiny HTTP/1.1\r\nHost: bench\r\n\r\n';
const goodAnswer = `HTTP/1.1 ${tunnel ? 101 : 200} `;

function openOne(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(request));
    socket.once('data', (chunk) => {
      if (String(chunk).startsWith(goodAnswer)) resolve();
      else reject(new Error(`a bad answer: ${String(chunk).slice(0, 64)}`));
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the server closed an idle connection')));
  });
}

let opened = 0;
async function openMany(): Promise<void> {
  while (opened < count) {
    opened += 1;
    await openOne();
  }
}

await Promise.all(Array.from({ length: UNDER_WAY }, openMany));
process.stdout.write(`open ${count}\n`);
