import assert from 'node:assert/strict';
import { createServer, type ServerHttp2Stream } from 'node:http2';
import { test } from 'node:test';
import * as grpc from '@grpc/grpc-js';
import { listen } from '../../../test_backs/server.ts';
import { CODES, connectFrames } from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { accessLineOf } from '../support.ts';
import { chat, clientOf, join, list, say, startGrpcProxy, startService } from './support.ts';

test('a unary call passes, and its status is in log and metrics', async (t) => {
  const proxy = await startGrpcProxy(t, [await startService(t, {})]);
  const { answer, code } = await say(clientOf(t, proxy), 'hello');
  assert.equal(answer, 'hello');
  assert.equal(code, grpc.status.OK);
  const line = await accessLineOf(proxy, ({ path }) => path === '/test.Texts/Say');
  assert.deepEqual([line.status, line.grpcStatus, line.reason, line.protocol], [200, 0, 'ok', 'h2']);
  assert.equal(proxy.metric('sluice_requests_total', 'default', 'POST', 'grpc_0'), 1);
  assert.equal(proxy.metric('sluice_upstream_requests_total', '200'), 1);
});

test('metadata passes both ways, and error details and trailing metadata pass to the client', async (t) => {
  const port = await startService(t, {
    say: (call: grpc.ServerUnaryCall<string, string>, reply: grpc.sendUnaryData<string>) => {
      const head = new grpc.Metadata();
      for (const name of ['x-sent', 'x-sent-bin'])
        for (const value of call.metadata.get(name)) head.add(name.replace('sent', 'head'), value);
      call.sendMetadata(head);
      const trailers = new grpc.Metadata();
      trailers.set('x-trailer-bin', Buffer.from([1, 2, 255]));
      reply({ code: grpc.status.FAILED_PRECONDITION, details: 'not “now”', metadata: trailers });
    },
  });
  const proxy = await startGrpcProxy(t, [port]);
  const metadata = new grpc.Metadata();
  metadata.set('x-sent', 'a text');
  metadata.set('x-sent-bin', Buffer.from([0, 128, 255]));
  const { code, details, head, trailers } = await say(clientOf(t, proxy), 'hello', { metadata });
  assert.equal(code, grpc.status.FAILED_PRECONDITION);
  assert.equal(details, 'not “now”');
  assert.deepEqual(head?.get('x-head'), ['a text']);
  assert.deepEqual(head?.get('x-head-bin'), [Buffer.from([0, 128, 255])]);
  assert.deepEqual(trailers.get('x-trailer-bin'), [Buffer.from([1, 2, 255])]);
  const line = await accessLineOf(proxy, ({ path }) => path === '/test.Texts/Say');
  assert.equal(line.grpcStatus, 9);
  assert.equal(proxy.metric('sluice_requests_total', 'grpc_9'), 1);
});

test('trailing metadata keeps every name that its author may choose', async (t) => {
  const sent = {
    error_code: 'E_7',
    'x-request-id': 'theirs',
    date: 'tomorrow',
    'content-language': 'de',
    authorization: 'renewed',
    'set-cookie': 'a=1',
    location: 'shelf 4',
  };
  const port = await startService(t, {
    say: (call: grpc.ServerUnaryCall<string, string>, reply: grpc.sendUnaryData<string>) => {
      const trailers = new grpc.Metadata();
      for (const [name, value] of Object.entries(sent)) trailers.set(name, value);
      reply(null, call.request, trailers);
    },
  });
  const proxy = await startGrpcProxy(t, [port]);
  const { code, trailers } = await say(clientOf(t, proxy), 'hello');
  assert.equal(code, grpc.status.OK);
  const received = Object.keys(sent).map((name) => [name, trailers.get(name)[0]]);
  assert.deepEqual(Object.fromEntries(received), sent);
});

test('a trailers-only answer passes as one', async (t) => {
  const proxy = await startGrpcProxy(t, [await startService(t, {})]);
  const { code, head } = await say(clientOf(t, proxy), 'hello', { path: '/test.Texts/Unknown' });
  assert.equal(code, grpc.status.UNIMPLEMENTED);
  assert.equal(head, null);
  assert.equal((await accessLineOf(proxy, () => true)).grpcStatus, 12);
});

test('an answer that announces its length keeps its trailers', async (t) => {
  const message = Buffer.from([0, 0, 0, 0, 5, ...Buffer.from('hello')]);
  const server = createServer();
  server.on('stream', (stream: ServerHttp2Stream) => {
    const head = { 'content-type': 'application/grpc', 'content-length': message.length };
    stream.respond(head, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(message);
  });
  const backend = await listen(server);
  t.after(() => backend.close());
  const proxy = await startGrpcProxy(t, [backend.port]);
  const { answer, code, details } = await say(clientOf(t, proxy), 'hello');
  assert.deepEqual([answer, code], ['hello', grpc.status.OK], details);
});

test('a server’s stream passes message by message', async (t) => {
  let release: () => void = () => undefined;
  const port = await startService(t, {
    list: (call: grpc.ServerWritableStream<string, string>) => {
      call.write('one');
      release = () => {
        call.write('two');
        call.end();
      };
    },
  });
  const proxy = await startGrpcProxy(t, [port]);
  const words: string[] = [];
  const call = list(clientOf(t, proxy), 'numbers');
  call.on('data', (word) => words.push(word));
  await waitFor('the first message while the second is not sent yet', () => words.length === 1);
  release();
  await waitFor('the second message', () => words.length === 2);
  assert.deepEqual(words, ['one', 'two']);
});

test('a client’s stream passes', async (t) => {
  const proxy = await startGrpcProxy(t, [await startService(t, {})]);
  const joined = new Promise<string | undefined>((resolve, reject) => {
    const call = join(clientOf(t, proxy), (error, text) => (error === null ? resolve(text) : reject(error)));
    for (let i = 0; i < 100; i++) call.write(`w${i}`);
    call.end();
  });
  assert.equal(await joined, Array.from({ length: 100 }, (_, i) => `w${i}`).join(' '));
});

test('both sides stream at once: an answer comes before the next message is sent', async (t) => {
  const proxy = await startGrpcProxy(t, [await startService(t, {})]);
  const call = chat(clientOf(t, proxy));
  const words: string[] = [];
  call.on('data', (word) => words.push(word));
  for (let i = 0; i < 20; i++) {
    call.write(`m${i}`);
    await waitFor(`the answer to message ${i}`, () => words.at(-1) === `m${i}!`, { everyMs: 1 });
  }
  call.end();
  const status = await new Promise<grpc.StatusObject>((resolve) => call.on('status', resolve));
  assert.equal(status.code, grpc.status.OK);
  const line = await accessLineOf(proxy, ({ path }) => path === '/test.Texts/Chat');
  assert.deepEqual([line.grpcStatus, line.reason], [0, 'ok']);
});

test('a large stream is neither cut nor reordered, and 50 calls share one connection to the backend', async (t) => {
  const proxy = await startGrpcProxy(t, [await startService(t, {})], { limits: { bodyBytes: 1 << 30 } });
  const client = clientOf(t, proxy);
  const one = async (name: number): Promise<void> => {
    const call = chat(client);
    const received: string[] = [];
    call.on('data', (word) => received.push(word));
    const sent = Array.from({ length: 20 }, (_, i) => `${name}-${i}-${'x'.repeat(10_000)}`);
    for (const word of sent) call.write(word);
    call.end();
    await new Promise((resolve) => call.on('status', resolve));
    assert.deepEqual(
      received,
      sent.map((word) => `${word}!`),
    );
  };
  await Promise.all(Array.from({ length: 50 }, (_, name) => one(name)));
  const [backend] = [...proxy.plan().backends()];
  assert.equal(backend?.connections.openCount, 1);
});

test('messages that wait because the backend stopped are no flood', async (t) => {
  const CALLS = 100;
  const stopped: (() => void)[] = [];
  const port = await startService(t, {
    join: (call: grpc.ServerReadableStream<string, string>, reply: grpc.sendUnaryData<string>) => {
      let count = 0;
      stopped.push(() => {
        call.on('data', () => {
          count += 1;
        });
        call.on('end', () => reply(null, String(count)));
      });
    },
  });
  // A session is looked at four times within each of these.
  const timeouts = { headersMs: 400, writeIdleMs: 400 };
  const proxy = await startGrpcProxy(t, [port], { limits: { bodyBytes: 1 << 30 }, timeouts });
  const client = clientOf(t, proxy);
  const word = 'x'.repeat(100_000);
  const calls = Array.from({ length: CALLS }, () => {
    const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
    const call = join(client, (error, text) => (error === null ? resolve(text) : reject(error)));
    for (let i = 0; i < 8; i++) call.write(word);
    call.end();
    return promise;
  });
  const answers = Promise.all(calls);
  answers.catch(() => undefined);
  await waitFor('all to wait', () => stopped.length === CALLS);
  // The fourth look ends a session that says nothing; the calls have been looked at as often then.
  const silent = await connectFrames(proxy.url);
  t.after(() => silent.close());
  assert.equal(await silent.goaway(15_000), CODES.NO_ERROR);
  assert.equal(proxy.metric('sluice_http2_floods_total'), 0);
  for (const go of stopped) go();
  assert.deepEqual(new Set(await answers), new Set(['8']));
});

test('a client that cancels cancels the call at the backend (B28)', async (t) => {
  let cancelled = false;
  const port = await startService(t, {
    chat: (call: grpc.ServerDuplexStream<string, string>) => {
      call.write('ready');
      call.on('cancelled', () => {
        cancelled = true;
      });
    },
  });
  const proxy = await startGrpcProxy(t, [port]);
  const call = chat(clientOf(t, proxy));
  call.on('error', () => undefined);
  await new Promise((resolve) => call.once('data', resolve));
  call.cancel();
  await waitFor('the backend to hear of it', () => cancelled);
  const line = await accessLineOf(proxy, () => true);
  assert.deepEqual([line.status, line.reason, line.grpcStatus], [499, 'client_abort', null]);
});
