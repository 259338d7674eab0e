import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeTime } from '../../support/fake-time.ts';
import {
  block,
  CODES,
  connectFrames,
  FLAGS,
  frame,
  headers,
  request,
  TYPES,
} from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

/** A block in frames of this size; the stream ends with it. */
function inFrames(stream: number, fields: Buffer, frameBytes: number): Buffer[] {
  const frames: Buffer[] = [];
  for (let from = 0; from < fields.length; from += frameBytes) {
    const flags =
      (from === 0 ? FLAGS.endStream : 0) | (from + frameBytes < fields.length ? 0 : FLAGS.endHeaders);
    const type = from === 0 ? TYPES.headers : TYPES.continuation;
    frames.push(frame(type, flags, stream, fields.subarray(from, from + frameBytes)));
  }
  return frames;
}

test('a head that is too large for an answer resets its stream, in however many frames it comes, and the connection goes on', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(...inFrames(1, block(request([['x-large', 'x'.repeat(70_000)]])), 15_000));
  assert.equal(await client.resetCode(1), CODES.ENHANCE_YOUR_CALM);
  client.send(headers(3, request()));
  assert.equal(await client.status(3), 200);
  assert.deepEqual([client.goaways(), proxy.metric('sluice_http2_floods_total')], [[], 0]);
  assert.equal(backend.requests.length, 1);
});

test('a head within the limits is served, however large these are', async (t) => {
  const backend = await startCapturingBackend(t);
  const limits = { headerBytes: 1 << 20, targetBytes: 1 << 20 };
  const proxy = await startProxy(t, { backends: [backend], h2c: true, limits });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(...inFrames(1, block(request([['x-large', 'x'.repeat(1_000_000)]])), 16_384));
  assert.equal(await client.status(1), 200);
  // Above twice the limits it is read as far as it costs no more than that.
  client.send(...inFrames(3, block(request([['x-large', 'x'.repeat(5 << 20)]])), 16_384));
  assert.equal(await client.goaway(), CODES.ENHANCE_YOUR_CALM);
  assert.equal(proxy.metric('sluice_http2_floods_total', 'continuation'), 1);
});

test('large heads of requests that wait for their answers are no flood', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const time = new FakeTime();
  const proxy = await startProxy(t, { backends: [backend], h2c: true, clock: time.clock });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  const more = [['x-large', 'x'.repeat(14_000)]] as const;
  for (let i = 0; i < 128; i++) client.send(headers(2 * i + 1, request(more)));
  await waitFor('all requests', () => backend.requests.length === 128);
  // The connection looks at what it has read.
  time.nowMs += 1_100;
  await time.ticks();
  client.send(frame(TYPES.ping, 0, 0, Buffer.alloc(8)));
  await client.wait('the connection to go on', ({ type }) => type === TYPES.ping);
  assert.deepEqual([client.goaways(), proxy.metric('sluice_http2_floods_total')], [[], 0]);
});
