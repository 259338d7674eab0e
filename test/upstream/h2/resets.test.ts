import assert from 'node:assert/strict';
import type { ServerHttp2Stream } from 'node:http2';
import { test } from 'node:test';
import { FakeTime } from '../../support/fake-time.ts';
import { answerOk, startH2Backend } from '../../support/h2-backends.ts';
import { waitFor } from '../../support/wait.ts';
import { get, makeH2Pool, RecordingSink, send } from '../support.ts';
import { BodySink, post } from './support.ts';

test('a reset of one stream ends that stream alone', async (t) => {
  const held: ServerHttp2Stream[] = [];
  const backend = await startH2Backend(t, (stream) => held.push(stream));
  const pool = makeH2Pool(t, { port: backend.port });
  const reset = send(pool, get(), new RecordingSink());
  const stays = send(pool, get(), new RecordingSink());
  await waitFor('the requests', () => held.length === 2);
  held[0]?.close(2);
  await reset.finished();
  assert.equal(reset.error?.code, 'upstream_reset');
  assert.equal(reset.error?.retryable, false);
  answerOk(held[1]!);
  assert.equal((await stays.finished()).body.toString(), 'ok');
});

test('requests that are aborted by the thousand leave those of others alone', async (t) => {
  const waiting: ServerHttp2Stream[] = [];
  const backend = await startH2Backend(t, (stream, { ':path': path }) => {
    if (path === '/waits') waiting.push(stream);
  });
  const pool = makeH2Pool(t, { port: backend.port });
  const waits = Array.from({ length: 5 }, () =>
    send(pool, post({ target: '/waits' }), new BodySink(['12345'])),
  );
  await waitFor('the requests that wait', () => waiting.length === 5);
  for (let turn = 1; turn <= 20; turn++) {
    const aborted = Array.from({ length: 60 }, () => send(pool, get(), new RecordingSink()));
    await waitFor('the requests', () => backend.streams.length === 5 + turn * 60);
    for (const sink of aborted) sink.exchange?.destroy({ memoryIsFree: true });
    await waitFor('their ends', () => backend.streams.filter((each) => !each.destroyed).length === 5);
  }
  for (const stream of waiting) answerOk(stream);
  for (const sink of waits) assert.equal((await sink.finished()).body.toString(), 'ok');
  assert.ok(backend.sessions.length <= 13, `${backend.sessions.length} connections`);
});

test('a connection takes no further requests after 100 resets within 30 s', async (t) => {
  const backend = await startH2Backend(t, () => undefined);
  const time = new FakeTime();
  const pool = makeH2Pool(t, { port: backend.port, clock: time.clock });
  const abortOn = async (connections: number, count: number) => {
    const before = backend.streams.length;
    const sinks = Array.from({ length: count }, () => send(pool, get(), new RecordingSink()));
    await waitFor('the requests', () => backend.streams.length === before + count);
    assert.equal(backend.sessions.length, connections);
    for (const sink of sinks) sink.exchange?.destroy({ memoryIsFree: true });
    await waitFor('the resets', () => backend.streams.every((each) => each.destroyed));
  };
  await abortOn(1, 90);
  time.nowMs += 31_000;
  await abortOn(1, 99);
  await abortOn(1, 1);
  await abortOn(2, 1);
});

test('connections that drain do not keep others from being opened', async (t) => {
  const held: ServerHttp2Stream[] = [];
  const backend = await startH2Backend(t, (stream) => {
    held.push(stream);
    stream.session?.close();
  });
  const pool = makeH2Pool(t, { port: backend.port });
  const sinks: RecordingSink[] = [];
  for (let count = 1; count <= 40; count++) {
    sinks.push(send(pool, get(), new RecordingSink()));
    await waitFor('the request', () => held.length === count);
    await waitFor('the connection to drain', () => pool.openCount === count);
  }
  for (const stream of held) answerOk(stream);
  for (const sink of sinks) assert.equal((await sink.finished()).body.toString(), 'ok');
});

test('a connection whose backend resets a stream with ENHANCE_YOUR_CALM takes no further request, and finishes those that it has', async (t) => {
  const held: ServerHttp2Stream[] = [];
  const backend = await startH2Backend(t, (stream, { ':path': path }) => {
    if (path === '/held') held.push(stream);
    else if (backend.sessions.length === 1) stream.close(11);
    else answerOk(stream);
  });
  const pool = makeH2Pool(t, { port: backend.port });
  const stays = send(pool, get('/held'), new RecordingSink());
  await waitFor('the request', () => held.length === 1);
  const refused = [1, 2, 3].map(() => send(pool, get(), new RecordingSink()));
  for (const sink of refused) {
    const { error } = await sink.finished();
    assert.deepEqual([error?.code, error?.retryable], ['upstream_reset', true]);
  }
  assert.equal((await send(pool, get(), new RecordingSink()).finished()).body.toString(), 'ok');
  assert.equal(backend.sessions.length, 2);
  answerOk(held[0]!);
  assert.equal((await stays.finished()).body.toString(), 'ok');
  await waitFor('the connection to close', () => pool.openCount === 1);
});

test('after 100 connections within 30 s that a backend refuses streams on, the next one stays', async (t) => {
  const backend = await startH2Backend(t, (stream) => stream.close(11));
  const time = new FakeTime();
  const pool = makeH2Pool(t, { port: backend.port, clock: time.clock });
  const retryable = async () => (await send(pool, get(), new RecordingSink()).finished()).error?.retryable;
  for (let count = 1; count <= 100; count++) assert.equal(await retryable(), true);
  for (let count = 1; count <= 3; count++) assert.equal(await retryable(), false);
  assert.equal(backend.sessions.length, 101);
  time.nowMs += 31_000;
  assert.deepEqual([await retryable(), await retryable()], [true, true]);
  assert.equal(backend.sessions.length, 102);
});
