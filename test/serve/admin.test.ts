/** The admin port of a whole Sluice: an operator inspects a caller without a record, and admin calls are logged and counted. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { spawnSluice, startSluice } from '../support/sluice.ts';

test('a caller without a record is shown and reset by its address, and the calls are logged and counted', async (t) => {
  const sluice = await startSluice({
    data: 'made',
    config: {
      pools: { app: { backends: [{ url: 'http://127.0.0.1:1' }] } },
      rateLimit: { policies: { default: { capacity: 5, refillPerSecond: 0.001 } } },
    },
  });
  t.after(() => sluice.stop());
  const clients = async (...words: string[]) => {
    const child = spawnSluice(['clients', ...words, '--admin', sluice.adminUrl]);
    t.after(() => child.kill());
    assert.deepEqual([(await child.exited).code, child.stderr], [0, []]);
    return child.stdout;
  };
  for (let i = 0; i < 6; i++) await (await fetch(sluice.proxyUrl)).text();
  const [headings, spent] = await clients('bucket', '127.0.0.1');
  assert.match(headings ?? '', /^POLICY +LEVEL +CAPACITY/);
  assert.match(spent ?? '', /^default +0(\.\d+)? +5 +0\.001 +in \d+ ms$/);
  assert.deepEqual(await clients('reset', '127.0.0.1'), ['reset 127.0.0.1']);
  const [, full] = await clients('bucket', '127.0.0.1');
  assert.match(full ?? '', /^default +5 +5 +0\.001 +now$/);
  const metrics = await (await fetch(`${sluice.adminUrl}/metrics`)).text();
  assert.match(
    metrics,
    /^sluice_admin_requests_total\{route="\/api\/v1\/clients\/:clientId\/bucket\/reset",code="204"\} 1$/m,
  );
  const [line] = sluice.jsonLines(({ msg }) => msg === 'admin write');
  assert.equal(line?.path, '/api/v1/clients/127.0.0.1/bucket/reset');
});
