/** The stores of compose.yaml, run as compose runs them: their passwords and health checks. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { runToEnd, spawnChild } from '../support/child.ts';
import { freePort } from '../support/free-port.ts';
import { postgresBinFolder, startPostgres } from '../support/postgres.ts';
import { tempFolder } from '../support/temp-folder.ts';

interface Service {
  command: string[];
  healthcheck: { test: string[] };
}

const path = fileURLToPath(new URL('../../compose.yaml', import.meta.url));
const { services } = parse(readFileSync(path, 'utf8'), { merge: true }) as {
  services: { redis: Service; postgres: Service };
};

/** compose.yaml writes `$$` for `$`. */
const unescaped = (text: string) => text.replaceAll('$$', '$');

test('the Redis of compose requires its password, and its health check uses it', async (t) => {
  const port = await freePort();
  const { command, healthcheck } = services.redis;
  const configPath = join(tempFolder(t), 'redis.conf');
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
  const check = unescaped(healthcheck.test[1] ?? '').replace('redis-cli', `redis-cli -p ${port}`);
  assert.equal((await runToEnd('sh', ['-c', check], { env })).code, 0);
  assert.equal((await runToEnd('sh', ['-c', check], { env: { REDIS_PASSWORD: 'wrong' } })).code, 1);
  assert.equal(server.exitStatus, null);
  await server.stop();
});

test('the health check of compose’s PostgreSQL passes exactly while it accepts connections', async (t) => {
  const postgres = await startPostgres();
  t.after(() => postgres.remove());
  const [kind, program = '', ...words] = services.postgres.healthcheck.test;
  assert.equal(kind, 'CMD');
  const check = (port: number) =>
    runToEnd(join(postgresBinFolder(), program), [...words, '-p', String(port)]);
  assert.equal((await check(postgres.port)).code, 0);
  assert.notEqual((await check(await freePort())).code, 0);
});
