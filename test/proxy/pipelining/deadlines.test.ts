/** The headers timeout (B13) with pipelining: a head's deadline does not include the time of the requests before it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '../../support/wait.ts';
import { type CapturedRequest, ok, startCapturingBackend } from '../capturing-backend.ts';
import { dataPath, startProxy } from '../support.ts';

const HEADERS_MS = 300;
const REQUESTS = 900;

/** Makes several reads of the requests: one of them ends inside a head, whose rest waits in the kernel. */
const FILLER = `X-Filler: ${'f'.repeat(100)}\r\n`;

test('pipelined requests that wait much longer than the headers timeout are all answered', async (t) => {
  const backend = await startCapturingBackend(t, ({ target }, socket) => {
    setTimeout(() => socket.writable && socket.write(ok(target)), 1);
    return null;
  });
  const proxy = await startProxy(t, { backends: [backend], timeouts: { headersMs: HEADERS_MS } });
  const client = await proxy.connect();
  const targets = Array.from({ length: REQUESTS }, (_, i) => `/${i}`);
  const startMs = performance.now();
  client.write(targets.map((target) => `GET ${target} HTTP/1.1\r\nHost: a\r\n${FILLER}\r\n`).join(''));
  for (const target of targets) {
    const answer = await client.readResponse();
    assert.deepEqual([answer.status, answer.body.toString()], [200, target]);
  }
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs > 3 * HEADERS_MS, `${tookMs} ms is too short to test the deadline`);
  assert.ok(proxy.lines.every(({ status }) => status === 200));
});

if (dataPath.engine === 'wire') {
  for (const comes of [true, false]) {
    const end = comes ? 'is served when the rest comes' : 'gets 408 at that deadline';
    test(`the deadline of half a head behind a slow request starts when that is answered: it ${end}`, async (t) => {
      const held: (() => void)[] = [];
      const backend = await startCapturingBackend(t, (request: CapturedRequest, socket) => {
        if (request.target !== '/slow') return ok(request.target);
        held.push(() => socket.write(ok('/slow')));
        return null;
      });
      const proxy = await startProxy(t, { backends: [backend], timeouts: { headersMs: HEADERS_MS } });
      const client = await proxy.connect();
      const startMs = performance.now();
      client.write('GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHo');
      await waitFor('the slow request at the backend', () => held.length === 1);
      await waitFor('the deadline to pass', () => performance.now() - startMs > 5 * HEADERS_MS);
      assert.equal(client.received.length, 0);
      held[0]?.();
      const turnMs = performance.now();
      assert.equal((await client.readResponse()).body.toString(), '/slow');
      if (comes) client.write('st: a\r\n\r\n');
      const answer = await client.readResponse();
      const waitedMs = performance.now() - turnMs;
      assert.equal(answer.status, comes ? 200 : 408);
      if (comes) assert.equal(answer.body.toString(), '/next');
      else assert.ok(waitedMs >= HEADERS_MS - 5 && waitedMs < HEADERS_MS + 2_000, `${waitedMs} ms`);
    });
  }
}
