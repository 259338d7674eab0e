/** docs/deploy.md: what of its commands no other test runs names things that exist. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { loadAdmin } from '../../src/config/load.ts';
import { runToEnd } from '../support/child.ts';
import { docCommands } from '../support/doc-example.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const textOf = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const WAYS = ['A checkout', 'npm', 'Debian and Ubuntu', 'An image', 'Compose', 'Kubernetes'];
const commands = WAYS.flatMap((way) => docCommands('deploy.md', way));

test('each target of make exists', async () => {
  const targets = commands.flatMap((line) => /^make ([a-z-]+)$/.exec(line)?.[1] ?? []);
  assert.deepEqual(targets, ['install', 'build', 'docker-up', 'docker-down']);
  for (const target of [...targets, 'package', 'deb']) {
    const { code, stderr } = await runToEnd('make', ['-n', target], { cwd: ROOT });
    assert.equal(code, 0, stderr.join('\n'));
  }
});

interface Service {
  command?: string[];
  environment?: Record<string, string>;
}
const { services } = parse(textOf('compose.yaml'), { merge: true }) as { services: Record<string, Service> };

test('each command of compose names a service, and `docker exec` a command of the image', () => {
  const lines = commands.filter((line) => line.startsWith('docker compose '));
  assert.deepEqual(lines.splice(1, 1), ['docker compose build']);
  assert.equal(lines.length, 5);
  for (const line of lines) {
    const [, name = ''] =
      /^docker compose (?:exec|run --rm|up --detach --wait --no-deps) (\S+)/.exec(line) ?? [];
    assert.ok(name in services, line);
  }
  assert.match(textOf('Dockerfile'), /ln -s \/app\/dist\/cli\.js usr\/local\/bin\/sluice/);
});

test('each command of Sluice in a container finds the admin port of that container, with its token', () => {
  const inside = commands.flatMap((line) => /^docker compose exec (\S+) sluice /.exec(line)?.[1] ?? []);
  assert.deepEqual(inside, ['balancer1', 'entry']);
  for (const name of inside) {
    const { command = [], environment = {} } = services[name] ?? {};
    const path = environment.CONFIG_PATH ?? /^ENV CONFIG_PATH=(.+)$/m.exec(textOf('Dockerfile'))?.[1] ?? '';
    assert.equal(path, command[command.indexOf('--config') + 1], name);
    const variables = Object.fromEntries(
      Object.keys(environment).map((key) => [key, `the-${key}-of-compose`]),
    );
    const loaded = loadAdmin(join(ROOT, path), variables, null);
    assert.ok('admin' in loaded, `${name}: ${JSON.stringify(loaded)}`);
    assert.deepEqual([loaded.admin.port, loaded.admin.token], [9900, 'the-SLUICE_ADMIN_TOKEN-of-compose']);
  }
});

test('the image is built and run with the target, the rights and the folders that compose has', () => {
  const [build = '', run = ''] = docCommands('deploy.md', 'An image');
  assert.match(
    textOf('Dockerfile'),
    new RegExp(`^FROM scratch AS ${/--target (\w+)/.exec(build)?.[1]}$`, 'm'),
  );
  for (const words of ['--read-only', '--tmpfs /tmp', '--cap-drop ALL', '/app/data'])
    assert.ok(run.includes(words), words);
});

test('the manifests that the page names are there', () => {
  const [, apply = ''] = docCommands('deploy.md', 'Kubernetes');
  assert.ok(existsSync(join(ROOT, apply.replace('kubectl apply -k ', ''), 'kustomization.yaml')), apply);
});
