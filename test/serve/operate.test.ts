/** The commands for operators against a whole running Sluice. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { poolOf, startNamed, workersOf } from '../cluster/support.ts';
import { runSluice } from '../support/run-sluice.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

test('an operator compares, reloads, drains and restarts from the command line', async (t) => {
  const [a, b] = await Promise.all([startNamed('a'), startNamed('b')]);
  t.after(() => a.close());
  t.after(() => b.close());
  const config = { workers: 1, pools: poolOf([a, b]) };
  const sluice = await startSluice({ config });
  t.after(() => sluice.stop());
  const run = (...words: string[]) => runSluice(t, [...words, '--admin', sluice.adminUrl]);
  assert.equal((await run('config', 'diff')).out, `${sluice.configPath} has what runs`);

  sluice.configure({ ...config, timeouts: { drain: '4s' } });
  assert.equal((await run('config', 'diff')).out, '- timeouts.drain: "3s"\n+ timeouts.drain: "4s"');
  assert.deepEqual(await run('reload'), { code: 0, out: 'reloaded: revision 2', err: '' });
  assert.equal((await run('config', 'diff')).out, `${sluice.configPath} has what runs`);

  sluice.configure('pools: { app: { backends: [] } }\nnonsense: 1\n');
  const [diff, refused] = await Promise.all([run('config', 'diff'), run('reload')]);
  assert.deepEqual([diff.code, refused.code], [2, 2]);
  assert.match(diff.out, /sluice\.yaml:2: nonsense: unknown key/);
  assert.match(refused.err, /^sluice: the configuration is refused.*\n[\s\S]*line 2: nonsense: unknown key/);

  const [first, second] = [new URL(a.url).host, new URL(b.url).host];
  assert.match((await run('drain', 'app', first)).out, / is draining /);
  assert.equal((await run('drain', 'app', second)).code, 2);
  assert.match((await run('enable', 'app', first)).out, / is up/);

  assert.match(
    (await run('status')).out,
    /^sluice \S+: ready for .*revision 2; limits in memory, clients in the embedded database\n/,
  );
  const sample = JSON.parse((await run('top', '--once', '--json')).out);
  assert.deepEqual([sample.workers.length, sample.pools[0].pool], [1, 'app']);

  const headers = ['-H', 'x-a: 1', '-H', 'x-a: 2'];
  const words = ['explain', 'POST', 'http://a.example/x?y', ...headers, '--client-ip', '203.0.113.7'];
  const explained = await run(...words);
  assert.match(
    explained.out,
    /^answer {3}a backend answers\nclient {3}203\.0\.113\.7, mode limit\nroute {4}default\n/,
  );
  assert.match(explained.out, new RegExp(`\nbackend  ${second}: up`));
  assert.equal(JSON.parse((await run(...words, '--json')).out).route, 'default');
  assert.match((await run('explain', 'GET', 'x y')).err, /^sluice: url: /);
  assert.equal((await run('explain', 'GET', '/', '-H', 'x')).code, 2);
  assert.match((await run('explain', 'GET', 'http://a.example/', '-H', 'constructor: x')).out, /route/);

  const [before] = await workersOf(sluice.adminUrl);
  assert.match((await run('restart')).out, /^the worker is replaced$/);
  await waitFor('another worker', async () => (await workersOf(sluice.adminUrl))[0]?.pid !== before?.pid);
});
