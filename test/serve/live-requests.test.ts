/** Requests as they end, over all workers of the whole product. */
import assert from 'node:assert/strict';
import { get } from 'node:http';
import { type TestContext, test } from 'node:test';
import { ask, poolOf, startNamed } from '../cluster/support.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

/** Follows a stream of events; returns the data of its events so far. */
async function follow(t: TestContext, url: string): Promise<(event: string) => Record<string, unknown>[]> {
  let text = '';
  const opened = Promise.withResolvers<void>();
  const request = get(url, { agent: false }, (response) => {
    assert.equal(response.statusCode, 200);
    response.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    response.on('error', () => undefined);
    opened.resolve();
  });
  request.on('error', opened.reject);
  t.after(() => request.destroy());
  await opened.promise;
  return (event) =>
    [...text.matchAll(new RegExp(`^event: ${event}\\ndata: (.*)$`, 'gm'))].map(([, data = '']) =>
      JSON.parse(data),
    );
}

test('a viewer sees the requests of all workers, also of one that was started later', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({
    config: { workers: 2, pools: poolOf([backend]), log: { access: { enabled: false } } },
  });
  t.after(() => sluice.stop());
  const seen = await follow(t, `${sluice.adminUrl}/api/v1/requests?status=2xx`);
  const pathsOf = (prefix: string) =>
    seen('request')
      .map(({ path }) => String(path))
      .filter((path) => path.startsWith(prefix));
  // Workers hear of the viewer a moment later.
  const showsAll = async (prefix: string): Promise<void> => {
    await waitFor('the first request to be seen', async () => {
      await ask(`${sluice.proxyUrl}/first${prefix}`);
      return pathsOf(`/first${prefix}`).length > 0;
    });
    const sent = Array.from({ length: 20 }, (_, i) => `/${prefix}${i}`);
    for (const path of sent) await ask(`${sluice.proxyUrl}${path}`);
    await waitFor('all requests', () => pathsOf(`/${prefix}`).length === sent.length);
    assert.deepEqual(pathsOf(`/${prefix}`).toSorted(), sent.toSorted());
  };
  await showsAll('a');
  const before = sluice.workerPids();
  for (const pid of before) process.kill(pid, 'SIGKILL');
  await waitFor('other workers', async () => {
    const { text } = await ask(`${sluice.adminUrl}/readyz`);
    return text.includes('"serving":2') && sluice.workerPids().every((pid) => !before.includes(pid));
  });
  await showsAll('b');
  const { time, requestId, route, backend: id, totalMs } = seen('request')[0] ?? {};
  assert.deepEqual(
    [typeof time, typeof requestId, route, typeof id, typeof totalMs],
    ['string', 'string', 'default', 'string', 'number'],
  );
});
