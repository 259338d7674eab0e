import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import * as grpc from '@grpc/grpc-js';
import { FakeTime } from '../../support/fake-time.ts';
import { freePort } from '../../support/free-port.ts';
import { startH2Backend } from '../../support/h2-backends.ts';
import { connectH2, requestH2 } from '../../support/h2-client.ts';
import {
  CODES,
  connectFrames,
  data,
  FLAGS,
  type Frame,
  frame,
  headers,
  number32,
  request,
  TYPES,
} from '../../support/h2-frames.ts';
import { untilStill, waitFor, within } from '../../support/wait.ts';
import { accessLineOf, policy, route } from '../support.ts';
import { chat, clientOf, say, startGrpcProxy, startService } from './support.ts';

const CALL = { 'content-type': 'application/grpc', te: 'trailers' };
const BLOCKED = { clientId: '127.0.0.1', mode: 'blocked', limits: {}, versionUs: 1 } as const;

test('a call above its limit is RESOURCE_EXHAUSTED, with Retry-After and the fields of the limit', async (t) => {
  const proxy = await startGrpcProxy(t, [await startService(t, {})], {
    policies: [policy('default', 1, 0.01)],
    routes: [route('default', {}, { rateLimit: { policies: ['default'], cost: 1 } })],
  });
  const client = clientOf(t, proxy);
  assert.equal((await say(client, 'one')).code, grpc.status.OK);
  const { code, details, trailers } = await say(client, 'two');
  assert.equal(code, grpc.status.RESOURCE_EXHAUSTED);
  assert.equal(details, 'Request quota exceeded');
  assert.ok(Number(trailers.get('retry-after')[0]) >= 1);
  assert.match(String(trailers.get('ratelimit')[0]), /"default";r=0/);
  assert.equal(trailers.get('x-request-id').length, 1);
  const line = await accessLineOf(proxy, ({ reason }) => reason === 'limited');
  assert.deepEqual([line.status, line.grpcStatus, line.policies], [200, 8, ['default']]);
  assert.equal(proxy.metric('sluice_requests_total', 'grpc_8'), 1);
});

test('without a route a call is UNIMPLEMENTED, from a blocked client PERMISSION_DENIED, without a backend UNAVAILABLE', async (t) => {
  const proxy = await startGrpcProxy(t, [await freePort()], {
    routes: [route('texts', { path: '/test.Texts/' })],
  });
  const client = clientOf(t, proxy);
  assert.equal((await say(client, 'x', { path: '/other.Service/Say' })).code, grpc.status.UNIMPLEMENTED);
  const away = await say(client, 'x');
  assert.equal(away.code, grpc.status.UNAVAILABLE);
  assert.equal(away.details, 'Backend could not be reached');
  const line = await accessLineOf(proxy, ({ reason }) => reason === 'connect_failed');
  assert.equal(line.grpcStatus, 14);
  const blocked = await startGrpcProxy(t, [await freePort()], {
    clients: [BLOCKED],
  });
  assert.equal((await say(clientOf(t, blocked), 'x')).code, grpc.status.PERMISSION_DENIED);
});

test('a backend that does not answer in time is DEADLINE_EXCEEDED', async (t) => {
  const port = await startService(t, { say: () => undefined });
  const proxy = await startGrpcProxy(t, [port], { poolTimeouts: { responseMs: 200 } });
  const { code, details } = await say(clientOf(t, proxy), 'x');
  assert.equal(code, grpc.status.DEADLINE_EXCEEDED);
  assert.equal(details, 'Backend did not answer in time');
});

test('grpc-timeout is passed on, and ends the call at the backend when the client does not', async (t) => {
  const time = new FakeTime();
  const backend = await startH2Backend(t, () => undefined);
  const proxy = await startGrpcProxy(t, [backend.port], { clock: time.clock });
  const session = connectH2(t, proxy.url);
  const stream = session.request({
    ':method': 'POST',
    ':path': '/test.Texts/Say',
    'content-type': 'application/grpc+proto',
    te: 'trailers',
    'grpc-timeout': '200m',
  });
  stream.end(Buffer.alloc(5));
  await waitFor('the call', () => backend.streams.length === 1);
  time.nowMs = 300;
  const fields = await new Promise<Record<string, unknown>>((resolve) => stream.on('response', resolve));
  assert.equal(fields[':status'], 200);
  assert.equal(fields['grpc-status'], '4');
  assert.equal(fields['grpc-message'], 'Backend did not answer in time');
  assert.equal(fields['content-type'], 'application/grpc');
  assert.equal(fields['content-length'], undefined);
  await new Promise((resolve) => stream.on('end', resolve).resume());
  await waitFor('the backend’s stream to be reset', () => backend.streams[0]?.rstCode === 8);
  const sent = backend.requests[0] ?? [];
  assert.equal(sent[sent.indexOf('grpc-timeout') + 1], '200m');
  assert.equal(sent[sent.indexOf('te') + 1], 'trailers');
  assert.equal(sent[sent.indexOf('content-type') + 1], 'application/grpc+proto');
  const line = await accessLineOf(proxy, () => true);
  assert.deepEqual([line.grpcStatus, line.reason], [4, 'upstream_timeout']);
});

test('a deadline that passes while a client reads its whole answer is none', async (t) => {
  const time = new FakeTime();
  // The larger one waits in the connection of the backend, too.
  const sizes = [10_000, 60_000];
  const backend = await startH2Backend(t, (stream, { ':path': path }) => {
    if (path === '/never') return;
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(Buffer.alloc(Number(String(path).slice(1)), 'x'));
  });
  const proxy = await startGrpcProxy(t, [backend.port], { clock: time.clock });
  // All of an answer waits in Sluice, but for its beginning.
  const session = connectH2(t, proxy.url, { settings: { initialWindowSize: 1_000 } });
  const call = (path: string) => {
    const stream = session.request({ ':method': 'POST', ':path': path, 'grpc-timeout': '1S', ...CALL });
    stream.end(Buffer.alloc(5));
    return stream;
  };
  const answers = sizes.map((size) => ({ size, stream: call(`/${size}`) }));
  await waitFor('the backend to have sent everything', () => {
    return backend.streams.length === sizes.length && backend.streams.every(({ closed }) => closed);
  });
  // It comes behind them on the same connection.
  await once(call('/0').resume(), 'end');
  assert.equal(backend.sockets.length, 1);
  const refused = once(call('/never'), 'response');
  await waitFor('the last call', () => backend.streams.length === sizes.length + 2);
  time.nowMs = 1_100;
  const [refusal] = await refused;
  assert.equal(refusal['grpc-status'], '4');
  for (const { size, stream } of answers) {
    const trailers = once(stream, 'trailers');
    let received = 0;
    for await (const piece of stream) received += piece.length;
    const [last] = await trailers;
    assert.deepEqual([received, last['grpc-status']], [size, '0']);
    const line = await accessLineOf(proxy, ({ path }) => path === `/${size}`);
    assert.deepEqual([line.grpcStatus, line.reason], [0, 'ok']);
  }
});

test('a stream whose backend is lost ends with UNAVAILABLE behind the messages that have come', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    stream.write(Buffer.from([0, 0, 0, 0, 3, ...Buffer.from('one')]));
  });
  const proxy = await startGrpcProxy(t, [backend.port]);
  const call = chat(clientOf(t, proxy));
  call.on('error', () => undefined);
  const words: string[] = [];
  call.on('data', (word) => words.push(word));
  await waitFor('the first message', () => words.length === 1);
  const ended = new Promise<grpc.StatusObject>((resolve) => call.on('status', resolve));
  backend.sockets[0]?.resetAndDestroy();
  const { code, details } = await ended;
  assert.equal(code, grpc.status.UNAVAILABLE);
  assert.equal(details, 'Backend closed the connection');
  const line = await accessLineOf(proxy, () => true);
  assert.deepEqual([line.status, line.grpcStatus, line.reason], [200, 14, 'upstream_reset']);
  assert.equal(proxy.metric('sluice_request_failures_total', 'default', 'upstream_reset'), 1);
});

test('a client that reads more slowly than its backend sends gets the status of a stream that fails, behind what has come', async (t) => {
  let sentCount = 0;
  const send = (count: number) => {
    for (let i = 0; i < count; i++) backend.streams[0]?.write(Buffer.alloc(10_000), () => sentCount++);
  };
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    send(12);
  });
  const proxy = await startGrpcProxy(t, [backend.port]);
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  const allow = (stream: number, bytes: number) =>
    client.send(frame(TYPES.window, 0, stream, number32(bytes)));
  const received = () => client.body(1).length;
  allow(0, 10 << 20);
  client.send(headers(1, request(Object.entries(CALL), { method: 'POST' }), { ends: false }));
  client.send(data(1, Buffer.alloc(5), { ends: true }));
  await waitFor('the window to close', () => received() === 65_535);
  allow(1, 30_000);
  await waitFor('most of it', () => received() === 95_535);
  // This comes while the last of the other waits, and so it waits as one large piece.
  send(100);
  await untilStill('the bytes of the backend', () => sentCount);
  allow(1, 30_000);
  await waitFor('a part of the large piece', () => received() === 125_535);
  backend.streams[0]?.close(CODES.INTERNAL_ERROR);
  await waitFor('the failure', () => proxy.backend(`127.0.0.1:${backend.port}`).inFlight === 0);
  allow(1, 10 << 20);
  const isLast = ({ type, flags }: Frame) => type === TYPES.headers && (flags & FLAGS.endStream) !== 0;
  await client.wait('the trailers', isLast);
  assert.ok(received() > 130_000, `all of the large piece has come: ${received()}`);
  const line = await accessLineOf(proxy, () => true);
  assert.deepEqual([line.grpcStatus, line.reason], [14, 'upstream_reset']);
});

test('a deadline that passes after its call has failed changes nothing', async (t) => {
  const time = new FakeTime();
  const backend = await startH2Backend(t, (stream, { ':path': path }) => {
    if (path !== '/failed') return;
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    // Node.js 24 would send END_STREAM before the reset.
    stream.end = () => stream;
    stream.write(Buffer.alloc(50_000), () => stream.close(CODES.INTERNAL_ERROR));
  });
  const proxy = await startGrpcProxy(t, [backend.port], { clock: time.clock });
  const session = connectH2(t, proxy.url, { settings: { initialWindowSize: 1_000 } });
  const call = (path: string) => {
    const stream = session.request({ ':method': 'POST', ':path': path, 'grpc-timeout': '1S', ...CALL });
    stream.end(Buffer.alloc(5));
    return stream;
  };
  const failed = call('/failed');
  const trailers = once(failed, 'trailers');
  await waitFor('the failure', () => {
    return backend.streams[0]?.closed && proxy.backend(`127.0.0.1:${backend.port}`).inFlight === 0;
  });
  const refused = once(call('/late'), 'response');
  await waitFor('the other call', () => backend.streams.length === 2);
  time.nowMs = 1_100;
  const [refusal] = await refused;
  assert.equal(refusal['grpc-status'], '4');
  failed.resume();
  const [last] = await within(trailers, 5_000, 'the trailers');
  assert.equal(last['grpc-status'], '14');
  const line = await accessLineOf(proxy, ({ path }) => path === '/failed');
  assert.deepEqual([line.grpcStatus, line.reason], [14, 'upstream_reset']);
});

test('a call whose body is too large is INTERNAL', async (t) => {
  const proxy = await startGrpcProxy(t, [await startService(t, {})], { limits: { bodyBytes: 1_000 } });
  const { code, details } = await say(clientOf(t, proxy), 'x'.repeat(5_000));
  assert.equal(code, grpc.status.INTERNAL);
  assert.equal(details, 'Request body is too large');
  await accessLineOf(proxy, ({ reason }) => reason === 'body_too_large');
  assert.equal(proxy.metric('sluice_request_failures_total'), 0, 'its client is to blame');
});

test('a request of HTTP/2 that is no call gets problem+json', async (t) => {
  const proxy = await startGrpcProxy(t, [await freePort()]);
  const session = connectH2(t, proxy.url);
  const types = ['text/plain', 'x; content-type: application/grpc'];
  for (const type of [...types, 'application/grpc-web', 'application/grpc-web+proto', 'application/grpcx']) {
    const fields = { ':method': 'POST', ':path': '/', 'content-type': type };
    const { status, headers } = await requestH2(session, fields, 'x');
    assert.deepEqual([status, headers['content-type']], [502, 'application/problem+json']);
  }
});
