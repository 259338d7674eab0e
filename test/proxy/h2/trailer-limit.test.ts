import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  block,
  connectFrames,
  data,
  FLAGS,
  frame,
  headers,
  request,
  TYPES,
} from '../../support/h2-frames.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

test('trailers may have 16 KiB, as in HTTP/1.1; with more the request is 431, and no backend gets them', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  const post = (id: number, bytes: number) => {
    const trailers = block([['x-sum', 'x'.repeat(bytes - 'x-sum: \r\n'.length)]]);
    return [
      headers(id, request([], { method: 'POST' }), { ends: false }),
      data(id, 'body'),
      frame(TYPES.headers, FLAGS.endStream, id, trailers.subarray(0, 9_000)),
      frame(TYPES.continuation, FLAGS.endHeaders, id, trailers.subarray(9_000)),
    ];
  };
  client.send(...post(1, 16_384));
  assert.equal(await client.status(1), 200);
  client.send(...post(3, 16_385));
  assert.equal(await client.status(3), 431);
  assert.deepEqual(
    backend.requests.map(({ trailers }) => trailers.length > 16_000),
    [true],
  );
});
