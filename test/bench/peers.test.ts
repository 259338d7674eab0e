/** Every installed peer of the bench can do what the scenarios need, including all variants of Sluice. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { nodeHttp, nodeHttp2 } from '../../bench/peers/node-peers.ts';
import { REFUSED_PATH } from '../../bench/peers/peer.ts';
import { PEERS } from '../../bench/peers/registry.ts';
import { sluice } from '../../bench/peers/sluice.ts';
import { listen } from '../../test_backs/server.ts';
import { startRedis } from '../support/redis.ts';
import { makeTempFolder, removeTempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

const ONE_MIB = 2 ** 20;
const CHECKOUT = fileURLToPath(new URL('../../', import.meta.url));
/** The bare HTTP/2 server has no HTTP/1.1. */
const INSTALLED = PEERS.filter((peer) => peer.missing() === '' && peer !== nodeHttp2);

/** A backend with the paths of the scenarios that records request headers. */
async function startRecorder(t: TestContext) {
  const seen: IncomingMessage['headers'][] = [];
  const sizes: Record<string, number> = { '/10k': 10 * 1024, '/1m': ONE_MIB };
  const server = createServer((request, response) => {
    seen.push(request.headers);
    let bodyBytes = 0;
    request.on('data', (chunk: Buffer) => {
      bodyBytes += chunk.length;
    });
    request.on('end', () => {
      const size = sizes[request.url ?? ''];
      const text = size === undefined ? `${bodyBytes} bytes here` : 'x'.repeat(size);
      response.setHeader('Content-Length', text.length);
      response.end(text);
    });
  });
  const backend = await listen(server);
  t.after(() => backend.close());
  return { port: backend.port, seen };
}

/** The 429 of each peer that refuses, collected by the tests below. */
const refusals = new Map<string, Response>();

for (const peer of INSTALLED) {
  test(`${peer.name} serves every path, with the forwarding fields, the log and the limit of the scenarios`, async (t) => {
    const { port, seen } = await startRecorder(t);
    const redis = peer.can.limiter ? await startRedis() : null;
    t.after(() => redis?.stop());
    const folder = makeTempFolder('sluice-bench-');
    const server = await peer.start(folder, {
      backendPorts: [port],
      workers: 1,
      accessLog: peer.can.accessLog,
      redisPort: redis?.port ?? null,
      ...{ tls: false, grpc: false },
    });
    t.after(async () => {
      await server.stop();
      removeTempFolder(folder);
    });
    assert.match(peer.version(), /\d/);
    // nginx serves as another user, who may have no access to the checkout.
    if (peer.name.startsWith('nginx')) assertWithoutCheckout(folder);
    const url = `http://127.0.0.1:${server.port}`;
    const answer = await fetch(`${url}/tiny`);
    assert.match(await answer.text(), /bytes here$/);
    if (peer === sluice || peer === nodeHttp) {
      refusals.set(peer.name, await refusalOf(url + REFUSED_PATH));
    }
    if (peer === nodeHttp) return;
    assert.equal((await textOf(fetch(`${url}/10k`))).length, 10 * 1024);
    assert.equal((await textOf(fetch(`${url}/1m`))).length, ONE_MIB);
    const body = 'x'.repeat(ONE_MIB);
    assert.equal(await textOf(fetch(`${url}/upload`, { method: 'POST', body })), `${ONE_MIB} bytes here`);
    assertForwarded(seen.at(-1) ?? {}, answer);
    if (peer.can.accessLog) await assertLogged(peer.name, folder);
    if (redis === null) return;
    assert.match(answer.headers.get('ratelimit') ?? '', /r=999999\d{3};/);
    await fetch(`${url}/tiny`, { headers: { 'X-Forwarded-For': '10.1.2.3' } });
    assert.equal(await bucketCount(redis.url), 2, 'a bucket for each address');
  });
}

function assertWithoutCheckout(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (!/\.(conf|lua)$/.test(entry.name)) continue;
    assert.ok(!readFileSync(join(folder, entry.name), 'utf8').includes(CHECKOUT), entry.name);
  }
}

async function bucketCount(url: string): Promise<number> {
  const client = new Redis(url);
  try {
    const keys = await client.keys('*');
    return keys.filter((key) => /^bench|:default$/.test(key)).length;
  } finally {
    client.disconnect();
  }
}

test('the bare server’s 429 equals that of Sluice, and Sluice keeps refusing', async () => {
  const [ours, bare] = ['sluice', 'node-http'].map((name) => refusals.get(name)!);
  const namesOf = ({ headers }: Response) =>
    [...headers.keys()].filter((name) => name !== 'connection').toSorted();
  assert.deepEqual(namesOf(bare!), namesOf(ours!));
  assert.equal((await bare!.text()).length, (await ours!.text()).length);
});

/** The first 429; before it, the limit admits one request a second. */
async function refusalOf(url: string): Promise<Response> {
  return waitFor(`${url} to refuse`, async () => {
    const response = await fetch(url);
    return response.status === 429 ? response : null;
  });
}

function assertForwarded(headers: IncomingMessage['headers'], answer: Response): void {
  const text = (name: string) => String(headers[name]);
  assert.match(text('x-forwarded-for'), /127\.0\.0\.1$/);
  assert.match(text('x-real-ip'), /127\.0\.0\.1$/);
  assert.equal(text('x-forwarded-proto'), 'http');
  assert.match(text('x-forwarded-host'), /^127\.0\.0\.1/);
  assert.match(text('via'), /1\.1 /);
  assert.match(text('x-request-id'), /^[\w-]{8,}$/);
  assert.match(answer.headers.get('via') ?? '', /1\.1 /);
  assert.match(answer.headers.get('x-request-id') ?? '', /^[\w-]{8,}$/);
}

async function assertLogged(name: string, folder: string): Promise<void> {
  const files = () => readdirSync(folder).filter((file) => file === 'access.log' || file.endsWith('.stdout'));
  const line = await waitFor(`${name} to log the upload`, () =>
    files()
      .flatMap((file) => linesOf(join(folder, file)))
      .find((text) => text.startsWith('{') && text.includes('/upload')),
  );
  assert.doesNotThrow(() => JSON.parse(line), line);
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch {
    return []; // not written yet
  }
}

async function textOf(answer: Promise<Response>): Promise<string> {
  const response = await answer;
  assert.equal(response.status, 200, response.url);
  return response.text();
}
