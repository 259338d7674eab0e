import assert from 'node:assert/strict';
import { readdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { ask, askJson, poolOf, startNamed } from '../cluster/support.ts';
import { leaveDeadSocket } from '../support/dead-socket.ts';
import { connectRaw } from '../support/raw-http.ts';
import { spawnSluice, startSluice, writeConfig } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

test('the ready line has the real addresses, and every worker accepts by then', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const socketPath = join(folder, 'front.sock');
  // Left by a killed instance.
  await leaveDeadSocket(socketPath);
  const sluice = await startSluice({
    folder,
    config: {
      listen: [{ address: '127.0.0.1:0' }, { address: `unix:${socketPath}` }],
      workers: 3,
      pools: poolOf([backend]),
      log: { format: 'pretty' },
    },
  });
  t.after(() => sluice.stop());
  assert.deepEqual(Object.keys(sluice.ready), ['msg', 'addresses', 'admin', 'workers', 'wire', 'engine']);
  assert.equal(sluice.ready.workers, 3);
  assert.match(sluice.proxyUrl, /^http:\/\/127\.0\.0\.1:[1-9]\d*$/);
  const ready = await waitFor('the embedded database, which ready waits for no longer than 5 s', async () => {
    const { status, body } = await askJson(`${sluice.adminUrl}/readyz`);
    assert.equal(status, 200);
    return (body.degraded as string[]).length === 0 ? body : null;
  });
  assert.deepEqual(ready, { status: 'ready', degraded: [], workers: { serving: 3, wanted: 3 } });
  const overSocket = await connectRaw({ path: socketPath });
  t.after(() => overSocket.close());
  overSocket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await overSocket.readResponse()).body.toString(), 'a');
});

test('the embedded database is made by the first call for clients, and a start in another folder finds it with its keys', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const data = join(folder, 'postgres');
  const rateLimit = { policies: { default: { capacity: 1_000, refillPerSecond: 1_000 } } };
  const config = { pools: poolOf([backend]), workers: 2, database: { embeddedPath: data }, rateLimit };
  const sluice = await startSluice({ folder, config });
  t.after(() => sluice.stop());
  const clients = `${sluice.adminUrl}/api/v1/clients`;
  assert.deepEqual((await askJson(`${sluice.adminUrl}/readyz`)).body.degraded, []);
  assert.equal((await ask(sluice.proxyUrl)).status, 200);
  assert.equal((await askJson(`${sluice.adminUrl}/api/v1/pools`)).status, 200);
  assert.deepEqual(readdirSync(folder), ['sluice.yaml']);
  await waitFor(
    'the first client',
    async () => {
      const { status, body } = await askJson(`${clients}/acme`, { method: 'PUT', body: { mode: 'blocked' } });
      // 200: on a busy machine an earlier call was answered too soon, and its write came after the answer.
      assert.ok([200, 201].includes(status), `${status} ${JSON.stringify(body)}`);
      return true;
    },
    { timeoutMs: 150_000 },
  );
  // On a busy machine the file of health has been written by now.
  const files = readdirSync(data).filter((name) => !name.startsWith('health.json'));
  assert.deepEqual(files.sort(), ['data', 'lock', 'lock-holder', 'socket']);
  // Expected errors are logged without a stack.
  assert.ok(!sluice.stdout.some((line) => line.includes(' at ')), sluice.stdout.join('\n'));
  const { status, body } = await askJson(`${clients}/acme/keys`, { method: 'POST' });
  assert.equal(status, 201);
  assert.ok(readdirSync(data).includes('api-keys.secret'), 'the secret lies beside the keys');
  const headers = { 'x-api-key': String(body.key) };
  const statuses = async (proxyUrl: string) => [
    (await ask(proxyUrl)).status,
    (await ask(proxyUrl, { headers })).status,
  ];
  for (let i = 0; i < 4; i++) assert.deepEqual(await statuses(sluice.proxyUrl), [200, 403]);
  await sluice.stop();
  const elsewhere = await startSluice({ config });
  t.after(() => elsewhere.stop());
  for (let i = 0; i < 4; i++) assert.deepEqual(await statuses(elsewhere.proxyUrl), [200, 403]);
});

test('if no database can be made in the folder, calls that need it fail and name the setting, and all else works', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  writeFileSync(join(folder, 'data'), 'a file');
  const sluice = await startSluice({ folder, config: { pools: poolOf([backend]) } });
  t.after(() => sluice.stop());
  const clients = `${sluice.adminUrl}/api/v1/clients`;
  const refused = await askJson(clients);
  assert.equal(refused.status, 503);
  assert.match(String(refused.body.detail), /database\.embeddedPath/);
  const said = await waitFor('the reason', () =>
    sluice.stdout.find((line) => line.includes('folder_locked')),
  );
  assert.match(said, /data\/postgres .*: set database\.embeddedPath to one/);
  assert.equal((await ask(sluice.proxyUrl)).status, 200);
  unlinkSync(join(folder, 'data'));
  await waitFor('the next call to make it', async () => (await ask(clients)).status === 200, {
    timeoutMs: 150_000,
  });
});

test('ports in use are named in one line at once; after 10 s the start fails with exit 1 and the same message', async (t) => {
  const busy: string[] = [];
  for (let i = 0; i < 2; i++) {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    t.after(() => holder.close());
    busy.push(`127.0.0.1:${(holder.address() as AddressInfo).port}`);
  }
  const [listen = '', admin = ''] = busy;
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const config = writeConfig(folder, {
    listen: [{ address: '127.0.0.1:0' }, { address: listen }],
    admin: { address: admin },
    pools: poolOf([backend]),
  });
  const child = spawnSluice(['serve', '--config', config], { folder });
  t.after(() => child.kill());
  await waitFor('the start to be given up', () => child.exitStatus !== null);
  assert.equal((await child.exited).code, 1);
  const [first, warning, last, ...rest] = child.stdout.map((line) => JSON.parse(line));
  assert.deepEqual(rest, [], 'the start, one line at once, and one at the end');
  const [saidMs, tookMs] = [warning, last].map(({ time }) => Date.parse(time) - Date.parse(first.time));
  assert.ok((saidMs ?? 0) < 3_000, `said after ${saidMs} ms, on a machine that may be busy`);
  assert.ok((tookMs ?? 0) >= 9_000, `gave up after ${tookMs} ms`);
  const { msg, code, err } = last;
  assert.equal(warning.level, 40);
  assert.equal(`cannot serve: ${warning.msg}`, `${msg}; trying for 10 s`);
  assert.ok(
    msg.startsWith(`cannot serve: cannot listen on ${listen} and ${admin}: EADDRINUSE: another program`),
  );
  assert.match(msg, /is another instance running\?/);
  assert.deepEqual({ code, err }, { code: 'listen_failed', err: undefined }, 'a sentence, without a stack');
  assert.equal(child.groupPids().length, 0);
});

test('serve and migrate on the folder of a running embedded database exit 1 with the reason', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const first = await startSluice({ folder, data: 'made', config: { pools: poolOf([backend]) } });
  t.after(() => first.stop());
  for (const command of ['serve', 'migrate']) {
    const child = spawnSluice([command, '--config', first.configPath], { folder });
    t.after(() => child.kill());
    await waitFor(`${command} to give up`, () => child.exitStatus !== null);
    assert.equal((await child.exited).code, 1, child.describe());
    assert.match([...child.stdout, ...child.stderr].join('\n'), new RegExp(`${first.pid}`), child.describe());
  }
  assert.equal((await ask(first.proxyUrl)).status, 200);
});

test('kill -9 of all processes loses no acknowledged client of the embedded database', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const first = await startSluice({ folder, data: 'made', config: { pools: poolOf([backend]) } });
  t.after(() => first.child.kill());
  await waitFor(
    'the database',
    async () => ((await askJson(`${first.adminUrl}/readyz`)).body.degraded as string[]).length === 0,
  );
  const acknowledged: string[] = [];
  for (let i = 0; i < 20; i++) {
    const clientId = `client-${i}`;
    const created = await askJson(`${first.adminUrl}/api/v1/clients`, { method: 'POST', body: { clientId } });
    if (created.status === 201) acknowledged.push(clientId);
  }
  assert.equal(acknowledged.length, 20);
  await first.child.kill();
  const second = await startSluice({ folder, config: { pools: poolOf([backend]) } });
  t.after(() => second.stop());
  const { body } = await waitFor('the database again', async () => {
    const answer = await askJson(`${second.adminUrl}/api/v1/clients`);
    return answer.status === 200 ? answer : null;
  });
  assert.deepEqual(
    (body.items as { clientId: string }[]).map((client) => client.clientId).sort(),
    acknowledged.sort(),
  );
});
