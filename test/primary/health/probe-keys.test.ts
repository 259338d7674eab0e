/** What a probe over HTTP/1.1 asks, and what it expects of the body. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { HealthCheckSettings } from '../../../src/contract/pool-settings.ts';
import { runProbe } from '../../../src/primary/health/probe.ts';
import { ExpectedText, probeTarget } from '../../../src/primary/health/probe-target.ts';
import { startBackend, startRawBackend } from '../../support/backend.ts';
import { healthCheckSettings } from '../../support/settings.ts';
import { within } from '../../support/wait.ts';

const PLAIN = { tls: null, protocol: 'http1', proxyProtocol: 'off' } as const;

function probe(port: number, check: Partial<HealthCheckSettings>) {
  const settings = healthCheckSettings({ timeoutMs: 2_000, ...check });
  const target = probeTarget({ host: '127.0.0.1', port }, settings, PLAIN);
  return within(runProbe(target, new AbortController().signal), 10_000, 'the probe ends');
}

/** A backend that keeps the head of its last request. */
async function startKeeping(t: TestContext) {
  const kept = { head: '', port: 0 };
  const backend = await startRawBackend((socket) => {
    socket.once('data', (chunk) => {
      kept.head = chunk.toString('latin1');
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    });
  });
  t.after(() => backend.close());
  kept.port = backend.port;
  return kept;
}

test('host, method and fields of a probe are as configured, and take the place of its own', async (t) => {
  const kept = await startKeeping(t);
  const headers = { 'X-Key': 'k e y', 'USER-AGENT': 'probe/1' };
  assert.equal((await probe(kept.port, { host: 'app.internal:99', method: 'HEAD', headers })).ok, true);
  assert.match(kept.head, /^HEAD \/health HTTP\/1\.1\r\n/);
  assert.match(kept.head, /\r\nhost: app\.internal:99\r\n/i);
  assert.match(kept.head, /\r\nx-key: k e y\r\n/i);
  assert.match(kept.head, /\r\nuser-agent: probe\/1\r\n/i);
  assert.doesNotMatch(kept.head, /sluice-health/);
  assert.equal(kept.head.match(/\r\nhost:/gi)?.length, 1);
  await probe(kept.port, { method: 'POST' });
  assert.match(kept.head, /^POST [\s\S]*\r\ncontent-length: 0\r\n/i);
});

test('a probe may go to another port than the requests, whatever its type', async (t) => {
  const kept = await startKeeping(t);
  for (const type of ['http', 'tcp'] as const)
    assert.equal((await probe(1, { port: kept.port, type })).ok, true, type);
  assert.match(kept.head, new RegExp(`\r\nhost: 127\\.0\\.0\\.1:${kept.port}\r\n`, 'i'));
});

test('the body must hold the expected text, within 64 KiB, in whatever pieces it comes; the status counts first', async (t) => {
  let status = 200;
  let pieces: string[] = [];
  const backend = await startBackend((_, response) => {
    response.writeHead(status);
    const left = [...pieces];
    const next = (): void => {
      const piece = left.shift();
      if (piece === undefined) response.end();
      else response.write(piece, () => setImmediate(next));
    };
    next();
  });
  t.after(() => backend.close());
  const ask = (expectBody: string, ...body: string[]) => {
    pieces = body;
    return probe(backend.port, { expectBody });
  };
  const missing = { ok: false, detail: 'status 200, without the expected text' };
  assert.deepEqual(await ask('"ok"', '{"status":"o', 'k"}'), { ok: true, detail: 'status 200' });
  assert.deepEqual(await ask('größe', 'die größ', 'e'), { ok: true, detail: 'status 200' });
  assert.deepEqual(await ask('größe', 'die große'), missing);
  assert.deepEqual(await ask('ok'), missing);
  const filler = 'x'.repeat(64 * 1024 - 2);
  assert.equal((await ask('ok', filler, 'ok', 'more')).ok, true, 'at the end of the first 64 KiB');
  assert.deepEqual(await ask('ok', filler, '-ok', 'more'), missing, 'a byte later');
  status = 503;
  assert.deepEqual(await ask('ok', 'ok'), { ok: false, detail: 'status 503' });
});

test('each byte of a body is searched with the text before it alone, however small its pieces are', (t) => {
  const text = '"status":"ok"';
  const found = { ok: true, detail: 'status 200' };
  const missing = { ok: false, detail: 'status 200, without the expected text' };
  const search = t.mock.method(Buffer.prototype, 'includes');
  const outcomesOf = (body: string) => {
    const expected = new ExpectedText(text, found);
    return [...body].map((byte) => expected.take(Buffer.from(byte))).filter((outcome) => outcome !== null);
  };
  const outcomes = outcomesOf(`${'"'.repeat(4_000)}${text.slice(1)}, and more`);
  const searchedBytes = search.mock.calls.map((call: { this: Buffer }) => call.this.length);
  search.mock.restore();
  assert.equal(Math.max(...searchedBytes), text.length);
  assert.deepEqual(outcomes, [found], 'told once');
  const room = 64 * 1024 - text.length;
  assert.deepEqual(outcomesOf(`${'x'.repeat(room)}${text}x`), [found], 'at the end of the first 64 KiB');
  assert.deepEqual(outcomesOf(`${'x'.repeat(room + 1)}${text}x`), [missing], 'a byte later');
});

test('a body that is cut before the text, or never ends, is a failed probe', async (t) => {
  const cut = await startRawBackend((socket) => {
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nalmost'));
  });
  t.after(() => cut.close());
  assert.equal((await probe(cut.port, { expectBody: 'ok' })).ok, false);
  const endless = await startBackend((_, response) => void response.writeHead(200).write('almost'));
  t.after(() => endless.close());
  assert.deepEqual(await probe(endless.port, { expectBody: 'ok', timeoutMs: 200 }), {
    ok: false,
    detail: 'timeout',
  });
});
