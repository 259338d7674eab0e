import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startEcho } from '../../test_backs/echo.ts';
import { runToEnd, spawnChild } from '../support/child.ts';
import { freePort } from '../support/free-port.ts';
import { connectRaw } from '../support/raw-http.ts';
import { waitFor } from '../support/wait.ts';

const ECHO = fileURLToPath(new URL('../../test_backs/echo.ts', import.meta.url));

async function startClosed(t: TestContext, options: Parameters<typeof startEcho>[0] = {}) {
  const backend = await startEcho(options);
  t.after(() => backend.close());
  return backend;
}

test('echo answers with id, method, path with query, headers and body', async (t) => {
  const backend = await startClosed(t, { id: 'one' });
  const response = await fetch(`${backend.url}/a//b?c=1`, {
    method: 'PUT',
    body: 'grüße',
    headers: { 'X-Mine': 'yes' },
  });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('x-backend'), 'one');
  const seen = (await response.json()) as Record<string, unknown> & { headers: Record<string, string> };
  assert.equal(seen.id, 'one');
  assert.equal(seen.method, 'PUT');
  assert.equal(seen.path, '/a//b?c=1');
  assert.equal(seen.body, 'grüße');
  assert.equal(seen.bodyBytes, 7);
  assert.equal(seen.headers['x-mine'], 'yes');
});

test('without an id echo uses its port as the id', async (t) => {
  const backend = await startClosed(t);
  const seen = (await (await fetch(backend.url)).json()) as { id: string };
  assert.equal(seen.id, String(backend.port));
});

test('/health answers ok and /status/503 answers 503', async (t) => {
  const backend = await startClosed(t);
  const health = await fetch(`${backend.url}/health`);
  assert.deepEqual([health.status, await health.text()], [200, 'ok']);
  assert.equal((await fetch(`${backend.url}/status/503`)).status, 503);
  assert.equal((await fetch(`${backend.url}/status/999`)).status, 200);
});

test('/slow waits for the given time', async (t) => {
  const backend = await startClosed(t);
  const startMs = performance.now();
  assert.equal((await fetch(`${backend.url}/slow?ms=80`)).status, 200);
  assert.ok(performance.now() - startMs >= 79);
});

test('/bytes sends exactly the requested number of bytes, also in several pieces', async (t) => {
  const backend = await startClosed(t);
  for (const count of [0, 1, 65_536, 1_000_003]) {
    const body = await (await fetch(`${backend.url}/bytes?n=${count}`)).bytes();
    assert.equal(body.length, count);
    assert.ok(body.every((byte) => byte === 0x78));
  }
});

test('/echo streams the body back byte for byte', async (t) => {
  const backend = await startClosed(t);
  const sent = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 31) % 251));
  const got = await (await fetch(`${backend.url}/echo`, { method: 'POST', body: sent })).bytes();
  const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  assert.equal(hash(got), hash(sent));
});

test('/stream sends its events one by one', async (t) => {
  const backend = await startClosed(t);
  const client = await connectRaw(backend.url);
  t.after(() => client.close());
  client.write('GET /stream?n=3&ms=40 HTTP/1.1\r\nHost: x\r\n\r\n');
  await client.waitForBytes('id: 1\n');
  assert.equal(client.received.includes('id: 2\n'), false);
  const response = await client.readResponse();
  assert.equal(response.header('content-type'), 'text/event-stream');
  assert.equal(response.body.toString().match(/^data: /gm)?.length, 3);
});

for (const option of ['--port', '-port']) {
  test(`as a script echo takes ${option}=N and exits 0 on SIGTERM, with connections open`, async (t) => {
    const port = await freePort();
    const child = spawnChild(process.execPath, [ECHO, `${option}=${port}`, '--id=script']);
    t.after(() => child.kill());
    await child.waitForLine(`listening on http://127.0.0.1:${port}`);
    const client = await connectRaw({ port });
    t.after(() => client.close());
    client.write('GET /slow?ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n');
    await waitFor(
      'echo to answer beside a slow request',
      async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok,
    );
    assert.deepEqual(await child.stop('SIGTERM'), { code: 0, signal: null });
  });
}

test('as a script echo names an unknown option (exit 2) and a port in use (exit 1)', async (t) => {
  const unknown = await runToEnd(process.execPath, [ECHO, '--prot=1']);
  assert.deepEqual([unknown.code, unknown.stderr.length], [2, 1]);
  assert.match(unknown.stderr[0] ?? '', /unknown option --prot=1; known: --port=… --host=… --id=…/);
  const backend = await startClosed(t);
  const taken = await runToEnd(process.execPath, [ECHO, `--port=${backend.port}`]);
  assert.equal(taken.code, 1);
  assert.match(taken.stderr.join(), /EADDRINUSE/);
});
