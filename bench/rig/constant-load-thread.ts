/** The thread of a constant load (constant-load.ts): sends requests when they are due and writes down what becomes of each. */
import { connect, type Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { Random } from '../../test/fuzz/random.ts';
import type { ThreadData } from './constant-load.ts';
import { BROKEN, CUT, LATE, nowMs, OutcomeTable, REFUSED } from './outcomes.ts';

const { options, rows, shared } = workerData as ThreadData;
const { host, port, path, ratePerSec, deadlineMs, clients, requestsPerConnection } = options;
const table = new OutcomeTable(rows, shared);
const random = new Random(options.seed);
const CHECK_MS = 20;
const NOBODY = -1;

/** Requests that are due and wait for a free connection, oldest first. Each leaves at its deadline, which bounds the list. */
const queue: number[] = [];
const free: Line[] = [];
let stopping = false;
let sent = 0;

/** Line is one of the connections. It opens when a request needs it, so that a refusal fails that request. */
class Line {
  #socket: Socket | null = null;
  /** Row of the request under way. */
  #row = NOBODY;
  #head = '';
  /** Bytes of the body that are still to come; -1: the head is not complete; Infinity: until the end of the connection. */
  #bodyLeft = -1;
  #status = 0;
  #backend = 0;
  #last = false;
  #served = 0;

  /** open connects in advance, and calls back when it is open or has failed. */
  open(done: () => void): void {
    const socket = this.#connect();
    socket.once('connect', done);
    socket.once('close', done);
  }

  ask(row: number): void {
    this.#row = row;
    table.begin(row);
    this.#head = '';
    this.#bodyLeft = -1;
    const socket = this.#socket ?? this.#connect();
    const from = clients > 0 ? `X-Forwarded-For: ${addressOf(random.below(clients))}\r\n` : '';
    socket.write(`GET ${path} HTTP/1.1\r\nHost: chaos\r\n${from}\r\n`, 'latin1');
  }

  /** checkDeadline gives up a request that has waited too long, with its connection. */
  checkDeadline(now: number): void {
    if (this.#row !== NOBODY && now - table.dueMs[this.#row]! > deadlineMs) this.#fail(LATE);
  }

  close(): void {
    this.#socket?.destroy();
  }

  #connect(): Socket {
    const socket = connect({ port, host, noDelay: true });
    let opened = false;
    this.#socket = socket;
    this.#served = 0;
    socket.on('connect', () => {
      opened = true;
    });
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      if (this.#row === NOBODY) return;
      if (this.#bodyLeft === Number.POSITIVE_INFINITY) this.#finish();
      else this.#fail(!opened ? REFUSED : this.#head === '' ? CUT : BROKEN);
    });
    return socket;
  }

  #onData(chunk: Buffer): void {
    // Nobody asked for these bytes.
    if (this.#row === NOBODY) return void this.#socket?.destroy();
    if (this.#bodyLeft >= 0) this.#bodyLeft -= chunk.length;
    else {
      this.#head += chunk.toString('latin1');
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      // What is wrong counts as too many bytes.
      if (!this.#readHead(end)) this.#bodyLeft = -1;
    }
    if (this.#bodyLeft < 0) this.#fail(BROKEN);
    else if (this.#bodyLeft === 0) this.#finish();
  }

  #readHead(end: number): boolean {
    const head = this.#head.slice(0, end + 2);
    const status = /^HTTP\/1\.[01] (\d{3}) /.exec(head)?.[1];
    const length = /\r\ncontent-length: *(\d+)\r\n/i.exec(head)?.[1];
    if (status === undefined || /\r\ntransfer-encoding:/i.test(head)) return false;
    this.#status = Number(status);
    this.#backend = /\r\nx-backend: *(.)/i.exec(head)?.[1]?.charCodeAt(0) ?? 0;
    this.#last = /\r\nconnection: *close\r\n/i.test(head) || head.startsWith('HTTP/1.0');
    const received = this.#head.length - end - 4;
    this.#bodyLeft = length === undefined ? Number.POSITIVE_INFINITY : Number(length) - received;
    return true;
  }

  #finish(): void {
    table.end(this.#row, this.#status, this.#backend);
    this.#served += 1;
    if (this.#last || this.#served === requestsPerConnection) this.#drop();
    this.#rest();
  }

  #fail(outcome: number): void {
    table.end(this.#row, outcome);
    this.#drop();
    this.#rest();
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = null;
    socket?.destroy();
  }

  #rest(): void {
    this.#row = NOBODY;
    const next = queue.shift();
    if (next === undefined) free.push(this);
    // Not at once: a port that refuses would otherwise nest one call per request.
    else setImmediate(() => this.ask(next));
  }
}

/** One address per client; a proxy believes it only where it trusts this machine. */
function addressOf(client: number): string {
  return `10.${(client >> 16) & 255}.${(client >> 8) & 255}.${client & 255}`;
}

function sendDue(startMs: number): void {
  const now = nowMs();
  while (!stopping && sent < rows && startMs + (sent * 1_000) / ratePerSec <= now) {
    const row = sent;
    sent += 1;
    table.dueMs[row] = startMs + (row * 1_000) / ratePerSec;
    Atomics.store(table.count, 0, sent);
    const line = free.shift();
    if (line === undefined) queue.push(row);
    else line.ask(row);
  }
  if (!stopping && sent < rows) setTimeout(sendDue, 1, startMs);
}

const lines = Array.from({ length: options.connections }, () => new Line());
if (options.openFirst) await Promise.all(lines.map((line) => new Promise<void>((done) => line.open(done))));
free.push(...lines);

const check = setInterval(() => {
  const now = nowMs();
  while (queue.length > 0 && now - table.dueMs[queue[0]!]! > deadlineMs) table.end(queue.shift()!, LATE);
  for (const line of lines) line.checkDeadline(now);
  if ((!stopping && sent < rows) || free.length < lines.length) return;
  clearInterval(check);
  for (const line of lines) line.close();
  if (stopping) parentPort?.close();
}, CHECK_MS);
parentPort?.on('message', () => {
  stopping = true;
  // After the last request the check no longer runs.
  if (free.length === lines.length) parentPort?.close();
});
parentPort?.postMessage('started');
sendDue(nowMs());
