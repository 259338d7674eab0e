/** The columns of the charts, from a server of the test. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addSample, history } from '../../src/dashboard/api/history.ts';
import { startBackend } from '../support/backend.ts';
import { waitFor } from '../support/wait.ts';

const START_SEC = 1_800_000_000;

test('charts go on when the clock of the server is set, with all seconds at their times of now', async (t) => {
  /** The server's clock, and how many seconds it has seen. */
  let nowSec = START_SEC;
  let count = 0;
  let asked = 0;
  const viewOf = (seconds: number) => {
    const requestsPerSec = Array.from({ length: Math.min(seconds, count) }, (_, i) => count - i).reverse();
    const endsAt = new Date(nowSec * 1_000).toISOString();
    return { stepSec: 1, endsAt, series: { requestsPerSec }, workers: [] };
  };
  const server = await startBackend((_, response) => {
    asked++;
    response.end(JSON.stringify(viewOf(3_600)));
  });
  t.after(() => server.close());
  const { fetch } = globalThis;
  t.mock.method(globalThis, 'fetch', (path: string, init: RequestInit) => fetch(server.url + path, init));
  const pass = (steppedSec = 0) => {
    nowSec += 1 + steppedSec;
    count++;
    addSample({ history: viewOf(1) } as never);
  };
  const lastTimes = () => history.value.times.slice(-3);
  const values = () => history.value.curves.requestsPerSec;
  for (let second = 0; second < 10; second++) pass();
  assert.deepEqual([asked, values().length], [0, 10]);
  for (const [steppedSec, calls] of [
    [-600, 1],
    [3_600, 2],
  ] as const) {
    pass(steppedSec);
    pass();
    await waitFor('all columns', () => lastTimes()[2] === nowSec);
    assert.equal(asked, calls, 'once for both samples');
    pass();
    assert.deepEqual(lastTimes(), [nowSec - 2, nowSec - 1, nowSec]);
    assert.deepEqual(
      values(),
      Array.from({ length: count }, (_, i) => i + 1),
    );
  }
  pass(-3);
  assert.equal(asked, 2, 'a small step is waited out');
});
