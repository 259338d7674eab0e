import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../support/child.ts';
import { tempFolder } from '../support/temp-folder.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Imports a file of the project and prints each package of node_modules that was loaded with it. */
const PROGRAM = `
  import { registerHooks } from 'node:module';
  const names = new Set();
  registerHooks({
    load(url, context, next) {
      const name = /.*\\/node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url)?.[1];
      if (name !== undefined) names.add(name);
      return next(url, context);
    },
  });
  await import(process.argv[1]);
  const undici = process.moduleLoadList.some((name) => name.endsWith('deps/undici/undici'));
  console.log([...names, ...(undici ? ['undici'] : [])].join(' '));
`;

/** 'undici' stands for node's built-in copy, which globals such as fetch load. */
async function packagesOf(file: string): Promise<string[]> {
  const args = ['--input-type=module', '-e', PROGRAM, `${ROOT}${file}`];
  const { code, stdout, stderr } = await runToEnd(process.execPath, args, { cwd: ROOT });
  assert.equal(code, 0, stderr.join('\n'));
  return stdout.join(' ').split(' ');
}

test('neither the processes nor the demo’s backend load node’s undici, as an import of node:http would', async () => {
  for (const file of [
    'src/primary/main.ts',
    'src/primary/admin/server.ts',
    'src/cli/clients.ts',
    'src/worker/main.ts',
    'src/worker/inbound/node/node-engine.ts',
    'test_backs/echo.ts',
  ])
    assert.ok(!(await packagesOf(file)).includes('undici'), file);
});

test('with a filled compile cache, a process does not load the type stripper', async (t) => {
  const folder = tempFolder(t, 'sluice-compile-cache-');
  const program = `await import(process.argv[1]); console.log(process.moduleLoadList.join());`;
  const loads = async () => {
    const args = ['--input-type=module', '-e', program, `${ROOT}src/worker/main.ts`];
    const env = { NODE_COMPILE_CACHE: folder };
    const { code, stdout, stderr } = await runToEnd(process.execPath, args, { cwd: ROOT, env });
    assert.equal(code, 0, stderr.join('\n'));
    return stdout.join();
  };
  assert.match(await loads(), /deps\/amaro/);
  assert.doesNotMatch(await loads(), /deps\/amaro/);
});

test('a worker loads no package that only the primary needs, and the Redis client only on demand', async () => {
  const loaded = await packagesOf('src/worker/main.ts');
  assert.ok(loaded.includes('pino'), `${loaded}`);
  const spared = [
    'ioredis',
    'pg',
    'fastify',
    'prom-client',
    'yaml',
    'zod',
    '@electric-sql/pglite',
    'node-pg-migrate',
  ];
  assert.deepEqual(
    spared.filter((name) => loaded.includes(name)),
    [],
  );
  assert.ok(
    (await packagesOf('src/infra/redis/redis.ts')).includes('ioredis'),
    'the names are those of packages',
  );
});

test('before it forks, the primary loads no package that only the database, migrations and the admin port need', async () => {
  const loaded = await packagesOf('src/primary/main.ts');
  assert.ok(loaded.includes('pg'), `${loaded}`);
  const later = [
    '@electric-sql/pglite',
    'node-pg-migrate',
    'fastify',
    'fastify-type-provider-zod',
    '@fastify/swagger',
    'commander',
  ];
  assert.deepEqual(
    later.filter((name) => loaded.includes(name)),
    [],
  );
  assert.ok(
    (await packagesOf('src/primary/admin/server.ts')).includes('fastify'),
    'the names are those of packages',
  );
});

test('what draws the screen of `sluice top` is loaded on a terminal alone', async () => {
  assert.ok(!(await packagesOf('src/cli/top/top.ts')).includes('log-update'));
  assert.ok(
    (await packagesOf('src/cli/top/view.ts')).includes('log-update'),
    'the name is that of the package',
  );
  assert.deepEqual(
    (await packagesOf('src/cli/commands.ts')).filter((name) => name !== ''),
    [],
  );
});
