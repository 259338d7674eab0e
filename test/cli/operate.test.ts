/** The commands for operators in processes of their own, against a real admin port with parts in memory. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { clientText } from '../../src/cli/output.ts';
import { HttpProblem } from '../../src/primary/admin/problems.ts';
import { CONFIG, settingsOf, startAdmin } from '../primary/admin/harness.ts';
import { runSluice } from '../support/run-sluice.ts';

test('a reload prints the revision; a refused one every problem with its line, and exits 2', async (t) => {
  const admin = await startAdmin(t, { settings: { token: 'tok' } });
  const env = { SLUICE_ADMIN_TOKEN: 'tok' };
  const reload = (...words: string[]) => runSluice(t, ['reload', '--admin', admin.url, ...words], { env });
  assert.deepEqual(await reload(), { code: 0, out: 'reloaded: revision 2', err: '' });
  admin.parts.outcome = async () => ({ ok: true, revision: 3, pendingWorkers: [0, 1] });
  const late = await reload('--json');
  assert.deepEqual(JSON.parse(late.out), { revision: 3, pendingWorkers: [0, 1] });
  admin.parts.outcome = async () => ({
    ok: false,
    problems: [
      { line: 3, path: 'pools.app', message: 'is not a pool' },
      { line: null, path: null, message: 'the file is empty' },
    ],
  });
  assert.deepEqual(await reload(), {
    code: 2,
    out: '',
    err: 'sluice: the configuration is refused, and the old one stays in force\nline 3: pools.app: is not a pool\nthe file is empty',
  });
});

test('the last backend that takes requests is drained only with --yes', async (t) => {
  const { url, parts } = await startAdmin(t);
  const run = (...words: string[]) => runSluice(t, [...words, '--admin', url]);
  const probe = { atMs: 1, ok: true, durationMs: 1, detail: 'status 200' };
  for (const id of ['one', '[::1]:8082']) for (let i = 0; i < 3; i++) parts.registry.record('app', id, probe);
  const first = await run('drain', 'app', '[::1]:8082');
  assert.deepEqual([first.code, first.err], [0, '']);
  assert.match(first.out, /^\[::1\]:8082 of app is draining \(.+\), with 0 requests in flight$/);
  const refused = await run('drain', 'app', 'one');
  assert.deepEqual([refused.code, refused.out], [2, '']);
  assert.match(
    refused.err,
    /^sluice: backend one is the last one of pool app .* 503\nadd --yes to drain it$/,
  );
  assert.equal(parts.registry.state('app', 'one')?.state, 'up');
  assert.equal((await run('drain', 'app', 'one', '--yes')).code, 0);
  const enabled = await run('enable', 'app', 'one', '--json');
  assert.equal(JSON.parse(enabled.out).state, 'up');
  assert.deepEqual(await run('drain', 'app', '8081'), {
    ...{ code: 1, out: '' },
    err: 'sluice: the pool has no such backend: it has one, [::1]:8082 (404)',
  });
  assert.deepEqual(await run('enable', 'ap', 'one'), {
    ...{ code: 1, out: '' },
    err: 'sluice: there is no such pool: the pools are app, bare (404)',
  });
  assert.equal((await run('drain', 'app')).code, 2);
});

test('a restart says how many workers are replaced, and fails with the reason', async (t) => {
  const { url, parts } = await startAdmin(t);
  const restart = () => runSluice(t, ['restart', '--admin', url]);
  assert.deepEqual(await restart(), {
    ...{ code: 0, err: '' },
    out: 'the first of 2 workers is replaced, the others follow one by one',
  });
  parts.roll = null;
  assert.deepEqual(await restart(), {
    ...{ code: 1, out: '' },
    err: 'sluice: workers are being replaced already, or Sluice stops (409)',
  });
});

test('the running configuration is printed as a file, and beside the file', async (t) => {
  const { url, parts } = await startAdmin(t);
  const config = (...words: string[]) => runSluice(t, ['config', ...words, '--admin', url]);
  const [shown, json, same] = await Promise.all([config('show'), config('show', '--json'), config('diff')]);
  assert.deepEqual(parse(shown.out), JSON.parse(json.out));
  assert.deepEqual(same, { code: 0, out: 'sluice.yaml has what runs', err: '' });
  const text = CONFIG.replace('weight: 3', 'weight: 5');
  const added = '  - { name: first, match: { path: /x }, pool: app }\n';
  const settings = settingsOf(text.replace('routes:\n', `routes:\n${added}`));
  const problem = { line: 7, path: 'accept', message: 'a change needs a restart' };
  parts.file = () => ({ path: 'a.yaml', loaded: { settings, warnings: [], digest: '' }, problems: [] });
  const diff = await config('diff');
  assert.deepEqual([diff.code, diff.err], [0, '']);
  const lines = diff.out.split('\n');
  assert.deepEqual(lines.slice(0, 2), [
    '- pools.app.backends[1].weight: 3',
    '+ pools.app.backends[1].weight: 5',
  ]);
  assert.match(lines[2] ?? '', /^\+ routes\[0\]: \{"name":"first",.*\}$/);
  assert.equal(lines.length, 3);
  parts.file = () => ({ path: 'a.yaml', loaded: null, problems: [problem] });
  const broken = await config('diff');
  assert.deepEqual(broken, { code: 2, out: 'a.yaml:7: accept: a change needs a restart', err: '' });
});

test('texts of others do not steer the terminal', async (t) => {
  const { url, parts } = await startAdmin(t);
  const run = (...words: string[]) => runSluice(t, [...words, '--admin', url]);
  const detail = 'grpc-status \u001b]0;a';
  const probe = { atMs: 1, ok: false, durationMs: 1, detail };
  for (let i = 0; i < 3; i++) parts.registry.record('app', 'one', probe);
  parts.outcome = async () => ({ ok: false, problems: [{ line: 1, path: 'a\u001bb', message: 'c\u001bd' }] });
  parts.directory.clients.get = () => Promise.reject(new HttpProblem(404, 'no \u001b]0;client'));
  const [enabled, reload, got] = await Promise.all([
    run('enable', 'app', 'one'),
    run('reload'),
    run('clients', 'get', 'x'),
  ]);
  assert.match(enabled.out, /^one of app is down \(.*grpc-status \\u\{1b\}\]0;a.*\)/);
  assert.match(reload.err, /line 1: a\\u\{1b\}b: c\\u\{1b\}d$/);
  assert.equal(got.err, 'sluice: no \\u{1b}]0;client (404)');
  assert.equal(
    clientText({ clientId: 'a\u001bb', mode: 'limit', capacity: 1, refillPerSecond: 1, limits: {} }).split(
      '\n',
    )[0],
    'client           a\\u{1b}b',
  );
});
