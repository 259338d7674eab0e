import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, askJson, metricOf, poolOf, startNamed, workersOf } from '../cluster/support.ts';
import { startBackend } from '../support/backend.ts';
import { startLoad } from '../support/load.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

test('B37: reloads under load fail no request, and an invalid file changes nothing', async (t) => {
  const [a, b] = await Promise.all([startNamed('a'), startNamed('b')]);
  t.after(() => a.close());
  t.after(() => b.close());
  const configOf = (backends: { url: string }[]) => ({ workers: 2, pools: poolOf(backends) });
  const sluice = await startSluice({ config: configOf([a]) });
  t.after(() => sluice.stop());
  const seen = new Map<string, number>();
  const load = startLoad({
    url: sluice.proxyUrl,
    onAnswer: (_, body) => seen.set(body, (seen.get(body) ?? 0) + 1),
  });
  t.after(() => load.stop());
  await load.atLeast(500);
  assert.deepEqual([...seen.keys()], ['a']);

  sluice.configure(configOf([a, b]));
  sluice.signal('SIGHUP');
  await waitFor('every worker at revision 2', async () =>
    (await workersOf(sluice.adminUrl)).every((w) => w.revision === 2),
  );
  await waitFor('answers of the new backend', () => (seen.get('b') ?? 0) > 100);
  sluice.configure(configOf([b]));
  assert.deepEqual(await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' }), {
    status: 200,
    body: { revision: 3, pendingWorkers: [] },
  });
  await waitFor('the workers to leave the old backend', async () => {
    const before = a.requestCount;
    await load.atLeast(200);
    return a.requestCount === before;
  });

  for (let i = 0; i < 10; i++) {
    sluice.configure(configOf(i % 2 === 0 ? [a, b] : [b]));
    assert.equal((await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  }

  sluice.configure('pools: { app: { backends: [] } }\nnonsense: 1\n');
  const refused = await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
  assert.equal(refused.status, 422);
  assert.match(JSON.stringify(refused.body), /nonsense/);
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_config_last_reload_success'), 0);
  await load.atLeast(200);
  sluice.configure(configOf([b]));
  assert.equal((await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_config_last_reload_success'), 1);

  const result = await load.stop();
  assert.deepEqual(result.failures, {});
  assert.deepEqual(Object.keys(result.statuses), ['200']);
});

test('a change that needs a restart is refused with 422 and names the key', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({ config: { workers: 1, pools: poolOf([backend]) } });
  t.after(() => sluice.stop());
  sluice.configure({ accept: 'round_robin', pools: poolOf([backend]) });
  const refused = await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
  assert.equal(refused.status, 422);
  assert.match(JSON.stringify(refused.body), /accept.*a change needs a restart of the process/);
  assert.equal((await ask(sluice.proxyUrl)).status, 200);
  assert.deepEqual(
    (await workersOf(sluice.adminUrl)).map((w) => w.revision),
    [1],
  );
});

test('B6: after a reload a backend known to be down stays down, and a new one waits for its first probe', async (t) => {
  const up = await startNamed('up');
  t.after(() => up.close());
  const dead = await startNamed('dead');
  // Long enough for a probe on a busy machine.
  const check = {
    healthCheck: { type: 'http', path: '/health', interval: '600ms', timeout: '500ms', rise: 2, fall: 1 },
  };
  await dead.close();
  const sluice = await startSluice({ config: { workers: 2, pools: poolOf([up, dead], check) } });
  t.after(() => sluice.stop());
  const stateOf = async (url: string) => {
    const { body } = await askJson(`${sluice.adminUrl}/api/v1/pools`);
    const [pool] = body.items as { backends: { url: string; state: string }[] }[];
    return pool?.backends.find((backend) => backend.url === url)?.state;
  };
  assert.equal(await stateOf(dead.url), 'down');
  const third = await startNamed('third');
  t.after(() => third.close());
  sluice.configure({ workers: 2, pools: poolOf([up, dead, third], check) });
  assert.equal((await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  assert.equal(await stateOf(dead.url), 'down');
  await waitFor('the new backend to be up', async () => (await stateOf(third.url)) === 'up');
  for (let i = 0; i < 20; i++) assert.equal((await ask(sluice.proxyUrl)).status, 200);
  assert.equal((await metricOf(sluice.adminUrl, 'sluice_retries_total')) ?? 0, 0);
});

test('while a reload waits for a hanging probe the old configuration is complete, and the reload ends soon', async (t) => {
  const a = await startNamed('a');
  t.after(() => a.close());
  const hung = await startBackend(() => undefined);
  t.after(() => hung.close());
  const slowCheck = { healthCheck: { type: 'http', path: '/', interval: '60s', timeout: '50s' } };
  const configOf = (backends: { url: string }[]) => ({ workers: 1, pools: poolOf(backends, slowCheck) });
  const sluice = await startSluice({ config: configOf([a]) });
  t.after(() => sluice.stop());
  const states = async () => {
    const { body } = await askJson(`${sluice.adminUrl}/api/v1/pools`);
    const [pool] = body.items as { backends: { url: string; state: string }[] }[];
    return pool?.backends.map(({ url, state }) => [url, state]);
  };
  sluice.configure(configOf([a, hung]));
  const startedMs = performance.now();
  const reloaded = askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
  await waitFor('the probe to hang', () => hung.requestCount === 1);
  assert.deepEqual(await states(), [[a.url, 'up']], 'what runs is what is shown');
  const victim = sluice.workerPids()[0] ?? 0;
  process.kill(victim, 'SIGKILL');
  assert.equal((await ask(sluice.proxyUrl)).status, 200, 'a worker that starts meanwhile knows its backends');
  assert.equal((await reloaded).status, 200);
  assert.ok(performance.now() - startedMs < 20_000);
  assert.deepEqual(await states(), [
    [a.url, 'up'],
    [hung.url, 'unknown'],
  ]);
});

test('serve and each reload log the warnings of the configuration, one line each', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const config = { pools: poolOf([backend]), rateLimit: { policies: { idle: {} } } };
  const sluice = await startSluice({ config });
  t.after(() => sluice.stop());
  const warned = () =>
    sluice
      .jsonLines(({ level, msg }) => level === 40 && String(msg).startsWith('configuration: '))
      .map(({ path, msg }) => [path, msg]);
  const line = ['rateLimit.policies.idle', 'configuration: no route names this policy, so it limits nothing'];
  await waitFor('the warning of the start', () => warned().length === 1);
  assert.equal((await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  await waitFor('the warning of the reload', () => warned().length === 2);
  assert.deepEqual(warned(), [line, line]);
});

test('a reload applies log.level at once', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const configOf = (log: object) => ({ workers: 1, pools: poolOf([backend]), log });
  const sluice = await startSluice({ config: configOf({ level: 'error' }) });
  t.after(() => sluice.stop());
  sluice.configure(configOf({ level: 'debug' }));
  assert.equal((await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  assert.equal(sluice.jsonLines(({ msg }) => msg === 'reloaded').length, 1);
  process.kill(sluice.workerPids()[0] ?? 0, 'SIGHUP');
  await waitFor('the worker’s line of that level', () =>
    sluice
      .jsonLines(({ msg, level }) => msg === 'signal ignored: the primary handles it' && level === 20)
      .at(0),
  );
});

test('a reload names a worker that has not applied it', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const config = { workers: 2, pools: poolOf([backend]) };
  const sluice = await startSluice({ config });
  t.after(() => sluice.stop());
  const [, second] = await workersOf(sluice.adminUrl);
  assert.ok(second);
  process.kill(second.pid, 'SIGSTOP');
  const { body } = await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
  assert.deepEqual(body, { revision: 2, pendingWorkers: [1] });
  process.kill(second.pid, 'SIGCONT');
  await waitFor('it to apply the revision', async () =>
    (await workersOf(sluice.adminUrl)).every(({ revision }) => revision === 2),
  );
});

test('B37: with watch: true a change of the file is a reload, and a mistake in it changes nothing until it is mended', async (t) => {
  const [a, b] = await Promise.all([startNamed('a'), startNamed('b')]);
  t.after(() => a.close());
  t.after(() => b.close());
  const configOf = (backend: { url: string }, more: object = {}) => ({
    workers: 1,
    watch: true,
    pools: poolOf([backend]),
    ...more,
  });
  const sluice = await startSluice({ config: configOf(a) });
  t.after(() => sluice.stop());
  const answer = async () => (await ask(sluice.proxyUrl)).text;
  sluice.configure(configOf(b));
  await waitFor('the new backend', async () => (await answer()) === 'b');
  sluice.configure(configOf(a, { nonsense: 1 }));
  await waitFor('the refusal', () => sluice.jsonLines(({ msg }) => /reload refused/.test(String(msg))).at(0));
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_config_last_reload_success'), 0);
  assert.equal(await answer(), 'b');
  sluice.configure(configOf(a, { watch: false }));
  await waitFor('the mended file', async () => (await answer()) === 'a');
});
