import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { CHUNKED_BODY } from '../../src/contract/request-head.ts';
import { bodyOf } from '../support/pattern.ts';
import { PoisonedBuffers } from '../support/poisoned-buffers.ts';
import { ask, get, makePool } from './support.ts';
import { cut, hashing, recording, UploadingSink, upload } from './upload-support.ts';

const HEAD = 'POST /up HTTP/1.1\r\nHost: test\r\n';

test('a request without a body has no framing line', async (t) => {
  const { port, received } = await recording(t, '\r\n\r\n');
  await ask(makePool(t, { port }), get('/a?b', { headerLines: 'Host: h\r\nX-A: \xe9\r\n' }));
  assert.equal(received(), 'GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: \xe9\r\n\r\n');
});

test('an empty body is framed as Content-Length: 0, and the connection is reused', async (t) => {
  const { port, received } = await recording(t, '\r\n\r\n');
  const pool = makePool(t, { port });
  await ask(pool, get('/up', { method: 'POST', bodyLength: 0 }));
  assert.equal(received(), `${HEAD}Content-Length: 0\r\n\r\n`);
  assert.equal(pool.parkedCount, 1);
});

test('a body with a length arrives whole, and the connection is reused', async (t) => {
  const { port, received } = await recording(t, 'hello');
  const pool = makePool(t, { port });
  const sink = await upload(
    pool,
    { bodyLength: 5 },
    new UploadingSink(cut(Buffer.from('hello'), 2)),
  ).finished();
  assert.equal(received(), `${HEAD}Content-Length: 5\r\n\r\nhello`);
  assert.equal(sink.body.toString(), 'ok');
  assert.equal(pool.parkedCount, 1);
});

test('B23: a chunked body is framed anew, empty pieces do not end it, and the next request is separate', async (t) => {
  const { port, received } = await recording(t, '0\r\n\r\n');
  const pool = makePool(t, { port });
  const large = 'z'.repeat(2_000);
  const pieces = ['hello', '', '0\r\n\r\nGET /evil', '.', large, '.'].map((text) => Buffer.from(text));
  await upload(pool, { method: 'DELETE', bodyLength: CHUNKED_BODY }, new UploadingSink(pieces)).finished();
  assert.equal(
    received(),
    'DELETE /up HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n' +
      `14\r\nhello0\r\n\r\nGET /evil.\r\n7d0\r\n${large}\r\n1\r\n.\r\n0\r\n\r\n`,
  );
  assert.equal(pool.parkedCount, 1);
});

test('a body in pieces of one byte is sent in few chunks', async (t) => {
  const { port, received } = await recording(t, '0\r\n\r\n');
  const pool = makePool(t, { port });
  const pieces = Array.from({ length: 40_000 }, (_, i) => Buffer.from([97 + (i % 26)]));
  const whole = Buffer.concat(pieces).toString();
  await upload(pool, { bodyLength: CHUNKED_BODY }, new UploadingSink(pieces)).finished();
  const chunks = received().split('\r\n\r\n')[1]?.split('\r\n') ?? [];
  const body = chunks.filter((_, i) => i % 2 === 1).join('');
  assert.ok(body === whole, `${body.length} bytes arrived, or others`);
  assert.ok(chunks.length < 40, `${chunks.length / 2} chunks`);
});

test('small and large pieces keep their order and length', async (t) => {
  for (const bodyLength of [CHUNKED_BODY, 'exact'] as const) {
    const port = await hashing(t);
    const pool = makePool(t, { port });
    const pieces = Array.from({ length: 3_000 }, (_, i) => bodyOf(i % 40, (i * 7_919) % 2_500));
    const whole = Buffer.concat(pieces);
    const sink = upload(
      pool,
      { bodyLength: bodyLength === 'exact' ? whole.length : bodyLength },
      new UploadingSink(pieces),
    );
    await sink.finished();
    assert.match(sink.body.toString(), new RegExp(createHash('sha1').update(whole).digest('hex')));
  }
});

test('B23: request trailers pass, except for framing, routing and authentication', async (t) => {
  const port = await hashing(t);
  const pool = makePool(t, { port });
  const trailers = [
    'X-T',
    '1',
    'Host',
    'evil',
    'Content-Length',
    '3',
    'Authorization',
    'x',
    'X-U',
    'a\r\nb',
    'X_V',
    '1',
  ];
  const sink = upload(pool, { bodyLength: CHUNKED_BODY }, new UploadingSink([Buffer.from('a')], trailers));
  await sink.finished();
  assert.match(sink.body.toString(), / X-T 1$/);
});

const BIG_BYTES = 12_000_001;
for (const bodyLength of [BIG_BYTES, CHUNKED_BODY]) {
  for (const slow of [false, true]) {
    const how = `${bodyLength === CHUNKED_BODY ? 'chunked' : 'with a length'}${slow ? ' and read slowly' : ''}`;
    test(`an upload of 12 MB ${how} arrives unchanged`, async (t) => {
      const port = await hashing(t, slow);
      const pool = makePool(t, { port, buffers: new PoisonedBuffers() });
      const whole = bodyOf(7, BIG_BYTES);
      const sink = await upload(pool, { bodyLength }, new UploadingSink(cut(whole, 65_536))).finished();
      assert.equal(sink.error, null);
      assert.equal(sink.body.toString(), createHash('sha1').update(whole).digest('hex'));
      assert.equal(sink.drainCount, sink.stopCount);
      // The upload must have been blocked, or the test would not show that memory is given back only when it was written.
      if (slow) assert.ok(sink.stopCount > 0);
    });
  }
}

test('forty parallel uploads do not mix their bytes', async (t) => {
  const port = await hashing(t, true);
  const buffers = new PoisonedBuffers();
  const pool = makePool(t, { port, buffers });
  const wholes = Array.from({ length: 40 }, (_, i) => bodyOf(i, 300_000));
  const sinks = wholes.map((whole) =>
    upload(pool, { bodyLength: whole.length }, new UploadingSink(cut(whole, 40_000))),
  );
  for (const [i, sink] of sinks.entries()) {
    await sink.finished();
    assert.equal(
      sink.body.toString(),
      createHash('sha1')
        .update(wholes[i] ?? '')
        .digest('hex'),
    );
  }
});
