import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import { type TestContext, test } from 'node:test';
import pg from 'pg';
import { clientAddress } from '../support/client-address.ts';
import { freePort } from '../support/free-port.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { poolOf, startMigrated, startNamed } from './support.ts';

const CLIENTS = 50_000;
/** So many that every worker gets some: the kernel spreads them. */
const CONNECTIONS = 12;
/** Every seventh client is changed. */
const CHANGED_EVERY = 7;

/** A database with the clients 0…CLIENTS - 1, all blocked. Triggers are disabled for speed. */
async function makeFullDatabase(t: TestContext): Promise<{ url: string; other: pg.Client }> {
  const { url } = await startMigrated(t);
  const other = new pg.Client({ connectionString: url });
  // At the end of the test the server stops first.
  other.on('error', () => undefined);
  await other.connect();
  t.after(() => other.end());
  await other.query(`begin; set local session_replication_role = replica;
    insert into clients (client_id, mode, version_us, changed_xid)
      select '10.' || (n >> 16) || '.' || (n >> 8) % 256 || '.' || n % 256, 'blocked', sluice_now_us(), pg_current_xact_id()
      from generate_series(0, ${CLIENTS - 1}) n;
    commit; analyze clients`);
  return { url, other };
}

/** Unblocks clients, a few at a time, until stop(), which returns how many. */
function keepChanging(other: pg.Client): { stop(): Promise<number> } {
  let going = true;
  let next = 0;
  const done = (async () => {
    while (going && next < CLIENTS) {
      const ids = Array.from({ length: 20 }, (_, i) => clientAddress(next + i * CHANGED_EVERY));
      await other.query("update clients set mode = 'unlimited' where client_id = any($1)", [ids]);
      next += ids.length * CHANGED_EVERY;
    }
    return Math.min(next, CLIENTS);
  })();
  return {
    stop: () => {
      going = false;
      return done;
    },
  };
}

/** The status of one request with this address in X-Forwarded-For; null: the connection broke. */
function statusAs(
  { proxyUrl }: SluiceProcess,
  address: string,
  agent: Agent | false,
): Promise<number | null> {
  return new Promise((resolve) => {
    const sent = request(proxyUrl, { agent, headers: { 'x-forwarded-for': address }, timeout: 10_000 });
    sent.on('response', (answer) => answer.resume().on('end', () => resolve(answer.statusCode ?? null)));
    sent.on('timeout', () => sent.destroy()).on('error', () => resolve(null));
    sent.end();
  });
}

/** Whether every worker answers an address with this status. */
async function allSay(sluice: SluiceProcess, address: string, status: number): Promise<boolean> {
  const agents = Array.from({ length: CONNECTIONS }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
  const statuses = await Promise.all(agents.map((agent) => statusAs(sluice, address, agent)));
  for (const agent of agents) agent.destroy();
  return statuses.every((each) => each === status);
}

test('with 50,000 clients that change while workers load them and die, every worker gets all clients, and none serves without them', async (t) => {
  const { url, other } = await makeFullDatabase(t);
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const changing = keepChanging(other);
  // A fixed port, because nothing keeps a random one while no worker lives.
  const port = await freePort();
  const sluice = await startSluice({
    config: {
      listen: [{ address: `127.0.0.1:${port}` }],
      workers: 2,
      trustedProxies: ['127.0.0.0/8'],
      pools: poolOf([backend]),
      database: { url },
      rateLimit: { enabled: true, policies: { default: { capacity: 1_000_000, refillPerSecond: 1 } } },
      log: { access: { enabled: false } },
    },
  });
  t.after(() => sluice.stop());
  const lastBlocked = clientAddress(CLIENTS - 1);
  assert.notEqual((CLIENTS - 1) % CHANGED_EVERY, 0);
  await waitFor('both workers to have all clients', () => allSay(sluice, lastBlocked, 403));

  // From now on replacements answer, and their first answer shows whether they know the clients.
  for (let round = 0; round < 2; round++) {
    for (const pid of sluice.workerPids()) process.kill(pid, 'SIGKILL');
    const status = await waitFor('an answer', () => statusAs(sluice, lastBlocked, false), { everyMs: 1 });
    assert.equal(status, 403);
  }
  // Kills the replacements before they can have all clients.
  const known = new Set(sluice.workerPids());
  for (const pid of known) process.kill(pid, 'SIGKILL');
  const young = await waitFor('replacements', () => {
    const pids = sluice.workerPids().filter((pid) => !known.has(pid));
    return pids.length === known.size ? pids : null;
  });
  for (const pid of young) process.kill(pid, 'SIGKILL');
  const servingCount = async () => {
    const answer = await fetch(`${sluice.adminUrl}/readyz`);
    return ((await answer.json()) as { workers: { serving: number } }).workers.serving;
  };
  await waitFor('two workers that serve', async () => (await servingCount()) === 2);

  const changed = await changing.stop();
  assert.ok(changed > 1_000);
  const newest = clientAddress(changed - 1 - ((changed - 1) % CHANGED_EVERY));
  await waitFor('the newest change at both', () => allSay(sluice, newest, 200), { timeoutMs: 5_000 });
  for (let n = 0; n < CLIENTS; n += 1_001) {
    const isChanged = n % CHANGED_EVERY === 0 && n < changed;
    assert.ok(await allSay(sluice, clientAddress(n), isChanged ? 200 : 403), `client ${n}`);
  }
});
