/** Bodies through the proxy from and to peers that pause, stop and leave; each is checked byte by byte. */
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
import { BodyBuffers, POISON } from '../../../src/http1/body-buffers.ts';
import { Connection } from '../../../src/upstream/connection.ts';
import { Random, seedOf } from '../../fuzz/random.ts';
import { BodyCheck, bodyOf } from '../../support/pattern.ts';

/** The direction and the framing of a body; `close`: it ends with the connection. An echo goes both ways at once. */
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
  /** Whoever reads it pauses after each piece, not only now and then. */
  slow: boolean;
  /** Who leaves in the middle, if anybody. */
  cutBy: 'client' | 'backend' | null;
  /** After so many bytes. */
  cutAt: number;
  random: Random;
}

/** makeTransfer is one of a seed: a body of `bytes` and up to 50,000 more, whole and read at full speed if nothing else is given. */
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

/** What was seen of bodies under way; see poisonBodyBuffers. */
export interface BodyWatch {
  /** Where their memory comes from; one per worker. */
  stores: Set<BodyBuffers>;
  /** Times that an answer waited for its client. */
  pausedCount: number;
  /** Times that a request began to wait for its backend. */
  blockedCount: number;
  /** Requests that wait now. */
  blocked: Set<Connection>;
}

/** poisonBodyBuffers overwrites memory of bodies at the moment it is given back, in every worker of this process. */
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

/** bulkBackend serves transfers by the id in the path; what is wrong with a request's body goes to `problems`. */
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
    // The client left. What came before must be right all the same.
    return check.problem;
  }
  response.end(echo ? '' : `${check.bytes}`);
  return check.problem;
}

/** runTransfer is the client's side of one. Returns what went wrong, '' for nothing; a cut is right where one was planned. */
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
  // A cut may be noticed while writing; reading tells what it was.
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
      // The backend left before it answered.
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
  if (cutBy !== null) return 'it came whole';
  return check.whole ? '' : check.problem || `${check.bytes} of ${body.length} bytes`;
}

/**
 * runPipelined asks for several bodies (`down/length`) in one packet; read slowly, each answer begins while the connection
 * is still full of the one before. Reads nothing before `start`. Returns what went wrong, '' for nothing.
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

/** Resolves also when the writer is gone. */
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
