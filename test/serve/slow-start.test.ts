import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, askJson, startNamed } from '../cluster/support.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

test('B7: an enabled backend rises to its share in all workers, also in one that starts meanwhile', async (t) => {
  const [a, b] = await Promise.all([startNamed('a'), startNamed('b')]);
  t.after(() => a.close());
  t.after(() => b.close());
  const backends = [a, b].map(({ url, name }) => ({ url, id: name }));
  const sluice = await startSluice({ config: { workers: 2, pools: { app: { backends, slowStart: '1h' } } } });
  t.after(() => sluice.stop());
  const countB = async () => {
    const answers = await Promise.all(Array.from({ length: 60 }, () => ask(sluice.proxyUrl)));
    return answers.filter(({ text }) => text === 'b').length;
  };
  const atStart = await countB();
  assert.ok(atStart > 20 && atStart < 40, `${atStart} of 60 at the start`);
  for (const operation of ['drain', 'enable']) {
    const { status } = await askJson(`${sluice.adminUrl}/api/v1/pools/app/backends/b/${operation}`, {
      method: 'POST',
    });
    assert.equal(status, 200);
  }
  await waitFor('a tenth of the share', async () => {
    const count = await countB();
    return count > 0 && count < 12;
  });
  const before = sluice.workerPids();
  process.kill(before[0]!, 'SIGKILL');
  await waitFor('another worker', async () => {
    const pids = sluice.workerPids();
    const { body } = await askJson(`${sluice.adminUrl}/readyz`);
    return (
      pids.length === 2 && !pids.includes(before[0]!) && (body.workers as { serving: number }).serving === 2
    );
  });
  const after = await countB();
  assert.ok(after < 12, `${after} of 60 with a new worker`);
});
