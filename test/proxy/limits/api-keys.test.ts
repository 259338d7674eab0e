import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf, makeApiKey, makeSigningSecret } from '../../../src/clients/api-key.ts';
import { ClientDirectory } from '../../../src/clients/client-directory.ts';
import { RecordPacker } from '../../../src/clients/packed-record.ts';
import type { ClientRecord } from '../../../src/contract/clients.ts';
import { systemClock } from '../../../src/contract/clock.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { policy, route, startProxy } from '../support.ts';

const SECRET = makeSigningSecret('test');
const CLIENTS: Record<string, ClientRecord> = {
  acme: {
    clientId: 'acme',
    mode: 'limit',
    limits: { default: { capacity: 3, refillPerSecond: 0.001 } },
    versionUs: 2,
  },
  banned: { clientId: 'banned', mode: 'blocked', limits: {}, versionUs: 2 },
};

function makeKeys() {
  const packer = new RecordPacker();
  const directory = new ClientDirectory(systemClock);
  const tell = (...records: Buffer[]) =>
    directory.apply({
      type: 'clients',
      part: 1,
      begins: false,
      complete: true,
      records: Buffer.concat(records).toString('base64'),
    });
  const issue = (clientId: string) => {
    const { key } = makeApiKey();
    return { key, clientId, secretId: SECRET.id, digest: digestOf(SECRET.key, key) };
  };
  const keys = { acme: issue('acme'), second: issue('acme'), banned: issue('banned') };
  for (const client of Object.values(CLIENTS)) tell(packer.client(client));
  for (const stored of Object.values(keys)) tell(packer.apiKey(stored));
  directory.useSecret('test');
  return { directory, keys, revoke: (digest: Buffer) => tell(packer.apiKeyTombstone(digest, 1)) };
}

test('B33: a key selects the bucket, is forwarded to the backend, and cannot be removed by Connection', async (t) => {
  const { directory, keys, revoke } = makeKeys();
  const backend = await startCapturingBackend(t);
  const limit = policy('default', 2, 0.001);
  const proxy = await startProxy(t, {
    backends: [backend],
    policies: [limit],
    routes: [route('api', {}, { rateLimit: { policies: ['default'], cost: 1 } })],
    apiKeyHeader: 'x-api-key',
    apiKeys: directory,
    trustedProxies: ['127.0.0.1'],
  });
  const client = await proxy.connect();
  const ask = async (lines: string, address = '192.0.2.1') => {
    client.write(`GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${address}\r\n${lines}\r\n`);
    const answer = await client.readResponse();
    const field = /r=(\d+)/.exec(answer.header('ratelimit') ?? '')?.[1];
    return { status: answer.status, left: field === undefined ? null : Number(field) };
  };
  const { key } = keys.acme;
  assert.deepEqual(await ask(`X-API-Key: ${key}\r\n`), { status: 200, left: 2 });
  assert.deepEqual(await ask(`x-api-key: ${keys.second.key}\r\nConnection: x-api-key\r\n`, '192.0.2.9'), {
    status: 200,
    left: 1,
  });
  const sent = backend.requests.map((request) => request.all('x-api-key'));
  assert.deepEqual(sent, [[key], [keys.second.key]]);
  assert.equal((await ask(`X-API-KEY: ${keys.banned.key}\r\n`)).status, 403);
  const wrong = `${key.slice(0, -1)}${key.endsWith('A') ? 'B' : 'A'}`;
  assert.deepEqual(await ask(`x-api-key: ${wrong}\r\n`, '192.0.2.2'), { status: 200, left: 1 });
  assert.deepEqual(await ask('', '192.0.2.2'), { status: 200, left: 0 }, 'the bucket of the address');
  const both = `x-api-key: ${key}\r\nx-api-key: ${key}\r\n`;
  assert.deepEqual(await ask(both, '192.0.2.3'), { status: 200, left: 1 }, 'two keys identify nobody');
  revoke(keys.acme.digest);
  assert.deepEqual(await ask(`x-api-key: ${key}\r\n`, '192.0.2.4'), { status: 200, left: 1 });
  assert.deepEqual(proxy.lines.map(({ clientId, clientIp }) => [clientId, clientIp]).slice(0, 4), [
    ['acme', '192.0.2.1'],
    ['acme', '192.0.2.9'],
    ['banned', '192.0.2.1'],
    [null, '192.0.2.2'],
  ]);
  assert.ok(!JSON.stringify(proxy.lines).includes('slk_'), 'no key in the access log');
  const count = (result: string) => proxy.metric('sluice_api_key_requests_total', result);
  assert.deepEqual(['valid', 'unknown', 'malformed'].map(count), [3, 2, 1]);
});

test('a key in a trailer identifies nobody and is not forwarded, other trailers are', async (t) => {
  const { directory, keys } = makeKeys();
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], apiKeyHeader: 'x-api-key', apiKeys: directory });
  const client = await proxy.connect();
  const trailers = `X-Before: 1\r\nX-API-Key: ${keys.acme.key}\r\nX-Sum: 2\r\n`;
  client.write(
    `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n${trailers}\r\n`,
  );
  assert.equal((await client.readResponse()).status, 200);
  assert.equal(backend.requests[0]?.trailers, 'X-Before: 1\r\nX-Sum: 2');
});
