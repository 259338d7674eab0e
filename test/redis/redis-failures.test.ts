import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { RedisServers } from '../../src/contract/settings.ts';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { RedisConnection } from '../../src/infra/redis/redis.ts';
import { RedisFailures } from '../../src/infra/redis/redis-failures.ts';
import { freePort } from '../support/free-port.ts';
import { startRefusingRedis } from '../support/refusing-redis.ts';
import { waitFor } from '../support/wait.ts';

/** The lines of the log, and what was told beside it. */
function connect(t: TestContext, servers: RedisServers) {
  const lines: string[] = [];
  const reasons: string[] = [];
  const connection = new RedisConnection({
    servers,
    connectionName: 'sluice-test',
    scripts: {},
    logger: makeLogger({ level: 'info', format: 'json' }, { out: { write: (line) => lines.push(line) } }),
    onState: (_isUp, reason) => reasons.push(...(reason === null ? [] : [reason])),
  });
  t.after(() => connection.close());
  let attempts = 0;
  connection.client.on('error', () => attempts++);
  const attempted = (count: number) => waitFor(`${count} attempts`, () => attempts >= count);
  return { connection, lines, reasons, attempted };
}

const ECHO = 'ERR unknown command `AUTH`, with args beginning with: `us er`, `hunter2/secret`, ';

test('neither user nor password are told where a peer repeats them, as one does that does not know AUTH', async (t) => {
  const peer = await startRefusingRedis(ECHO);
  t.after(() => peer.close());
  const place = `us%20er:hunter2%2Fsecret@127.0.0.1:${peer.port}`;
  for (const servers of [
    { kind: 'single', url: `redis://${place}` },
    { kind: 'cluster', urls: [`redis://${place}`] },
    { kind: 'sentinel', master: 'm', urls: [`redis://${place}`] },
  ] satisfies RedisServers[]) {
    peer.answer = ECHO;
    const { connection, lines, reasons, attempted } = connect(t, servers);
    await attempted(1);
    await waitFor('the reason', () => reasons.length > 0);
    assert.equal(connection.failure, 'ERR unknown command `AUTH`', servers.kind);
    peer.answer = 'WRONGPASS of us er is hunter2/secret not hunter2%2Fsecret';
    await waitFor('the other reason', () => reasons.length > 1);
    assert.deepEqual(reasons, ['ERR unknown command `AUTH`', 'WRONGPASS of *** is *** not ***']);
    await connection.close();
    assert.doesNotMatch([...lines, connection.failure].join(''), /us er|hunter2/);
    assert.match(lines.join(''), /unknown command.*WRONGPASS of/s);
  }
});

test('a reason of Redis is one printable line of 200 characters at most', async (t) => {
  const peer = await startRefusingRedis(`ERR \x1b[31m${'x'.repeat(3e6)}`);
  t.after(() => peer.close());
  const { lines, reasons } = connect(t, { kind: 'single', url: `redis://:word@127.0.0.1:${peer.port}` });
  await waitFor('the reason', () => reasons.length > 0);
  assert.match(reasons[0] ?? '', /^ERR \\u\{1b\}\[31mx+…$/);
  assert.equal(reasons[0]?.length, 200);
  assert.ok(lines.join('').length < 2_000);
});

test('a Sentinel or Cluster that is away is told once, with the reason, and a new reason is told then', async (t) => {
  for (const kind of ['sentinel', 'cluster'] as const) {
    const port = await freePort();
    const urls = [`redis://127.0.0.1:${port}`];
    const servers = kind === 'sentinel' ? { kind, master: 'm', urls } : { kind, urls };
    const { connection, reasons, attempted } = connect(t, servers);
    await attempted(4);
    const refused = `connect ECONNREFUSED 127.0.0.1:${port}`;
    assert.deepEqual(reasons, [refused], kind);
    assert.equal(connection.failure, refused);
    await connection.close();
  }
});

test('a reason is the same at each attempt', () => {
  const failures = new RedisFailures({ kind: 'single', url: 'redis://127.0.0.1' });
  const told = (text: string) => failures.tellable(new Error(text)).message;
  const again = 'All sentinels are unreachable. Retrying from scratch after 137.43ms.';
  assert.equal(told(`${again} Last error: Command timed out`), 'Command timed out');
  assert.equal(told(again), 'All sentinels are unreachable.');
  failures.noteNode(new Error('failed to connect to sentinel 127.0.0.1:1 because Connection is closed.'));
  assert.equal(told('Connection is closed.'), 'Connection is closed.');
  failures.noteNode(
    new Error('connected to sentinel 127.0.0.1:1 successfully, but got an invalid reply: null'),
  );
  assert.match(told(again), /invalid reply: null$/);
});
