/** HTTP/2 from real clients to the whole product: curl, nghttp and h2load. */
import assert from 'node:assert/strict';
import { constants } from 'node:http2';
import { type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import { askJson, workersOf } from '../cluster/support.ts';
import { startBackend } from '../support/backend.ts';
import { runToEnd } from '../support/child.ts';
import { docExample } from '../support/doc-example.ts';
import { connectH2, requestH2 } from '../support/h2-client.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

async function startExample(t: TestContext, more: object = {}) {
  const backend = await startBackend((incoming, response) => {
    let bytes = 0;
    incoming.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    incoming.on('end', () => {
      response.setHeader('x-seen', `${incoming.httpVersion} ${incoming.headers.host}`);
      response.end(`${incoming.method} ${incoming.url} ${bytes}\n`);
    });
  });
  t.after(() => backend.close());
  const text = docExample('protocols.md', 'HTTP/2 from clients');
  assert.match(text, /h2c: true/);
  const example = parse(
    text.replace('":8080"', '"127.0.0.1:0"').replace('127.0.0.1:8081', `127.0.0.1:${backend.port}`),
  );
  const sluice = await startSluice({ config: { ...example, admin: { address: '127.0.0.1:0' }, ...more } });
  t.after(() => sluice.stop());
  return sluice;
}

test('the example in docs/protocols.md serves curl, over HTTP/2 and HTTP/1.1', async (t) => {
  const sluice = await startExample(t, { workers: 1 });
  const curl = async (...args: string[]) => {
    const { code, stdout, stderr } = await runToEnd('curl', ['-sS', '-i', ...args]);
    assert.equal(code, 0, stderr.join('\n'));
    return stdout.join('\n');
  };
  const get = await curl('--http2-prior-knowledge', `${sluice.proxyUrl}/a?b`);
  assert.match(get, /^HTTP\/2 200/);
  assert.match(get, /x-seen: 1\.1 127\.0\.0\.1:/);
  assert.match(get, /GET \/a\?b 0$/);
  const post = await curl('--http2-prior-knowledge', '-d', 'x'.repeat(100_000), `${sluice.proxyUrl}/up`);
  assert.match(post, /POST \/up 100000$/);
  const head = await curl('--http2-prior-knowledge', '-I', `${sluice.proxyUrl}/h`);
  assert.match(head, /^HTTP\/2 200/);
  assert.match(await curl('--http1.1', `${sluice.proxyUrl}/one`), /^HTTP\/1\.1 200[\s\S]*GET \/one 0$/);
  // `Upgrade: h2c` is gone from HTTP/2 (RFC 9113 §3.1): the request is a plain one.
  assert.match(await curl('--http2', `${sluice.proxyUrl}/upgrade`), /^HTTP\/1\.1 200[\s\S]*GET \/upgrade 0$/);
  const lines = await waitFor('all access lines', () => {
    const found = sluice.jsonLines(
      ({ requestId, protocol }) => requestId !== undefined && protocol !== undefined,
    );
    return found.length === 5 && found;
  });
  assert.deepEqual(
    lines.map(({ protocol, status }) => `${protocol} ${status}`),
    ['h2 200', 'h2 200', 'h2 200', 'http/1.1 200', 'http/1.1 200'],
  );
});

test('B38: clients that follow GOAWAY get every answer while each worker is replaced, over reloads', async (t) => {
  const sluice = await startExample(t, {
    workers: 2,
    accept: 'round_robin',
    log: { access: { enabled: false } },
  });
  let isOver = false;
  let answered = 0;
  let moves = 0;
  const load = async () => {
    let session = connectH2(t, sluice.proxyUrl);
    while (!isOver) {
      if (session.closed || session.destroyed) {
        moves += 1;
        session = connectH2(t, sluice.proxyUrl);
      }
      const asked = Array.from({ length: 8 }, () => requestH2(session, { ':path': '/load' }));
      for (const { status, rstCode } of await Promise.all(asked)) {
        // node's client refuses what it has not sent yet when a GOAWAY comes.
        if (status === 0 && rstCode === constants.NGHTTP2_REFUSED_STREAM) continue;
        assert.equal(status, 200);
        answered += 1;
      }
    }
  };
  const loads = Promise.all(Array.from({ length: 6 }, load));
  loads.catch(() => undefined);
  const old = sluice.workerPids();
  for (const pid of old) {
    const before = answered;
    await waitFor('some answers', () => answered > before + 100);
    process.kill(pid, 'SIGTERM');
    await waitFor('the replacement', async () => {
      const serving = (await workersOf(sluice.adminUrl)).filter(({ state }) => state === 'serving');
      return serving.length === 2 && !sluice.workerPids().includes(pid);
    });
    const { status } = await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
    assert.equal(status, 200);
  }
  isOver = true;
  await loads;
  assert.ok(moves >= 6, `${moves} sessions ended`);
  assert.deepEqual(
    old.filter((pid) => sluice.workerPids().includes(pid)),
    [],
  );
});

test('nghttp and h2load get every answer, also over reloads', async (t) => {
  const sluice = await startExample(t, {
    workers: 2,
    accept: 'round_robin',
    log: { access: { enabled: false } },
  });
  const nghttp = await runToEnd('nghttp', ['-v', '-n', `${sluice.proxyUrl}/a`, `${sluice.proxyUrl}/b`]);
  assert.equal(nghttp.code, 0);
  assert.equal(nghttp.stdout.filter((line) => line.includes(':status: 200')).length, 2);
  const load = runToEnd('h2load', ['-D4', '-c4', '-m16', `${sluice.proxyUrl}/load`]);
  for (let i = 0; i < 3; i++) {
    const { status } = await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
    assert.equal(status, 200);
  }
  const { code, stdout } = await load;
  assert.equal(code, 0);
  const [, total, succeeded] = /requests: (\d+) total.*, (\d+) succeeded/.exec(stdout.join('\n')) ?? [];
  assert.ok(Number(succeeded) > 100, stdout.join('\n'));
  assert.equal(succeeded, total);
});
