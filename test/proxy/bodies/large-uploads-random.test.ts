/** Random pipelines of small and large uploads, in random pieces, to backends that pause. Every body is checked. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Random, seedOf } from '../../fuzz/random.ts';
import { startBackend } from '../../support/backend.ts';
import { BodyCheck, bodyOf } from '../../support/pattern.ts';
import type { RawClient } from '../../support/raw-http.ts';
import { startProxy } from '../support.ts';
import { poisonBodyBuffers } from './bulk.ts';

const CONNECTIONS = 12;
const REQUESTS = 10;
const MOST_BYTES = 1_500_000;

/** Answers whether the body is the one that the target names. Some requests are read with pauses. */
function check(request: IncomingMessage, response: ServerResponse): void {
  const [, id = '', bytes = ''] = (request.url ?? '').split('/');
  const random = new Random(Number(id));
  const pauses = random.below(2) === 0;
  const body = new BodyCheck(bodyOf(Number(id) % 97, Number(bytes)));
  request.on('data', (chunk: Buffer) => {
    body.take(chunk);
    if (!pauses || random.below(3) > 0) return;
    request.pause();
    setTimeout(() => request.resume(), random.below(8));
  });
  request.on('end', () =>
    response.end(body.whole ? 'whole' : `${body.problem} after ${body.bytes} of ${bytes}`),
  );
  request.on('error', () => response.destroy());
}

/** All bytes that a client sends on one connection, and the sizes of the bodies among them. */
function pipelineOf(random: Random, connection: number): { bytes: Buffer; sizes: number[] } {
  const parts: Buffer[] = [];
  const sizes = Array.from({ length: REQUESTS }, (_, i) => {
    const size = random.below(3) === 0 ? random.below(2_000) : random.below(MOST_BYTES);
    const id = connection * REQUESTS + i;
    parts.push(Buffer.from(`POST /${id}/${size} HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`));
    parts.push(bodyOf(id % 97, size));
    return size;
  });
  return { bytes: Buffer.concat(parts), sizes };
}

async function send(client: RawClient, bytes: Buffer, random: Random): Promise<void> {
  const most = random.pick([3_000, 40_000, 200_000, bytes.length]);
  for (let at = 0; at < bytes.length; ) {
    const piece = bytes.subarray(at, at + 1 + random.below(most));
    at += piece.length;
    if (!client.socket.write(piece))
      await Promise.race([once(client.socket, 'drain'), once(client.socket, 'close')]);
    if (client.closed) return;
    if (random.below(20) === 0) await pause(random.below(3));
  }
}

test('every body of a random pipeline arrives whole and unmixed, and the connection stays open', async (t) => {
  const seed = Number(process.env.UPLOADS_SEED ?? Date.now() & 0x7fffffff);
  t.diagnostic(`UPLOADS_SEED=${seed}`);
  poisonBodyBuffers(t);
  const backend = await startBackend(check);
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: MOST_BYTES } });
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async (_, connection) => {
      const random = new Random(seedOf(seed, connection));
      const { bytes, sizes } = pipelineOf(random, connection);
      const client = await proxy.connect();
      const sent = send(client, bytes, random);
      for (const [i, size] of sizes.entries()) {
        const answer = await client.readResponse({ timeoutMs: 30_000 });
        assert.equal(
          answer.body.toString(),
          'whole',
          `body ${i} of ${size} on connection ${connection}, seed ${seed}`,
        );
      }
      await sent;
    }),
  );
});
