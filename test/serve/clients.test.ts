/** Clients of the embedded database: what the first requests after a start, and after a write of the admin API, are told. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ask, askJson, poolOf, startNamed } from '../cluster/support.ts';
import { freePort } from '../support/free-port.ts';
import { spawnSluice, startSluice } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

const POLICY = { policies: { default: { capacity: 100, refillPerSecond: 0.001 } } };

/** Two workers that take a caller's address from X-Forwarded-For, with a limit for each. */
async function startLimited(t: TestContext, options: { folder?: string; data?: 'made' } = {}) {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const config = {
    workers: 2,
    trustedProxies: ['127.0.0.0/8'],
    pools: poolOf([backend]),
    rateLimit: POLICY,
  };
  const sluice = await startSluice({ ...options, config });
  t.after(() => sluice.stop());
  return sluice;
}

test('from the first connection of a start on, no worker admits a client that is blocked', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const port = await freePort();
  const config = { workers: 2, listen: [{ address: `127.0.0.1:${port}` }], pools: poolOf([backend]) };
  const first = await startSluice({ folder, config, data: 'made' });
  t.after(() => first.stop());
  const path = '/api/v1/clients/127.0.0.1';
  assert.equal(
    (await askJson(`${first.adminUrl}${path}`, { method: 'PUT', body: { mode: 'blocked' } })).status,
    201,
  );
  const { proxyUrl } = first;
  await first.stop();
  const again = spawnSluice(['serve', '--config', first.configPath], { folder });
  t.after(() => again.kill());
  const statuses: number[] = [];
  await waitFor(
    '20 answers, and one behind the ready line',
    async () => {
      const isReady = again.stdout.some((line) => line.includes('"msg":"ready"'));
      const { status } = await ask(proxyUrl);
      statuses.push(status);
      return isReady && statuses.length >= 20;
    },
    { everyMs: 1, timeoutMs: 30_000 },
  );
  assert.deepEqual([...new Set(statuses)], [403]);
});

test('the request behind a write of a client, in a new database too, is judged by what was written, on every worker', async (t) => {
  const sluice = await startLimited(t);
  const write = async (method: string, name: string, body?: object) => {
    const { status } = await askJson(`${sluice.adminUrl}/api/v1/clients/${name}`, { method, body });
    return status;
  };
  /** One request on each of several connections, which both workers accept. */
  const policies = async (name: string) => {
    const headers = { 'x-forwarded-for': name };
    const answers = await Promise.all(Array.from({ length: 4 }, () => ask(sluice.proxyUrl, { headers })));
    return [...new Set(answers.map(({ status, headers: got }) => `${status} ${got['ratelimit-policy']}`))];
  };
  const everybodys = ['200 "default";q=100;w=100000'];
  for (let i = 0; i < 5; i++) {
    const name = `203.0.113.${i}`;
    assert.deepEqual(await policies(name), everybodys);
    const wanted = { capacity: 5, refillPerSecond: 0.001 };
    // A busy machine may need longer for the new database than a call may take, or make the client after an answer of 503.
    await waitFor('the client', async () => [200, 201].includes(await write('PUT', name, wanted)), {
      timeoutMs: 150_000,
    });
    const own = await policies(name);
    assert.ok(
      own.every((text) => text.endsWith(' "default";q=5;w=5000')),
      `${name}: ${own.join()}`,
    );
    assert.equal(await write('PATCH', name, { mode: 'blocked' }), 200);
    assert.deepEqual(await policies(name), ['403 undefined']);
    assert.equal(await write('DELETE', name), 204);
    const everybody = await policies(name);
    assert.ok(
      everybody.every((text) => text.endsWith(' "default";q=100;w=100000')),
      everybody.join(),
    );
  }
});

test('when a client was last seen is known of all workers together, by its address and by its key; a change keeps it', async (t) => {
  const sluice = await startLimited(t, { folder: tempFolder(t), data: 'made' });
  const base = `${sluice.adminUrl}/api/v1/clients`;
  const addresses = Array.from({ length: 8 }, (_, i) => `203.0.113.${i}`);
  for (const name of [...addresses, 'keyed', 'silent'])
    assert.equal((await askJson(`${base}/${name}`, { method: 'PUT', body: {} })).status, 201);
  const { body: issued } = await askJson(`${base}/keyed/keys`, { method: 'POST' });
  const beganMs = Date.now();
  const headersOf = [
    ...addresses.map((address) => ({ 'x-forwarded-for': address })),
    { 'x-api-key': String(issued.key) },
  ];
  // On a connection each, which both workers accept.
  const answers = await Promise.all(headersOf.map((headers) => ask(sluice.proxyUrl, { headers })));
  assert.ok(answers.every(({ status }) => status === 200));
  const seenBy = async (): Promise<Map<string, string | null>> => {
    const { body } = await askJson(`${base}?limit=100`);
    const items = body.items as { clientId: string; lastSeenAt: string | null }[];
    return new Map(items.map(({ clientId, lastSeenAt }) => [clientId, lastSeenAt]));
  };
  const seen = await seenBy();
  assert.equal(seen.size, 10);
  assert.equal(seen.get('silent'), null);
  for (const name of [...addresses, 'keyed']) {
    const at = seen.get(name) ?? '';
    assert.match(at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, name);
    // A busy worker renews its second late.
    const ms = Date.parse(at);
    assert.ok(ms > beganMs - 10_000 && ms <= Date.now(), `${name}: ${at}`);
  }
  assert.equal((await askJson(`${base}/keyed`, { method: 'PATCH', body: { mode: 'blocked' } })).status, 200);
  const { body: one } = await askJson(`${base}/keyed`);
  assert.deepEqual([one.mode, one.lastSeenAt], ['blocked', seen.get('keyed')]);
});
