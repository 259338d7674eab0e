/**
 * Whether large request bodies may be read past node's parser in this process: only where a trial over a real connection
 * has shown, at the start, that the members of node that it takes exist and do what they are taken for.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { BodyBuffers } from '../http1/body-buffers.ts';
import { DIRECT_MIN_BYTES, DirectReader, type DirectSink, type SocketKeys } from './direct-reader.ts';

/** A machine that is busy with starting many workers needs some; the trial itself takes 10 ms. */
const TRIAL_DEADLINE_MS = 2_000;
const TRIAL_BODY_BYTES = 5 * DIRECT_MIN_BYTES + 7;
const TRIAL_REQUESTS = 2;

/** DirectReads makes the readers of a worker's connections. */
export class DirectReads {
  readonly #keys: SocketKeys;
  readonly #buffers: BodyBuffers;

  constructor(keys: SocketKeys, buffers: BodyBuffers) {
    this.#keys = keys;
    this.#buffers = buffers;
  }

  readerFor(socket: Socket): DirectReader {
    return new DirectReader(socket, this.#keys, this.#buffers);
  }
}

/**
 * directReadsFor is asked once by innerWaysFor, before the worker serves. null: bodies come through the parser.
 * @param buffers the worker's
 */
export async function directReadsFor(buffers: BodyBuffers): Promise<DirectReads | null> {
  const keys = socketKeys();
  if (keys === null) return null;
  const reads = new DirectReads(keys, buffers);
  return (await probeDirectReads(reads)) ? reads : null;
}

/** The three keys of a socket with `onread`, by their names; null where node has other ones. */
function socketKeys(): SocketKeys | null {
  const socket = new Socket({ onread: { buffer: Buffer.alloc(1), callback: () => true } });
  const byName = new Map(Object.getOwnPropertySymbols(socket).map((key) => [key.description, key]));
  socket.destroy();
  const buffer = byName.get('kBuffer');
  const callback = byName.get('kBufferCb');
  const next = byName.get('kBufferGen');
  return buffer && callback && next ? { buffer, callback, next } : null;
}

/** probeDirectReads tells whether two bodies and a request behind them come through whole. */
export async function probeDirectReads(reads: DirectReads): Promise<boolean> {
  const trial = new Trial(reads);
  const timer = new AbortController();
  try {
    return await Promise.race([
      trial.run(),
      delay(TRIAL_DEADLINE_MS, false, { signal: timer.signal, ref: false }),
    ]);
  } catch {
    // No loopback, or a Node.js whose inside is so different that the trial itself fails: the public way it is.
    return false;
  } finally {
    timer.abort();
    trial.close();
  }
}

const TRIAL_BODY = Buffer.from(Uint8Array.from({ length: TRIAL_BODY_BYTES }, (_, i) => (i * 31) % 251));

/** Sends bodies to a server of its own, which reads them directly and says how many came through. */
class Trial {
  readonly #reads: DirectReads;
  readonly #server = createServer((request, response) => this.#serve(request, response));
  #client: Socket | null = null;
  #reader: DirectReader | null = null;
  #wholeCount = 0;

  constructor(reads: DirectReads) {
    this.#reads = reads;
  }

  async run(): Promise<boolean> {
    // Of this process alone: in a cluster the primary would listen otherwise.
    this.#server.listen({ port: 0, host: '127.0.0.1', exclusive: true });
    await once(this.#server, 'listening');
    const { port } = this.#server.address() as AddressInfo;
    const client = connect({ port, host: '127.0.0.1' });
    this.#client = client;
    const head = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${TRIAL_BODY_BYTES}\r\n\r\n`;
    for (let i = 0; i < TRIAL_REQUESTS; i++) {
      client.write(head);
      client.write(TRIAL_BODY);
    }
    client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    let answers = '';
    for await (const chunk of client) answers += String(chunk);
    return (
      answers.split('HTTP/1.1 200 ').length === TRIAL_REQUESTS + 2 && this.#wholeCount === TRIAL_REQUESTS
    );
  }

  close(): void {
    // First: a parser that shows bodies to nobody must not go back to node, which gives it to the next connection.
    this.#reader?.close();
    this.#client?.destroy();
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const body = new TrialBody();
    if (request.method === 'POST') {
      this.#reader ??= this.#reads.readerFor(request.socket);
      body.readBy(this.#reader, request);
    } else request.resume();
    request.on('end', () => {
      if (body.whole) this.#wholeCount++;
      response.end();
    });
  }
}

/** One body of the trial, paused once. */
class TrialBody implements DirectSink {
  #reader: DirectReader | null = null;
  #bytes = 0;
  #right = true;
  #direct = false;

  /** Whether every byte came, as it was sent, and without the parser but for the first piece. */
  get whole(): boolean {
    return this.#right && this.#direct && this.#bytes === TRIAL_BODY_BYTES;
  }

  readBy(reader: DirectReader, request: IncomingMessage): void {
    this.#reader = reader;
    request.on('data', (chunk: Buffer) => {
      this.#check(chunk);
      const leftBytes = TRIAL_BODY_BYTES - this.#bytes;
      if (!this.#direct && leftBytes >= DIRECT_MIN_BYTES) this.#direct = reader.begin(this, leftBytes);
      else this.#right = false;
    });
  }

  onBody(chunk: Buffer): void {
    const first = this.#reader;
    this.#check(chunk);
    if (first === null) return;
    this.#reader = null;
    first.pause();
    setImmediate(() => first.resume());
  }

  #check(chunk: Buffer): void {
    const end = this.#bytes + chunk.length;
    this.#right &&= chunk.equals(TRIAL_BODY.subarray(this.#bytes, end));
    this.#bytes = end;
  }
}
