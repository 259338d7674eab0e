/**
 * Opens connections, sends one request on each, and keeps them open until it is killed. It prints `open N` when all N have an
 * answer.
 *
 *   node bench/rig/idle-clients.ts PORT COUNT
 */
import { connect } from 'node:net';

const UNDER_WAY = 64;
const REQUEST = 'GET /tiny HTTP/1.1\r\nHost: bench\r\n\r\n';

const [port = 0, count = 0] = process.argv.slice(2).map(Number);

function openOne(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(REQUEST));
    socket.once('data', () => resolve());
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
