/** The files of the dashboard, as the admin port sends them. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { brotliCompressSync, brotliDecompressSync, gunzipSync, gzipSync } from 'node:zlib';
import fastify from 'fastify';
import { serializerCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { systemClock } from '../../../src/contract/clock.ts';
import { registerDashboard } from '../../../src/primary/admin/dashboard.ts';
import { sendProblem, toProblem } from '../../../src/primary/admin/problems.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { startAdmin } from './harness.ts';

const FILES = {
  'index.html': '<!doctype html>',
  'assets/main-a1B_2.js': 'run()',
  'assets/main-x.css': 'a{}',
};

/** The routes alone, with files of the test. */
function makeApp(t: TestContext, files: Record<string, string>, folder = tempFolder(t)) {
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, text);
    writeFileSync(`${path}.br`, brotliCompressSync(text));
    writeFileSync(`${path}.gz`, gzipSync(text));
  }
  const app = fastify().withTypeProvider<ZodTypeProvider>();
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler((error, _request, reply) => sendProblem(reply, toProblem(error)));
  registerDashboard(app, false, folder);
  t.after(() => app.close());
  return app;
}

test('the page and its files come with their types, and no code of anybody else may run in it', async (t) => {
  const app = makeApp(t, FILES);
  const page = await app.inject('/');
  assert.deepEqual([page.statusCode, page.body], [200, '<!doctype html>']);
  assert.equal(page.headers['content-type'], 'text/html; charset=utf-8');
  assert.equal(
    page.headers['content-security-policy'],
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  );
  const script = await app.inject('/assets/main-a1B_2.js');
  assert.deepEqual(
    [script.body, script.headers['content-type']],
    ['run()', 'text/javascript; charset=utf-8'],
  );
  assert.equal((await app.inject('/assets/main-x.css')).headers['content-type'], 'text/css; charset=utf-8');
});

test('files are kept for ever, the page is asked for each time, and unchanged it is 304', async (t) => {
  const app = makeApp(t, FILES);
  const { headers } = await app.inject('/');
  assert.equal(headers['cache-control'], 'no-cache');
  const again = await app.inject({ url: '/', headers: { 'if-none-match': String(headers.etag) } });
  assert.deepEqual([again.statusCode, again.body], [304, '']);
  const script = await app.inject('/assets/main-a1B_2.js');
  assert.equal(script.headers['cache-control'], 'public, max-age=31536000, immutable');
});

test('files are read once a second at most, also those that are not there', async (t) => {
  let nowMs = 1_000;
  t.mock.method(systemClock, 'monotonicMs', () => nowMs);
  const folder = tempFolder(t);
  const app = makeApp(t, {}, folder);
  const get = async () => (await app.inject('/')).body;
  assert.match(await get(), /not built/);
  writeFileSync(join(folder, 'index.html'), 'old');
  assert.match(await get(), /not built/);
  nowMs += 1_000;
  assert.equal(await get(), 'old');
  writeFileSync(join(folder, 'index.html'), 'new');
  assert.equal(await get(), 'old');
  nowMs += 1_000;
  assert.equal(await get(), 'new');
});

test('what the browser can unpack is sent compressed', async (t) => {
  const app = makeApp(t, FILES);
  const get = async (coding: string) => {
    const { headers, rawPayload } = await app.inject({ url: '/', headers: { 'accept-encoding': coding } });
    return { coding: headers['content-encoding'], vary: headers.vary, body: rawPayload };
  };
  const best = await get('gzip, deflate, br');
  assert.deepEqual([best.coding, brotliDecompressSync(best.body).toString()], ['br', '<!doctype html>']);
  assert.equal(best.vary, 'accept-encoding');
  const older = await get('gzip, br;q=0');
  assert.deepEqual([older.coding, gunzipSync(older.body).toString()], ['gzip', '<!doctype html>']);
  assert.equal((await get('identity')).coding, undefined);
});

test('a dashboard that is not built says how to build it', async (t) => {
  const app = makeApp(t, {});
  const { statusCode, body } = await app.inject('/');
  assert.equal(statusCode, 404);
  assert.match(body, /the dashboard is not built: run `make build`/);
});

test('nothing but the files is reached', async (t) => {
  const app = makeApp(t, { ...FILES, 'secret.js': 'secret' });
  for (const path of [
    '/assets/..%2fsecret.js',
    '/assets/%2e%2e/secret.js',
    '/assets/none-1.js',
    '/assets/main-x.css.br',
  ])
    assert.equal((await app.inject(path)).statusCode, 404, path);
});

test('the files need no token, but a known Host', async (t) => {
  const { call } = await startAdmin(t, { settings: { token: 'a-token' } });
  const headers = { host: 'attacker.example' };
  for (const path of ['/', '/assets/none-1.js']) {
    assert.notEqual((await call({ path })).status, 401, path);
    assert.equal((await call({ path, headers })).status, 403, path);
  }
  assert.equal((await call({ path: '/assets/' })).status, 401);
  assert.equal((await call({ path: '/assets/../api/v1/clients' })).status, 401);
});
