/**
 * Clients that keep their connections. It opens COUNT connections, sends one request on each and prints `open N`. After
 * SIGUSR2 it sends requests on them in turn, REQUESTS_PER_SEC in all for SECONDS, and prints the totals as a line of JSON.
 * Then it waits until it is killed. When the server ends a connection, with or without `Connection: close` on an answer, a new
 * one is opened at once.
 *
 *   node bench/rig/keeping-clients.ts PORT COUNT REQUESTS_PER_SEC SECONDS
 */
import { connect, type Socket } from 'node:net';

const [port = 0, count = 0, perSec = 0, seconds = 0] = process.argv.slice(2).map(Number);
const UNDER_WAY = 64;
const TICK_MS = 5;
const LINGER_MS = 2_000;
const MAX_REOPENED_EACH = 20;
const REQUEST = 'GET /tiny HTTP/1.1\r\nHost: bench\r\n\r\n';
const LENGTH = /\r\ncontent-length: (\d+)\r\n/i;

const totals = { asked: 0, reopened: 0, failed: 0 };
let awaited = 0;

class Client {
  #socket: Socket | null = null;
  #text = '';
  /** Belongs to the request under way. */
  #answered: (() => void) | null = null;

  /** ask resolves when the answer is complete or the connection has closed. */
  ask(): Promise<void> {
    this.#socket ??= this.#open();
    this.#socket.write(REQUEST);
    awaited += 1;
    return new Promise((resolve) => {
      this.#answered = resolve;
    });
  }

  get busy(): boolean {
    return this.#answered !== null;
  }

  #open(): Socket {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true }).setEncoding('latin1');
    socket.on('data', (text: string) => this.#read(text));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      if (this.#answered !== null) this.#end('failed');
      this.#text = '';
      totals.reopened += 1;
      if (totals.reopened > MAX_REOPENED_EACH * count) throw new Error('the server keeps no connections');
      this.#socket = this.#open();
    });
    return socket;
  }

  #read(text: string): void {
    this.#text += text;
    const headEnd = this.#text.indexOf('\r\n\r\n') + 4;
    if (headEnd < 4) return;
    const length = Number(LENGTH.exec(this.#text.slice(0, headEnd - 2))?.[1] ?? Number.NaN);
    if (this.#text.length < headEnd + length) return;
    const good = this.#text.startsWith('HTTP/1.1 200 ') && this.#text.length === headEnd + length;
    this.#text = '';
    this.#end(good ? 'asked' : 'failed');
  }

  #end(as: 'asked' | 'failed'): void {
    totals[as] += 1;
    awaited -= 1;
    const answered = this.#answered;
    this.#answered = null;
    answered?.();
  }
}

const clients: Client[] = [];
async function openMany(): Promise<void> {
  while (clients.length < count) {
    const client = new Client();
    clients.push(client);
    await client.ask();
  }
}

/** Skips clients that still wait for an answer. */
function askInTurns(): void {
  const startMs = performance.now();
  let turn = 0;
  const timer = setInterval(() => {
    const sinceMs = performance.now() - startMs;
    for (; turn < Math.min(sinceMs / 1_000, seconds) * perSec; turn += 1) {
      const client = clients[turn % count]!;
      if (!client.busy) void client.ask();
    }
    const over = sinceMs >= seconds * 1_000 && (awaited === 0 || sinceMs > seconds * 1_000 + LINGER_MS);
    if (!over) return;
    clearInterval(timer);
    totals.failed += awaited;
    process.stdout.write(`${JSON.stringify(totals)}\n`);
  }, TICK_MS);
}

process.on('SIGUSR2', askInTurns);
await Promise.all(Array.from({ length: UNDER_WAY }, openMany));
process.stdout.write(`open ${count}\n`);
