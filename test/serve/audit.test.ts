/** The audit of whole processes that share a PostgreSQL. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askJson, poolOf, startMigrated, startNamed } from '../cluster/support.ts';
import { runToEnd } from '../support/child.ts';
import { CLI } from '../support/product.ts';
import { startSluice } from '../support/sluice.ts';

interface Entry {
  kind: string;
  text: string;
  actor: { who: string; from: string } | null;
  data: Record<string, unknown>;
}

test('what an operator changes, and what happens, is in the audit, also after a restart', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const { url } = await startMigrated(t);
  const config = { workers: 1, pools: poolOf([backend]), database: { url } };
  const first = await startSluice({ config });
  t.after(() => first.stop());
  const acme = `${first.adminUrl}/api/v1/clients/acme`;
  for (const mode of ['unlimited', 'blocked'])
    assert.ok((await askJson(acme, { method: 'PUT', body: { mode } })).status < 300);
  await first.stop('SIGTERM');

  const second = await startSluice({ config });
  t.after(() => second.stop());
  const list = async (query: string): Promise<Entry[]> => {
    const { status, body } = await askJson(`${second.adminUrl}/api/v1/audit?${query}`);
    assert.equal(status, 200, JSON.stringify(body));
    return body.items as Entry[];
  };
  const [change] = await list('kind=admin&subject=client%20acme');
  assert.match(change?.text ?? '', /^client acme: mode "unlimited" → "blocked"$/);
  const { who, from } = change?.actor ?? {};
  assert.deepEqual([who, from], ['none', '127.0.0.1']);
  const { before, after } = (change?.data ?? {}) as Record<'before' | 'after', { mode: string }>;
  assert.deepEqual([before.mode, after.mode], ['unlimited', 'blocked']);
  const texts = (await list('kind=instance')).map(({ text }) => text.replace(/ \d+\.\d+\.\d+\S*/, ''));
  const start = ['Sluice starts', 'Sluice is ready: serving 1 address with 1 worker, revision 1'];
  assert.deepEqual(texts.toReversed(), [...start, 'Sluice drains (SIGTERM)', ...start]);
  assert.ok((await list('kind=worker')).length >= 2);

  const audit = (...more: string[]) => {
    const words = ['audit', '--admin', second.adminUrl, '--subject', 'client acme', ...more];
    return runToEnd(process.execPath, [CLI, ...words]);
  };
  const table = await audit();
  assert.equal(table.stdout.length, 3, table.stderr.join('\n'));
  assert.match(table.stdout[1] ?? '', /^\S+Z +\S+ +admin +none 127\.0\.0\.1 +client acme: mode/);
  const json = await audit('--json', '--limit', '1');
  assert.deepEqual(JSON.parse(json.stdout.join('')), [change]);
  const [, place = ''] = /^sluice: there are older ones: --after (\S+)$/.exec(json.stderr.join('\n')) ?? [];
  const older = await audit('--json', '--after', place);
  assert.equal(JSON.parse(older.stdout.join('')).length, 1, older.stderr.join('\n'));
  assert.deepEqual(older.stderr, [], 'that was the last page');
  const reload = async (adminChanges: boolean) => {
    second.configure({ ...config, audit: { adminChanges } });
    const { status } = await askJson(`${second.adminUrl}/api/v1/reload`, { method: 'POST' });
    assert.equal(status, 200);
  };
  await reload(false);
  await reload(false);
  await askJson(`${second.adminUrl}/api/v1/clients/acme`, { method: 'DELETE' });
  await reload(true);
  assert.deepEqual(
    (await list('limit=4')).map(({ text }) => text),
    [
      'a reload was asked for: revision 4',
      'revision 4 of the configuration is in force',
      'a reload was asked for: revision 2',
      'revision 2 of the configuration is in force and turns the audit off',
    ],
    'what turns the audit off and on is in it',
  );
  const refused = await audit('--since', 'yesterday');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr.join('\n'), /since/);
});
