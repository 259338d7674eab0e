import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBackend } from '../../support/backend.ts';
import { FakeTime } from '../../support/fake-time.ts';
import { accessLineOf, startProxy } from '../support.ts';

const MIN_RATE = 100;
/** The rate is measured over as many milliseconds. */
const WINDOW_MS = 5_000;
const LENGTH = 4_000;

test('B14: a body below bodyMinRate gets 408, one above it may last as long as it likes', async (t) => {
  const backend = await startBackend((request, response) => {
    let bytes = 0;
    request.on('data', (piece: Buffer) => {
      bytes += piece.length;
    });
    request.on('end', () => response.end(String(bytes)));
  });
  t.after(() => backend.close());
  const time = new FakeTime();
  const limits = { bodyMinRate: MIN_RATE };
  const proxy = await startProxy(t, { backends: [backend], limits, clock: time.clock });
  /** Sends a body at this rate until it is complete, or an answer comes. */
  const upload = async (bytesPerSec: number): Promise<[status: number, body: string, sentBytes: number]> => {
    const client = await proxy.connect();
    client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${LENGTH}\r\n\r\n`);
    let sentBytes = 0;
    while (sentBytes < LENGTH && client.received.length === 0) {
      const piece = Buffer.alloc(Math.min(LENGTH - sentBytes, bytesPerSec));
      client.write(piece);
      sentBytes += piece.length;
      await time.ticks();
      time.nowMs += 1_000;
      await time.ticks();
    }
    const { status, body } = await client.readResponse();
    return [status, body.toString(), sentBytes];
  };
  const fastStartMs = time.nowMs;
  assert.deepEqual(await upload(MIN_RATE * 1.5), [200, String(LENGTH), LENGTH]);
  assert.ok(time.nowMs - fastStartMs > 4 * WINDOW_MS);
  const slowStartMs = time.nowMs;
  const [status, , sentBytes] = await upload(MIN_RATE / 2);
  assert.equal(status, 408);
  assert.ok(sentBytes < LENGTH / 2, `${sentBytes} bytes`);
  const tookMs = time.nowMs - slowStartMs;
  assert.ok(tookMs >= WINDOW_MS && tookMs <= 2 * WINDOW_MS, `${tookMs} ms`);
  assert.equal((await accessLineOf(proxy, (line) => line.status === 408)).reason, 'body_timeout');
});
