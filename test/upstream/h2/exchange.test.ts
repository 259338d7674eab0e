import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startH2Backend } from '../../support/h2-backends.ts';
import { waitFor } from '../../support/wait.ts';
import { ask, get, makeH2Pool, RecordingSink, send } from '../support.ts';

test('a request arrives with pseudo fields, its fields in lower case and nothing hop-by-hop', async (t) => {
  const backend = await startH2Backend(t, (stream) =>
    stream.respond({ ':status': 204 }, { endStream: true }),
  );
  const pool = makeH2Pool(t, { port: backend.port });
  const headerLines = 'Host: shop.example\r\nX-Real-IP: 192.0.2.1\r\ncookie: a=1\r\nTE: trailers\r\n';
  const { head } = await ask(pool, get('/a?b=c', { headerLines }));
  assert.equal(head?.status, 204);
  assert.deepEqual(backend.requests[0], [
    ...[':method', 'GET', ':scheme', 'http', ':path', '/a?b=c', ':authority', 'shop.example'],
    ...['x-real-ip', '192.0.2.1', 'cookie', 'a=1', 'te', 'trailers'],
  ]);
});

test('an answer gives its head in lines, its body and its trailers', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200, 'set-cookie': ['a=1', 'b=2'], 'x-y': 'z' }, { waitForTrailers: true });
    stream.on('wantTrailers', () =>
      stream.sendTrailers({ 'grpc-status': '0', under_score: '1', 'content-type': 'no/trailer' }),
    );
    stream.end('hello');
  });
  const sink = await ask(makeH2Pool(t, { port: backend.port }));
  assert.equal(sink.error, null);
  assert.match(sink.head?.lines ?? '', /^set-cookie: a=1\r\nset-cookie: b=2\r\nx-y: z\r\ndate: .*\r\n$/);
  assert.equal(sink.head?.reason, 'OK');
  assert.equal(sink.head?.hasDate, true);
  assert.equal(sink.head?.contentLength, -1);
  assert.equal(sink.body.toString(), 'hello');
  assert.deepEqual(sink.trailers, ['grpc-status', '0', 'under_score', '1']);
  assert.deepEqual(sink.calls, ['head', 'body', 'end']);
});

test('an answer that ends with its head is complete at once', async (t) => {
  const backend = await startH2Backend(t, (stream) =>
    stream.respond({ ':status': 200, 'grpc-status': '5' }, { endStream: true }),
  );
  const sink = await ask(makeH2Pool(t, { port: backend.port }));
  assert.deepEqual(sink.calls, ['head']);
  assert.equal(sink.head?.contentLength, 0);
  assert.equal(sink.head?.hasBody, false);
  assert.match(sink.head?.lines ?? '', /grpc-status: 5\r\n/);
});

test('the length of an answer to HEAD passes on, and no body follows', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200, 'content-length': 5 });
    stream.end();
  });
  const sink = await ask(makeH2Pool(t, { port: backend.port }), get('/', { method: 'HEAD' }));
  assert.equal(sink.head?.contentLength, 5);
  assert.equal(sink.head?.hasBody, false);
  assert.equal(sink.body.length, 0);
});

test('1xx answers pass on before the head', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.additionalHeaders({ ':status': 103, link: '</a.css>' });
    stream.respond({ ':status': 200 });
    stream.end('x');
  });
  const sink = await ask(makeH2Pool(t, { port: backend.port }));
  assert.deepEqual(sink.interims, [103]);
  assert.deepEqual(sink.calls, ['information', 'head', 'body', 'end']);
});

test('a cancelled exchange resets its stream alone (B28)', async (t) => {
  const codes: number[] = [];
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.write('x');
    stream.on('close', () => codes.push(stream.rstCode));
  });
  const pool = makeH2Pool(t, { port: backend.port });
  const gone = send(pool, get(), new RecordingSink());
  const stays = send(pool, get(), new RecordingSink());
  await waitFor('both answers', () => gone.chunks.length === 1 && stays.chunks.length === 1);
  gone.exchange?.destroy({ memoryIsFree: true });
  await waitFor('the reset', () => codes.length === 1, { timeoutMs: 1_000 });
  assert.deepEqual(codes, [8]);
  backend.streams[1]?.end('y');
  await stays.finished();
  assert.equal(stays.body.toString(), 'xy');
  assert.equal(gone.over, false, 'nobody is told');
});

test('a sink that throws ends its own request alone', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.end('x');
  });
  const pool = makeH2Pool(t, { port: backend.port });
  class ThrowingSink extends RecordingSink {
    override onBody(): boolean {
      throw new Error('broken sink');
    }
  }
  const broken = await send(pool, get(), new ThrowingSink()).finished();
  assert.equal(broken.error?.code, 'internal_error');
  assert.equal(pool.faults.length, 1);
  assert.equal((await ask(pool)).body.toString(), 'x');
  assert.equal(backend.sessions.length, 1);
});
