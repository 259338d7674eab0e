/** Calls of gRPC that are made again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as grpc from '@grpc/grpc-js';
import { NGHTTP2_REFUSED_STREAM, startH2Backend } from '../../support/h2-backends.ts';
import { retrySettings } from '../../support/settings.ts';
import { waitFor } from '../../support/wait.ts';
import { clientOf, say, startGrpcProxy, startService } from './support.ts';

test('B8: a call that a backend refused unprocessed is made at another one; one that was processed, only by choice', async (t) => {
  for (const [code, nonIdempotent, expected] of [
    [NGHTTP2_REFUSED_STREAM, false, 'hello'],
    [2, false, null],
    [2, true, 'hello'],
  ] as const) {
    const bad = await startH2Backend(t, (stream) => stream.on('end', () => stream.close(code)).resume());
    const good = await startService(t, {});
    const app = { retry: retrySettings({ nonIdempotent }) };
    const proxy = await startGrpcProxy(t, [bad.port, good], { app });
    const { answer, code: status } = await say(clientOf(t, proxy), 'hello');
    assert.equal(answer, expected);
    assert.equal(status, expected === null ? grpc.status.UNAVAILABLE : grpc.status.OK);
    assert.equal(bad.streams.length, 1);
  }
});

test("the client's deadline bounds all attempts of a call, and an HTTP status of 200 is none that is retried", async (t) => {
  let calls = 0;
  const port = await startService(t, {
    say: (call: grpc.ServerUnaryCall<string, string>, reply: grpc.sendUnaryData<string>) => {
      calls += 1;
      if (call.request === 'fail') reply({ code: grpc.status.UNAVAILABLE });
    },
  });
  const retry = retrySettings({ nonIdempotent: true, attempts: 10, perTryMs: 100, onStatus: [503] });
  const proxy = await startGrpcProxy(t, [port], { app: { retry } });
  const client = clientOf(t, proxy);
  assert.equal((await say(client, 'fail')).code, grpc.status.UNAVAILABLE);
  assert.equal(calls, 1);
  const { code } = await say(client, 'wait', { deadline: Date.now() + 400 });
  assert.equal(code, grpc.status.DEADLINE_EXCEEDED);
  await waitFor('the line', () => proxy.lines.length === 2);
  const { attempts = 0 } = proxy.lines[1] ?? {};
  assert.ok(attempts >= 2 && attempts <= 4, `${attempts} attempts`);
});
