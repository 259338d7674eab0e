/** API keys and resets of buckets over two machines that share Redis and Postgres. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startRedis } from '../support/redis.ts';
import { type SluiceConfig, type SluiceProcess, spawnSluice, startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { ask, askJson, metricOf, poolOf, startMigrated, startNamed } from './support.ts';

const WITHIN_MS = 1_000;
const SECRET = 'the same on both';
const OWN = '"default";q=1000;w=10';
const EVERYBODYS = '"default";q=50;w=50000';

/** Two machines of two workers each. */
async function startMachines(t: TestContext) {
  const { url } = await startMigrated(t);
  const redis = await startRedis();
  t.after(() => redis.stop());
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const configOf = (apiKeys: string): SluiceConfig => ({
    workers: 2,
    pools: poolOf([backend]),
    redis: { url: redis.url, timeout: '1s' },
    database: { url },
    secrets: { apiKeys },
    rateLimit: { instances: 2, policies: { default: { capacity: 50, refillPerSecond: 0.001 } } },
  });
  const start = async () => {
    const machine = await startSluice({ config: configOf(SECRET) });
    t.after(() => machine.stop());
    return machine;
  };
  return { configOf, one: await start(), other: await start() };
}

async function policyWith(machine: SluiceProcess, key: string): Promise<string> {
  const answer = await ask(machine.proxyUrl, { headers: { 'x-api-key': key } });
  return String(answer.headers['ratelimit-policy']);
}

/** Sends requests to both machines until several connections in a row answer with `policy`, so that every worker has. Returns the ms. */
async function untilAll(machines: SluiceProcess[], key: string, policy: string): Promise<number> {
  const startedMs = performance.now();
  await waitFor(
    `both machines to use ${policy}`,
    async () => {
      const found = await Promise.all(
        machines.flatMap((machine) => Array.from({ length: 6 }, () => policyWith(machine, key))),
      );
      return found.every((each) => each === policy);
    },
    { timeoutMs: WITHIN_MS, everyMs: 20 },
  );
  return performance.now() - startedMs;
}

/** Runs `sluice clients` at the admin port of a machine and returns its output. */
async function clientsCommand(t: TestContext, machine: SluiceProcess, ...words: string[]): Promise<string> {
  const child = spawnSluice(['clients', ...words, '--admin', machine.adminUrl]);
  t.after(() => child.kill());
  assert.equal((await child.exited).code, 0, child.describe());
  return child.stdout.join('\n');
}

/** Resets the buckets of a client that both machines refuse, and counts the requests admitted then. */
async function proveReset(t: TestContext, one: SluiceProcess, machines: SluiceProcess[]): Promise<number> {
  const clients = `${one.adminUrl}/api/v1/clients`;
  await clientsCommand(t, one, 'set', 'tiny', '--capacity', '5', '--refill-per-second', '0.001');
  const headers = { 'x-api-key': await clientsCommand(t, one, 'issue-key', 'tiny') };
  await untilAll(machines, headers['x-api-key'], '"default";q=5;w=5000');
  const askAll = () => {
    const asked = machines.flatMap((machine) =>
      Array.from({ length: 6 }, () => ask(machine.proxyUrl, { headers })),
    );
    return Promise.all(asked).then((answers) => answers.map(({ status }) => status));
  };
  assert.deepEqual(new Set(await askAll()), new Set([429]), 'every worker refuses from its memory');
  const before = (await askJson(`${clients}/tiny/bucket`)).body.items as { level: number }[];
  assert.ok((before[0]?.level ?? 9) < 1);
  const startedMs = performance.now();
  assert.equal((await ask(`${clients}/tiny/bucket/reset`, { method: 'POST' })).status, 204);
  let admitted = 0;
  for (const machine of machines) {
    const admits = async () => (await ask(machine.proxyUrl, { headers })).status === 200;
    await waitFor('a machine to admit again', admits, { timeoutMs: WITHIN_MS, everyMs: 20 });
    admitted++;
  }
  const tookMs = performance.now() - startedMs;
  admitted += (await askAll()).filter((status) => status === 200).length;
  assert.equal(admitted, 5);
  return tookMs;
}

test('B33: a key is valid on both machines within a second of its issue, and invalid on both within a second of its revocation or under another secret; a reset acts on both', async (t) => {
  const { one, other, configOf } = await startMachines(t);
  const machines = [one, other];
  const client = { clientId: 'acme', capacity: 1000, refillPerSecond: 100 };
  const clients = `${one.adminUrl}/api/v1/clients`;
  assert.equal((await askJson(clients, { method: 'POST', body: client })).status, 201);
  const { status, body } = await askJson(`${clients}/acme/keys`, { method: 'POST', body: { name: 'ci' } });
  assert.equal(status, 201);
  const key = String(body.key);
  const issuedMs = await untilAll(machines, key, OWN);
  const line = await waitFor(
    'an access line',
    () => other.jsonLines((entry) => entry.clientId === 'acme')[0],
  );
  assert.equal(line?.clientIp, '127.0.0.1');

  const resetMs = await proveReset(t, one, machines);
  for (const [secret, policy] of [
    ['another one', EVERYBODYS],
    [SECRET, OWN],
  ] as const) {
    one.configure(configOf(secret));
    assert.equal((await askJson(`${one.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
    assert.deepEqual([await policyWith(one, key), await policyWith(other, key)], [policy, OWN], secret);
  }
  assert.ok(one.stdout.some((line) => line.includes('issued under another secret')));

  const revoked = await ask(`${other.adminUrl}/api/v1/clients/acme/keys/${body.keyId}`, { method: 'DELETE' });
  assert.equal(revoked.status, 204);
  const revokedMs = await untilAll(machines, key, EVERYBODYS);
  t.diagnostic(
    `issued ${issuedMs | 0} ms, revoked ${revokedMs | 0} ms, reset ${resetMs | 0} ms after the call`,
  );
  for (const machine of machines) {
    for (const result of ['valid', 'unknown']) {
      const counted = () => metricOf(machine.adminUrl, 'sluice_api_key_requests_total', { result });
      await waitFor(`${result} keys to be counted`, async () => ((await counted()) ?? 0) > 0);
    }
    const said = [...machine.stdout, ...machine.stderr].join('\n');
    assert.ok(!said.includes(key) && !said.includes(SECRET), 'a secret in the logs');
  }
});

test('a key is known to every worker when the call that issued it returns, 200 times in a row', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const policies = { default: { capacity: 50, refillPerSecond: 0.001 } };
  const config = { workers: 2, pools: poolOf([backend]), rateLimit: { policies } };
  const sluice = await startSluice({ config, data: 'made' });
  t.after(() => sluice.stop());
  const acme = `${sluice.adminUrl}/api/v1/clients/acme`;
  const body = { capacity: 1000, refillPerSecond: 100 };
  await waitFor('the client', async () => (await askJson(acme, { method: 'PUT', body })).status < 300);
  const failures: string[] = [];
  for (let n = 0; n < 200; n++) {
    const issued = await askJson(`${acme}/keys`, { method: 'POST' });
    assert.equal(issued.status, 201, `the key no ${n}`);
    const key = String(issued.body.key);
    const found = await Promise.all([1, 2, 3, 4].map(() => policyWith(sluice, key)));
    failures.push(...found.filter((policy) => policy !== OWN).map((policy) => `key ${n}: ${policy}`));
  }
  assert.deepEqual(failures, []);
});
