/** Bodies through the proxy between peers that pause, stop or disconnect. Every body is checked byte by byte. */
import { once } from 'node:events';
import {
  type Agent,
  type ClientRequest,
  type IncomingMessage,
  request as openRequest,
  type RequestListener,
  type ServerResponse,
} from 'node:http';
import { connect, type NetConnectOpts } from 'node:net';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { BodyBuffers } from '../../../src/memory/body-buffers.ts';
import { Connection } from '../../../src/upstream/connection.ts';
import { Random, seedOf } from '../../fuzz/random.ts';
import { BodyCheck, bodyOf } from '../../support/pattern.ts';
import { POISON } from '../../support/poisoned-buffers.ts';

/** Direction and framing. `close`: the body ends with the connection. `echo`: both directions at once. */
export const SHAPES = [
  'down/length',
  'down/chunked',
  'down/close',
  'up/length',
  'up/chunked',
  'echo/length',
  'echo/chunked',
] as const;

export interface Transfer {
  id: number;
  shape: (typeof SHAPES)[number];
  body: Buffer;
  /** true: the reader pauses after every piece; false: after one in sixteen. */
  slow: boolean;
  /** The side that disconnects in the middle; null: neither. */
  cutBy: 'client' | 'backend' | null;
  /** Number of bytes before the disconnect. */
  cutAt: number;
  random: Random;
}

/** makeTransfer derives a transfer from the seed. The body has `bytes` to `bytes + 50,000` bytes. Default: not slow, not cut. */
export function makeTransfer(
  seed: number,
  id: number,
  { bytes: leastBytes, ...given }: Partial<Transfer> & { bytes: number },
): Transfer {
  const random = new Random(seedOf(seed, id));
  const bytes = leastBytes + random.below(50_000);
  return {
    id,
    shape: SHAPES[id % SHAPES.length] ?? 'down/length',
    body: bodyOf(id, bytes),
    slow: false,
    cutBy: null,
    cutAt: Math.floor(bytes / 4) + random.below(bytes / 2),
    random,
    ...given,
  };
}

const PIECE_BYTES = 150_000;
const PAUSE_MS = 5;

/** Counters of back-pressure, filled by poisonBodyBuffers. */
export interface BodyWatch {
  /** The buffer stores in use; one per worker. */
  stores: Set<BodyBuffers>;
  /** How often an answer began to wait for its client. */
  pausedCount: number;
  /** How often a request began to wait for its backend. */
  blockedCount: number;
  /** Backend connections whose request waits now. */
  blocked: Set<Connection>;
}

/** poisonBodyBuffers overwrites every body buffer when it is given back, so that a later read of it is noticed. */
export function poisonBodyBuffers(t: TestContext): BodyWatch {
  const watch: BodyWatch = { stores: new Set(), pausedCount: 0, blockedCount: 0, blocked: new Set() };
  const { give, afterRead } = BodyBuffers.prototype;
  const { onPaused, onBlocked, onUnblocked } = Connection.prototype;
  Object.assign(BodyBuffers.prototype, {
    give(this: BodyBuffers, buffer: Buffer<ArrayBuffer>) {
      buffer.fill(POISON);
      give.call(this, buffer);
    },
    afterRead(this: BodyBuffers) {
      watch.stores.add(this);
      this.shared.fill(POISON);
      afterRead.call(this);
    },
  });
  Object.assign(Connection.prototype, {
    onPaused(this: Connection) {
      watch.pausedCount++;
      onPaused.call(this);
    },
    onBlocked(this: Connection) {
      watch.blockedCount++;
      watch.blocked.add(this);
      onBlocked.call(this);
    },
    onUnblocked(this: Connection) {
      watch.blocked.delete(this);
      onUnblocked.call(this);
    },
  });
  t.after(() => {
    Object.assign(BodyBuffers.prototype, { give, afterRead });
    Object.assign(Connection.prototype, { onPaused, onBlocked, onUnblocked });
  });
  return watch;
}

/** bulkBackend serves transfers by the id in the path. It adds what is wrong with request bodies to `problems`. */
export function bulkBackend(transfers: Map<number, Transfer>, problems: string[]): RequestListener {
  return (request, response) => {
    const transfer = transfers.get(Number(request.url?.split('/')[2]));
    if (transfer === undefined) {
      problems.push(`the backend was asked for ${request.method} ${request.url}`);
      response.destroy();
      return;
    }
    const serve = transfer.shape.startsWith('down') ? serveDown : serveUp;
    serve(transfer, request, response)
      .then((problem) => problem !== '' && problems.push(`${nameOf(transfer)}, at the backend: ${problem}`))
      .catch((error: unknown) => problems.push(`${nameOf(transfer)}, at the backend: ${error}`));
  };
}

async function serveDown(transfer: Transfer, _: IncomingMessage, response: ServerResponse): Promise<string> {
  const { shape, body, cutBy, cutAt, random } = transfer;
  if (shape === 'down/length') response.setHeader('content-length', body.length);
  if (shape === 'down/close') {
    response.useChunkedEncodingByDefault = false;
    response.shouldKeepAlive = false;
  }
  await writeAll(response, cutBy === 'backend' ? body.subarray(0, cutAt) : body, random);
  if (cutBy === 'backend') response.socket?.resetAndDestroy();
  else response.end();
  return '';
}

async function serveUp(
  transfer: Transfer,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<string> {
  const { shape, body, cutBy, cutAt } = transfer;
  const check = new BodyCheck(body);
  const echo = shape.startsWith('echo');
  try {
    for await (const piece of request as AsyncIterable<Buffer>) {
      check.take(piece);
      if (cutBy === 'backend' && check.bytes >= cutAt) {
        request.socket.resetAndDestroy();
        return check.problem;
      }
      if (echo && !response.write(piece)) await drained(response);
      await breathe(transfer);
    }
  } catch {
    // The client disconnected. What came before must still be right.
    return check.problem;
  }
  response.end(echo ? '' : `${check.bytes}`);
  return check.problem;
}

/** runTransfer is the client of one transfer. It returns what went wrong; '' for nothing. A planned cut is no error. */
export async function runTransfer(transfer: Transfer, { port, agent }: { port: number; agent: Agent }) {
  const { id, shape, body, cutBy, cutAt, random } = transfer;
  const up = !shape.startsWith('down');
  const request = openRequest({
    port,
    agent,
    method: up ? 'POST' : 'GET',
    path: `/${shape.split('/')[0]}/${id}`,
    headers: up && shape.endsWith('length') ? { 'content-length': body.length } : {},
  });
  // A cut may show as an error of the request; readAnswer judges it.
  request.on('error', () => undefined);
  const answered = readAnswer(request, transfer);
  if (up) await writeAll(request, cutBy === 'client' ? body.subarray(0, cutAt) : body, random);
  if (up && cutBy === 'client') request.destroy();
  else request.end();
  const problem = await answered;
  return problem === '' ? '' : `${nameOf(transfer)}: ${problem}`;
}

async function readAnswer(request: ClientRequest, transfer: Transfer): Promise<string> {
  const { shape, body, cutBy, cutAt } = transfer;
  const check = new BodyCheck(shape.startsWith('up') ? Buffer.from(`${body.length}`) : body);
  try {
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    if (response.statusCode !== 200) {
      response.resume();
      // The backend disconnected before it answered.
      return cutBy === 'backend' && response.statusCode === 502 ? '' : `status ${response.statusCode}`;
    }
    for await (const piece of response as AsyncIterable<Buffer>) {
      check.take(piece);
      if (cutBy === 'client' && check.bytes >= cutAt) {
        request.destroy();
        return check.problem;
      }
      await breathe(transfer);
    }
  } catch (error) {
    return cutBy === null ? `${error}` : check.problem;
  }
  if (cutBy !== null) return 'the body was not cut';
  return check.whole ? '' : check.problem || `${check.bytes} of ${body.length} bytes`;
}

/**
 * runPipelined requests several `down/length` bodies in one packet and reads nothing before `start`. With slow transfers, each
 * answer begins while the previous one still fills the connection. It returns what went wrong; '' for nothing.
 */
export async function runPipelined(
  transfers: readonly Transfer[],
  target: NetConnectOpts,
  start: Promise<unknown> = Promise.resolve(),
): Promise<string> {
  const socket = connect(target);
  socket.write(transfers.map(({ id }) => `GET /down/${id} HTTP/1.1\r\nHost: a\r\n\r\n`).join(''));
  await start;
  const waiting = transfers.map((transfer) => ({ transfer, check: new BodyCheck(transfer.body) }));
  let head = Buffer.alloc(0);
  let inBody = false;
  for await (const piece of socket as AsyncIterable<Buffer>) {
    let left = piece;
    for (let now = waiting[0]; now !== undefined && left.length > 0; now = waiting[0]) {
      const { transfer, check } = now;
      if (!inBody) {
        head = Buffer.concat([head, left]);
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) break;
        if (!head.toString('latin1').startsWith('HTTP/1.1 200 ')) {
          return `${nameOf(transfer)}: its answer begins with ${head.toString('latin1', 0, 40)}`;
        }
        left = head.subarray(end + 4);
        head = Buffer.alloc(0);
        inBody = true;
      }
      const own = left.subarray(0, transfer.body.length - check.bytes);
      check.take(own);
      if (check.problem !== '') return `${nameOf(transfer)}: ${check.problem}`;
      left = left.subarray(own.length);
      if (!check.whole) continue;
      waiting.shift();
      inBody = false;
    }
    const next = waiting[0];
    if (next === undefined) return '';
    if (next.transfer.slow) await pause(1);
  }
  return `${waiting.length} pipelined answers did not come`;
}

async function writeAll(to: ClientRequest | ServerResponse, body: Buffer, random: Random): Promise<void> {
  for (let at = 0; at < body.length && !to.destroyed; ) {
    const piece = body.subarray(at, at + 1 + random.below(PIECE_BYTES));
    at += piece.length;
    if (!to.write(piece)) await drained(to);
    if (random.oneIn(16)) await pause(random.below(PAUSE_MS));
  }
}

async function breathe({ slow, random }: Transfer): Promise<void> {
  if (slow || random.oneIn(16)) await pause(random.below(PAUSE_MS));
}

/** Also resolves when the writer is closed. */
function drained(writer: ClientRequest | ServerResponse): Promise<void> {
  if (writer.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      writer.off('drain', done);
      writer.off('close', done);
      resolve();
    };
    writer.on('drain', done);
    writer.on('close', done);
  });
}

function nameOf({ id, shape, body, cutBy, cutAt }: Transfer): string {
  return `${shape} ${id} of ${body.length} bytes${cutBy === null ? '' : `, cut by the ${cutBy} at ${cutAt}`}`;
}
