/** For the tests of uploads: a sink that sends a body, and backends that record or hash what arrives. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { TestContext } from 'node:test';
import type { ConnectionPool } from '../../src/upstream/connection-pool.ts';
import type { UpstreamRequest } from '../../src/upstream/upstream-request.ts';
import { startRawBackend } from '../support/backend.ts';
import { OK } from './pool-backends.ts';
import { get, listen, RecordingSink, send } from './support.ts';

/** Sends `pieces` as fast as the exchange accepts them, each in its own memory, as node's parser delivers them. */
export class UploadingSink extends RecordingSink {
  readonly #pieces: Buffer[];
  readonly #trailers: string[];
  sentBytes = 0;
  stopCount = 0;

  constructor(pieces: Buffer[], trailers: string[] = []) {
    super();
    this.#pieces = pieces;
    this.#trailers = trailers;
  }

  override onConnected(): void {
    super.onConnected();
    this.#pump();
  }

  override onRequestDrain(): void {
    super.onRequestDrain();
    this.#pump();
  }

  #pump(): void {
    for (let piece = this.#pieces.shift(); piece !== undefined; piece = this.#pieces.shift()) {
      const own = Buffer.allocUnsafeSlow(piece.length);
      piece.copy(own);
      this.sentBytes += piece.length;
      if (this.exchange?.writeBody(own) === false) {
        this.stopCount++;
        return;
      }
    }
    this.exchange?.endBody(this.#trailers);
  }
}

export function upload(
  pool: ConnectionPool,
  request: Partial<UpstreamRequest>,
  sink: UploadingSink,
): UploadingSink {
  return send(pool, get('/up', { method: 'POST', ...request }), sink);
}

/** More than the kernel buffers on loopback while nobody reads. */
const MUCH_MIB = 64;

/** uploadMuch begins an upload so long that a backend which does not read blocks it. Default: with Content-Length. */
export function uploadMuch(pool: ConnectionPool, bodyLength = MUCH_MIB << 20): UploadingSink {
  const piece = Buffer.alloc(1 << 20);
  return upload(pool, { bodyLength }, new UploadingSink(Array.from({ length: MUCH_MIB }, () => piece)));
}

export function cut(whole: Buffer, size: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < whole.length; at += size) pieces.push(whole.subarray(at, at + size));
  return pieces;
}

/** A backend that records what it reads and answers once that contains `until`. */
export async function recording(t: TestContext, until: string, answer = OK) {
  let received = '';
  const backend = await startRawBackend((socket) => {
    socket.on('data', (data) => {
      received += data.toString('latin1');
      if (received.endsWith(until)) socket.write(answer);
    });
  });
  t.after(() => backend.close());
  return { port: backend.port, received: () => received };
}

/** A node server that answers with the hash of what it read; `slow`: it pauses between reads. */
export async function hashing(t: TestContext, slow = false) {
  const server = createServer((request, response) => {
    const hash = createHash('sha1');
    request.on('data', (data: Buffer) => {
      hash.update(data);
      if (!slow) return;
      request.pause();
      setTimeout(() => request.resume(), 2);
    });
    request.on('end', () => response.end(hash.digest('hex') + trailerText(request)));
  });
  return listen(t, server);
}

export function trailerText(request: IncomingMessage): string {
  return request.rawTrailers.length > 0 ? ` ${request.rawTrailers.join(' ')}` : '';
}
