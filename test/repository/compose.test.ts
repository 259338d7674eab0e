/** Checks compose.yaml, .env and the configuration of Prometheus, without a container engine. */
import assert from 'node:assert/strict';
import {
  chownSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { runToEnd } from '../support/child.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { hasTool } from '../support/tools.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

interface Service {
  stop_grace_period?: string;
  logging?: { options: Record<string, string> };
  build?: { target: string };
  command?: string[];
  environment?: Record<string, string>;
  ports?: string[];
  read_only?: boolean;
  volumes?: string[];
  cap_drop?: string[];
  depends_on?: Record<string, { condition: string }>;
  secrets?: string[];
}

interface ComposeFile {
  services: Record<string, Service>;
  secrets: Record<string, { file: string }>;
  volumes: Record<string, object>;
}

const text = readFileSync(`${ROOT}compose.yaml`, 'utf8');
const compose = parse(text, { merge: true }) as ComposeFile;
const SECRETS = [
  ...['SLUICE_ADMIN_TOKEN', 'POSTGRES_PASSWORD', 'REDIS_PASSWORD'],
  ...['SLUICE_KEY_SECRET', 'GRAFANA_PASSWORD', 'SLUICE_READ_TOKEN'],
];

/** Root can write read-only files, so the script runs as another user if the tests run as root. */
const NOBODY = 65_534;
const PLAIN_USER = {
  uid: process.getuid?.() || NOBODY,
  gid: process.getgid?.() || NOBODY,
};

function serviceOf(name: string): Service {
  const service = compose.services[name];
  assert.ok(service, `no service ${name}`);
  return service;
}

/** A folder with all files of compose, and .env made by the script. */
async function withSecrets(t: TestContext): Promise<string> {
  const folder = tempFolder(t);
  mkdirSync(join(folder, 'scripts'));
  copyFileSync(`${ROOT}scripts/compose.sh`, join(folder, 'scripts/compose.sh'));
  copyFileSync(`${ROOT}compose.yaml`, join(folder, 'compose.yaml'));
  cpSync(`${ROOT}config`, join(folder, 'config'), { recursive: true });
  const made = await runToEnd(join(folder, 'scripts/compose.sh'), ['secrets']);
  assert.equal(made.code, 0, made.stderr.join('\n'));
  return folder;
}

test('the stack has two balancers behind one address, a migration that ends, stores, three backends, Prometheus and Grafana', () => {
  assert.deepEqual(Object.keys(compose.services).sort(), [
    'backend1',
    'backend2',
    'backend3',
    'balancer1',
    'balancer2',
    'entry',
    'grafana',
    'migrate',
    'postgres',
    'prometheus',
    'redis',
  ]);
  for (const name of ['balancer1', 'balancer2'])
    assert.equal(serviceOf(name).depends_on?.migrate?.condition, 'service_completed_successfully');
  assert.deepEqual(Object.keys(serviceOf('entry').depends_on ?? {}), ['balancer1', 'balancer2']);
  assert.equal(serviceOf('migrate').depends_on?.postgres?.condition, 'service_healthy');
  assert.deepEqual(serviceOf('prometheus').secrets, ['read-token']);
});

test('only the front door is published to other machines, and the stores to none', () => {
  const ports = Object.entries(compose.services).map(([name, service]) => [name, service.ports ?? []]);
  assert.deepEqual(Object.fromEntries(ports.filter(([, list]) => (list?.length ?? 0) > 0)), {
    entry: ['8080:8080'],
    balancer1: ['127.0.0.1:9900:9900'],
    balancer2: ['127.0.0.1:9901:9900'],
    prometheus: ['127.0.0.1:9090:9090'],
    grafana: ['127.0.0.1:3000:3000'],
  });
});

test('our images run with a read-only file system and without capabilities', () => {
  const built = Object.entries(compose.services).filter(([, service]) => service.build !== undefined);
  assert.equal(built.length, 7);
  for (const [name, service] of built) {
    assert.equal(service.read_only, true, name);
    assert.deepEqual(service.cap_drop, ['ALL'], name);
  }
});

test('what the balancer knows of its backends outlives its container: `data` is a volume, owned by the user of the image', () => {
  for (const name of ['balancer1', 'balancer2']) {
    assert.deepEqual(serviceOf(name).volumes, [`${name}-data:/app/data`]);
    assert.deepEqual(compose.volumes[`${name}-data`], {});
  }
  const page = readFileSync(`${ROOT}docs/health.md`, 'utf8');
  assert.deepEqual(page.match(/`balancer\S*-data`/g), ['`balancer1-data`', '`balancer2-data`']);
  const dockerfile = readFileSync(`${ROOT}Dockerfile`, 'utf8');
  // Else a new volume belongs to root.
  assert.match(dockerfile, /\nCOPY --from=system --chown=1000:1000 \/system\/app\/data \.\/data\n/);
});

test('a balancer that starts while Redis is away takes its part of a limit: `instances` is the number of balancers', () => {
  const { rateLimit } = parse(readFileSync(`${ROOT}config/docker.yaml`, 'utf8')) as {
    rateLimit: { instances?: number };
  };
  const balancers = Object.values(compose.services).filter(
    ({ command = [] }) => command.includes('serve') && command.includes('config/docker.yaml'),
  );
  assert.equal(rateLimit.instances, balancers.length);
});

test('logs are bounded, and a drain has enough time', () => {
  for (const [name, { logging }] of Object.entries(compose.services)) {
    assert.deepEqual(logging?.options, { 'max-size': '10m', 'max-file': '5' }, name);
  }
  for (const name of ['entry', 'balancer1', 'balancer2'])
    assert.equal(serviceOf(name).stop_grace_period, '60s', name);
});

test('no password is built in: each comes from the environment and is refused when empty', () => {
  for (const name of SECRETS) {
    const uses = text.match(new RegExp(`(?<!\\$)\\$\\{${name}[^}]*\\}`, 'g')) ?? [];
    assert.ok(uses.length > 0, name);
    for (const use of uses) assert.match(use, /:\?/, use);
  }
  for (const service of Object.values(compose.services)) {
    for (const [key, value] of Object.entries(service.environment ?? {})) {
      if (/PASSWORD|TOKEN|SECRET|_URL$/.test(key)) assert.match(value, /\$\{/, key);
    }
  }
});

test('passwords are made once, readable by their owner alone, and Prometheus gets the token that only reads', async (t) => {
  const folder = await withSecrets(t);
  const first = readFileSync(join(folder, '.env'), 'utf8');
  assert.equal(statSync(join(folder, '.env')).mode & 0o777, 0o600);
  assert.equal(statSync(join(folder, '.secrets')).mode & 0o777, 0o700);
  const values = SECRETS.map((name) => new RegExp(`^${name}=([0-9a-f]{48})$`, 'm').exec(first)?.[1]);
  assert.equal(new Set(values).size, SECRETS.length, first);
  assert.deepEqual(readdirSync(join(folder, '.secrets')), ['read-token']);
  assert.equal(readFileSync(join(folder, '.secrets/read-token'), 'utf8'), values.at(-1));
  const again = await runToEnd(join(folder, 'scripts/compose.sh'), ['secrets']);
  assert.equal(again.code, 0, again.stderr.join('\n'));
  assert.equal(readFileSync(join(folder, '.env'), 'utf8'), first);
  writeFileSync(join(folder, '.env'), 'SLUICE_ADMIN_TOKEN=a\nREDIS_PASSWORD=b');
  await runToEnd(join(folder, 'scripts/compose.sh'), ['secrets']);
  const completed = readFileSync(join(folder, '.env'), 'utf8');
  assert.match(
    completed,
    /^REDIS_PASSWORD=b\n+SLUICE_KEY_SECRET=[0-9a-f]{48}\n+GRAFANA_PASSWORD=[0-9a-f]{48}\n+SLUICE_READ_TOKEN=[0-9a-f]{48}\n$/m,
    'a last line without an end',
  );
});

test('a second make docker-up, and make docker-down, work for a user who is not root', async (t) => {
  const folder = tempFolder(t);
  mkdirSync(join(folder, 'scripts'));
  copyFileSync(`${ROOT}scripts/compose.sh`, join(folder, 'scripts/compose.sh'));
  chownSync(folder, PLAIN_USER.uid, PLAIN_USER.gid);
  for (const round of ['first', 'second']) {
    const made = await runToEnd(join(folder, 'scripts/compose.sh'), ['secrets'], PLAIN_USER);
    assert.equal(made.code, 0, `${round}: ${made.stderr.join('\n')}`);
  }
});

test('docker-compose, if installed, accepts the file with .env and refuses it without', async (t) => {
  const folder = await withSecrets(t);
  // Always checked: aliases resolve and every named service exists.
  for (const [name, service] of Object.entries(compose.services)) {
    for (const needed of Object.keys(service.depends_on ?? {}))
      assert.ok(compose.services[needed], `${name}: ${needed}`);
    for (const secret of service.secrets ?? []) assert.ok(compose.secrets[secret], `${name}: ${secret}`);
  }
  if (!hasTool(t, 'docker-compose')) return;
  const accepted = await runToEnd('docker-compose', ['config', '-q'], { cwd: folder });
  assert.equal(accepted.code, 0, accepted.stderr.join('\n'));
  writeFileSync(join(folder, '.env'), '');
  const refused = await runToEnd('docker-compose', ['config', '-q'], { cwd: folder });
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr.join('\n'), /make docker-up makes it/);
});

test('Grafana finds Prometheus and the dashboards of config/grafana where compose mounts them', () => {
  const provisioned = <T>(name: string) =>
    parse(readFileSync(`${ROOT}config/grafana/provisioning/${name}`, 'utf8')) as T;
  const { datasources } = provisioned<{ datasources: { url: string; type: string; uid: string }[] }>(
    'datasources/prometheus.yaml',
  );
  assert.deepEqual(
    datasources.map(({ url, type }) => [url, type]),
    [['http://prometheus:9090', 'prometheus']],
  );
  const [provider] = provisioned<{ providers: { options: { path: string } }[] }>(
    'dashboards/sluice.yaml',
  ).providers;
  const volumes = serviceOf('grafana').volumes ?? [];
  assert.ok(volumes.includes(`./config/grafana:${provider?.options.path}:ro`), volumes.join());
  assert.ok(volumes.includes('./config/grafana/provisioning:/etc/grafana/provisioning:ro'), volumes.join());
  const dashboards = readdirSync(`${ROOT}config/grafana`).filter((name) => name.endsWith('.json'));
  assert.notEqual(dashboards.length, 0);
  for (const name of dashboards) {
    const text = readFileSync(`${ROOT}config/grafana/${name}`, 'utf8');
    const { uid } = JSON.parse(text) as { uid: string };
    assert.notEqual(uid, '', name);
    // A dashboard that is provisioned is not asked for its inputs.
    assert.equal(text.includes('__inputs'), false, name);
  }
});

test('Prometheus scrapes the admin port with the token from the file that compose mounts', async (t) => {
  const folder = await withSecrets(t);
  const path = join(folder, 'config/prometheus.yml');
  const config = parse(readFileSync(path, 'utf8')) as {
    scrape_configs: {
      metrics_path: string;
      authorization: { type: string; credentials_file: string };
      static_configs: { targets: string[] }[];
    }[];
  };
  const [job] = config.scrape_configs;
  assert.deepEqual(job?.static_configs, [{ targets: ['balancer1:9900', 'balancer2:9900'] }]);
  assert.equal(job?.metrics_path, '/metrics');
  assert.deepEqual(job?.authorization, { type: 'Bearer', credentials_file: '/run/secrets/read-token' });
  if (!hasTool(t, 'promtool')) return;
  const here = readFileSync(path, 'utf8').replace('/run/secrets/', `${folder}/.secrets/`);
  writeFileSync(path, here);
  const checked = await runToEnd('promtool', ['check', 'config', path]);
  assert.equal(checked.code, 0, checked.stderr.join('\n'));
});
