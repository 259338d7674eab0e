/** The requests that become rows of the database, and what a worker keeps of them. */
import assert from 'node:assert/strict';
import { hostname } from 'node:os';
import { test } from 'node:test';
import { systemClock } from '../../../src/contract/clock.ts';
import type { WorkerMessage } from '../../../src/contract/messages.ts';
import { WorkerMetrics } from '../../../src/infra/worker-metrics.ts';
import { AccessRecord } from '../../../src/proxy/access-record.ts';
import { RequestAudit } from '../../../src/proxy/request-audit.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { engineOf, type ProxyOptions, policy, route, startProxy } from '../support.ts';

for (const engine of ['wire', 'node'] as const) {
  test(`a limited request becomes a row, or each one; with its path, never with its query (${engine})`, async (t) => {
    const backend = await startCapturingBackend(t);
    const options: ProxyOptions = {
      backends: [backend],
      policies: [policy('default', 1, 0.001)],
      routes: [route('api', { path: '/api/' }, { rateLimit: { policies: ['default'], cost: 1 } })],
      access: { enabled: false, sample: 1 },
      audited: 'limited',
      engine: engineOf(engine),
    };
    const proxy = await startProxy(t, options);
    const ask = async (path: string) => {
      const client = await proxy.connect();
      client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await client.readResponse();
      client.close();
    };
    const seen = async (count: number) => {
      await waitFor(`${count} rows`, () => proxy.rows.length >= count);
      return proxy.rows.splice(0);
    };
    await ask('/api/first?token=secret');
    await ask('/api/second?token=secret');
    const [limited, ...others] = await seen(1);
    assert.deepEqual(others, []);
    const [at, instance, , requestId, ...rest] = limited ?? [];
    assert.match(at ?? '', /^\d{4}-\d\d-\d\dT.*Z$/);
    assert.equal(instance, hostname());
    assert.match(requestId ?? '', /^\S+$/);
    const [bytesOut, totalMs] = rest.splice(9, 2);
    assert.ok(Number(bytesOut) > 0 && Number(totalMs) > 0, `${bytesOut} ${totalMs}`);
    assert.deepEqual(rest, [
      '127.0.0.1',
      '\\N',
      'GET',
      'a',
      '/api/second',
      '429',
      '\\N',
      'limited',
      '0',
      '\\N',
      'api',
      '{default}',
    ]);

    proxy.reload({ ...options, audited: 'all', access: { enabled: true, sample: 1 } });
    await ask('/elsewhere');
    const bad = await proxy.connect();
    bad.write('NONSENSE\r\n\r\n');
    await bad.readResponse();
    const all = await seen(2);
    assert.deepEqual(
      all.map((row) => row[11]),
      ['no_route', 'bad_request'],
    );
    assert.equal(proxy.lines.length, 2);

    proxy.reload(options);
    await ask('/elsewhere');
    proxy.reload({ ...options, audited: 'off' });
    await ask('/api/third');
    proxy.reload(options);
    await ask('/api/fourth');
    assert.deepEqual(
      (await seen(1)).map((row) => row[8]),
      ['/api/fourth'],
    );
  });
}

test('while the primary does not read, a bounded number of rows waits; further ones are dropped and counted', () => {
  const metrics = new WorkerMetrics();
  const sent: { message: WorkerMessage; onLeft: () => void }[] = [];
  let isThere = true;
  const audit = new RequestAudit({
    metrics,
    send: (message, onLeft) => {
      if (isThere) sent.push({ message, onLeft });
      else onLeft();
      return isThere;
    },
  });
  const record = Object.assign(new AccessRecord('192.0.2.1', 'GET'), { path: `/${'x'.repeat(9_000)}` });
  const note = (count: number) => {
    for (let i = 0; i < count; i++) audit.note(record, 'all');
    audit.flush();
  };
  const rowsIn = (message: WorkerMessage | undefined) => {
    assert.ok(message?.type === 'request-rows');
    assert.equal(message.text.trimEnd().split('\n').length, message.count);
    assert.ok(message.text.length < 70_000, `${message.text.length} characters`);
    return message.count;
  };
  const dropped = () => metrics.takeDelta().cells[1] ?? 0;
  note(5_000);
  assert.equal(sent.length, 16);
  const kept = sent.reduce((sum, { message }) => sum + rowsIn(message), 0);
  assert.equal(kept + dropped(), 5_000);
  assert.ok(kept > 500, `${kept}`);

  for (const { onLeft } of sent.splice(0)) onLeft();
  note(10);
  assert.deepEqual(
    sent.map(({ message }) => rowsIn(message)),
    [10],
  );
  assert.equal(dropped(), 0);
  isThere = false;
  for (let i = 0; i < 20; i++) note(1);
  assert.deepEqual([dropped(), audit.unheardRows], [20, 20]);
  isThere = true;
  note(3);
  assert.equal(sent.length, 2, 'what could not be sent is counted as on its way for ever');
});

test('of refused requests a worker keeps 1,000 a second where only those are kept; the others are counted as dropped', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let nowMs = 5_000;
  t.mock.method(systemClock, 'monotonicMs', () => nowMs);
  const metrics = new WorkerMetrics();
  let rows = 0;
  const audit = new RequestAudit({
    metrics,
    send: (message, onLeft) => {
      if (message.type === 'request-rows') rows += message.count;
      onLeft();
      return true;
    },
  });
  const note = (audited: 'limited' | 'all') => {
    for (let i = 0; i < 1_500; i++) audit.note(new AccessRecord('192.0.2.1', 'GET'), audited);
    audit.flush();
    return [rows, metrics.takeDelta().cells[1] ?? 0];
  };
  assert.deepEqual(note('limited'), [1_000, 500]);
  nowMs += 999;
  assert.deepEqual(note('limited'), [1_000, 1_500]);
  nowMs += 1;
  assert.deepEqual(note('limited'), [2_000, 500]);
  assert.deepEqual(note('all'), [3_500, 0]);
});

test('at midnight a new batch begins: all rows of one have the same day', () => {
  const texts: string[] = [];
  const audit = new RequestAudit({
    metrics: new WorkerMetrics(),
    send: (message) => message.type === 'request-rows' && texts.push(message.text) > 0,
  });
  const note = (time: string) =>
    audit.note(Object.assign(new AccessRecord('192.0.2.1', 'GET'), { time, path: '/a\n2099-01-01' }), 'all');
  const times = ['2026-11-30T23:59:59.998Z', '2026-11-30T23:59:59.999Z', '2026-12-01T00:00:00.000Z'];
  for (const time of times) note(time);
  audit.flush();
  const daysOf = (text: string) => [...new Set(text.match(/^\d{4}-\d\d-\d\d(?=T)/gm))];
  assert.deepEqual(texts.map(daysOf), [['2026-11-30'], ['2026-12-01']]);
});
