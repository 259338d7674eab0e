/** What a whole Sluice says of now, of the last hour, and of what happens. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, askJson, poolOf, QUICK_CHECK, startNamed } from '../cluster/support.ts';
import { readEvents } from '../support/event-stream.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor, within } from '../support/wait.ts';

interface Now {
  requestsPerSec: number;
  p50Ms: number | null;
}

test('the status, the history and the events of an instance follow its traffic, its workers and its operators', async (t) => {
  const [a, b] = await Promise.all([startNamed('a'), startNamed('b')]);
  t.after(() => a.close());
  t.after(() => b.close());
  const config = { workers: 2, pools: poolOf([a, b], { healthCheck: QUICK_CHECK }) };
  const sluice = await startSluice({ config });
  t.after(() => sluice.stop());
  const url = `${sluice.adminUrl}/api/v1`;
  const { events, isOver } = await readEvents(t, `${url}/events`);
  const changes = () => events.filter(({ event }) => event === 'change').map(({ data }) => data);
  const untilTold = (what: string, pattern: RegExp) =>
    waitFor(what, () => changes().find(({ text }) => pattern.test(String(text))));
  await untilTold('the start', /^Sluice is ready: serving 1 address with 2 workers, revision 1$/);

  const statusNow = async () => (await askJson(`${url}/status`)).body;
  await waitFor('traffic', async () => {
    await Promise.all(Array.from({ length: 20 }, () => ask(sluice.proxyUrl)));
    const { requestsPerSec, p50Ms } = (await statusNow()).now as Now;
    return requestsPerSec > 5 && p50Ms !== null;
  });
  const { problems, phase, workers, routes } = await statusNow();
  assert.deepEqual([problems, phase], [[], 'ready']);
  assert.equal((workers as { state: string }[]).filter(({ state }) => state === 'serving').length, 2);
  assert.ok((routes as Now[]).some(({ requestsPerSec }) => requestsPerSec > 5));
  const { body: history } = await askJson(`${url}/history?seconds=30`);
  const { requestsPerSec } = history.series as { requestsPerSec: (number | null)[] };
  assert.equal(requestsPerSec.length, 30);
  assert.ok(requestsPerSec.some((rate) => (rate ?? 0) > 0));
  for (const seconds of ['0', '3601', 'x'])
    assert.equal((await askJson(`${url}/history?seconds=${seconds}`)).status, 422, seconds);

  const [victim = 0] = sluice.workerPids();
  process.kill(victim, 'SIGKILL');
  await untilTold('the death', /^worker \d died \(SIGKILL\)$/);
  await untilTold('the other one', /^worker \d serves \(pid \d+\)$/);

  await b.close();
  await untilTold('the failure', /^backend 127\.0\.0\.1:\d+ of pool app is down: .*connection refused/);
  const down = await waitFor('the problem', async () => {
    const [first] = (await statusNow()).problems as { code: string; text: string; since: string }[];
    return first;
  });
  assert.equal(down.code, 'backend_down');
  assert.match(
    down.text,
    /^backend 127\.0\.0\.1:\d+ of pool app is down since \d\d:\d\d UTC: .*connection refused/,
  );
  assert.ok(Math.abs(Date.now() - Date.parse(down.since)) < 60_000);

  const backend = `${url}/pools/app/backends/${encodeURIComponent(`127.0.0.1:${a.port}`)}`;
  assert.equal((await askJson(`${backend}/drain?force=true`, { method: 'POST' })).status, 200);
  const drained = await untilTold('the drain', /^drain of backend/);
  const { actor, data } = drained as { actor: Record<string, unknown>; data: Record<string, unknown> };
  assert.deepEqual([actor.who, actor.from, data.after], ['none', '127.0.0.1', { enabled: false }]);
  sluice.configure('listen: nonsense');
  assert.equal((await askJson(`${url}/reload`, { method: 'POST' })).status, 422);
  await untilTold('the refusal', /^reload refused, the old configuration stays: /);
  const sample = events.findLast(({ event }) => event === 'sample')?.data;
  assert.ok(sample && (sample.now as Now).requestsPerSec >= 0 && Array.isArray(sample.pools));
  sluice.signal('SIGTERM');
  await untilTold('the drain of the instance', /^Sluice drains \(SIGTERM\)$/).catch((error: unknown) => {
    // It may be over before the next text.
    if (!isOver()) throw error;
  });
  await within(waitFor('the end of the stream', isOver), 10_000, 'the end of the stream');
});
