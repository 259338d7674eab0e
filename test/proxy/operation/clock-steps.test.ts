import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../src/contract/clock.ts';
import { DateCache } from '../../../src/proxy/date-cache.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { accessLineOf, startProxy } from '../support.ts';

const HOUR_MS = 3_600_000;

test('Date and the access log follow a clock that is set forwards or backwards, within the same second too', (t) => {
  const dates = new DateCache();
  let nowMs = 1_700_000_000_123;
  t.mock.method(systemClock, 'wallMs', () => nowMs);
  for (const stepMs of [0, HOUR_MS, -2 * HOUR_MS, -50, 50]) {
    nowMs += stepMs;
    assert.equal(dates.isoTime(), new Date(nowMs).toISOString());
    assert.equal(dates.imfDate(), new Date(nowMs).toUTCString());
  }
});

test('steps of the wall clock end no request and no connection, and make no time negative', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    backends: [backend],
    timeouts: { headersMs: 2_000, bodyIdleMs: 2_000 },
  });
  const wallMs = systemClock.wallMs.bind(systemClock);
  let stepMs = 0;
  t.mock.method(systemClock, 'wallMs', () => wallMs() + stepMs);
  const client = await proxy.connect();
  for (const step of [HOUR_MS, -HOUR_MS, 0]) {
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo');
    stepMs = step;
    client.write('dy');
    assert.equal((await client.readResponse()).status, 200);
  }
  const line = await accessLineOf(
    proxy,
    ({ time }) => Math.abs(Date.parse(String(time)) - wallMs()) > HOUR_MS / 2,
  );
  assert.ok(line.totalMs >= 0 && line.totalMs < 60_000, `${line.totalMs}`);
  assert.ok(proxy.lines.every(({ totalMs, upstreamMs }) => totalMs >= 0 && (upstreamMs ?? 0) >= 0));
});
