import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { RequestHead } from '../../../src/contract/request-head.ts';
import { WorkerMetrics } from '../../../src/infra/worker-metrics.ts';
import { AccessRecord } from '../../../src/proxy/access-record.ts';
import { RequestIds } from '../../../src/proxy/request-id.ts';
import { RequestSpan } from '../../../src/proxy/request-span.ts';
import { traceOf } from '../../../src/proxy/trace.ts';
import type { Rejection, SpanSender } from '../../../src/worker/tracing/span-sender.ts';
import { TraceExport } from '../../../src/worker/tracing/trace-export.ts';
import { keepLog } from '../../primary/workers/fixtures/harness.ts';

const ids = new RequestIds();
const peer = { isTrusted: false };

function spanOf(): RequestSpan {
  const head = new RequestHead();
  const trace = traceOf({ head, peer }, ids, { sample: 1 });
  return new RequestSpan(trace, { head, scheme: 'http' }, ids).end(new AccessRecord('::1', 'GET'));
}

test('a span keeps no text of a client that has no bound', () => {
  const head = new RequestHead();
  const trace = traceOf({ head, peer }, ids, { sample: 1 });
  const schemes = [`wss,${'x'.repeat(20_000)}`, 'x'.repeat(20_000)];
  const spans = schemes.map((scheme) => new RequestSpan(trace, { head, scheme }, ids));
  assert.deepEqual(
    spans.map(({ scheme }) => scheme),
    ['https', 'http'],
  );
});

/** An export whose collector answers as the test says; time is the test's. */
function makeExport(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const batches: number[] = [];
  const behaviour: { answer: () => Promise<Rejection | null> } = { answer: async () => null };
  const sender: SpanSender = {
    send: (batch) => {
      batches.push(batch.length);
      return behaviour.answer();
    },
    close: async () => undefined,
  };
  const metrics = new WorkerMetrics();
  const { logger, lines } = keepLog();
  const settings = { endpoint: 'http://127.0.0.1:1', sample: 1 };
  const traces = new TraceExport(settings, sender, { metrics, logger });
  const totals = { exported: 0, dropped: 0 };
  const counts = () => {
    const { cells } = metrics.takeDelta();
    for (let i = 0; i < cells.length; i += 2)
      totals[cells[i] === 0 ? 'exported' : 'dropped'] += cells[i + 1] ?? 0;
    return totals;
  };
  const note = (count: number) => {
    for (let i = 0; i < count; i++) traces.note(spanOf());
  };
  const pass = async (ms: number) => {
    t.mock.timers.tick(ms);
    for (let turn = 0; turn < 5; turn++) await nextTurn();
  };
  return { traces, batches, behaviour, counts, note, pass, lines };
}

test('requests of a second leave together, and many at once in batches, one after the other', async (t) => {
  const { batches, counts, note, pass } = makeExport(t);
  note(3);
  assert.deepEqual(batches, []);
  await pass(1_000);
  assert.deepEqual(batches, [3]);
  note(600);
  for (let i = 0; i < 3; i++) await pass(1);
  assert.deepEqual(batches, [3, 256, 256]);
  await pass(1_000);
  assert.deepEqual(batches, [3, 256, 256, 88]);
  assert.deepEqual(counts(), { exported: 603, dropped: 0 });
});

test('a collector that does not answer costs a bounded queue, and what is lost is counted', async (t) => {
  const { batches, behaviour, counts, note, pass, lines } = makeExport(t);
  behaviour.answer = () => new Promise(() => undefined);
  note(10_000);
  await pass(1);
  assert.deepEqual(batches, [256]);
  note(1_000);
  assert.deepEqual(counts(), { exported: 0, dropped: 10_000 - 2_048 + 1_000 - 256 });
  await pass(6_000);
  assert.equal(counts().dropped, 10_000 - 2_048 + 1_000);
  assert.ok(lines.some(({ msg }) => /collector does not take spans/.test(String(msg))));
});

test('a collector that refuses is asked less and less often, and gets what comes once it takes spans again', async (t) => {
  const { batches, behaviour, counts, note, pass, lines } = makeExport(t);
  behaviour.answer = () => Promise.reject(new Error('refused'));
  for (let second = 0; second < 60; second++) {
    note(1);
    await pass(1_000);
  }
  assert.ok(batches.length < 10, `${batches}`);
  assert.equal(lines.filter(({ msg }) => /does not take spans/.test(String(msg))).length, 1);
  behaviour.answer = async () => null;
  await pass(15_000);
  assert.equal(lines.filter(({ msg }) => /takes spans again/.test(String(msg))).length, 1);
  const { exported, dropped } = counts();
  assert.equal(exported + dropped, 60);
  assert.ok(exported > 0);
});

test('spans that the collector rejects are lost and counted, and the log says so once a minute', async (t) => {
  const { behaviour, counts, note, pass, lines } = makeExport(t);
  const answers = [
    { spans: 2, message: 'no' },
    { spans: 99, message: 'x'.repeat(9_999) },
    null,
    { spans: -1, message: 'old' },
  ];
  behaviour.answer = async () => answers.shift() ?? null;
  for (let batch = 0; batch < 4; batch++) {
    note(3);
    await pass(1_000);
  }
  assert.deepEqual(counts(), { exported: 1 + 0 + 3 + 3, dropped: 2 + 3 });
  const told = lines.filter(({ msg }) => /rejects spans/.test(String(msg)));
  assert.deepEqual(
    told.map(({ rejected, reason }) => [rejected, reason]),
    [[2, 'no']],
  );
});

test('a request is an exemplar once the collector has taken its spans, and only then', async (t) => {
  const { traces, behaviour, note, pass } = makeExport(t);
  const after = async (answer: () => Promise<Rejection | null>) => {
    behaviour.answer = answer;
    note(1);
    const early = traces.takeExemplars();
    await pass(15_000);
    return [early.length, traces.takeExemplars().length];
  };
  assert.deepEqual(await after(async () => null), [0, 1]);
  assert.deepEqual(await after(async () => ({ spans: 0, message: 'a warning' })), [0, 1]);
  assert.deepEqual(await after(async () => ({ spans: 1, message: 'no' })), [0, 0]);
  assert.deepEqual(await after(() => Promise.reject(new Error('refused'))), [0, 0]);
});

test('an SDK that fails is logged, and costs spans alone: traces begin with the same share', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { logger, lines } = keepLog();
  const metrics = new WorkerMetrics();
  const settings = { endpoint: 'http://[::1', sample: 0.1 };
  const traces = await TraceExport.open(settings, { metrics, logger });
  assert.equal(lines.filter(({ msg }) => /traces cannot be sent/.test(String(msg))).length, 1);
  assert.equal(traces?.sample, 0.1);
  traces?.note(spanOf());
  t.mock.timers.tick(1_000);
  await nextTurn();
  await traces?.close();
  const { series, cells } = metrics.takeDelta();
  const dropped = series.find(({ labels }) => labels.includes('dropped'))?.index ?? assert.fail('no series');
  assert.deepEqual(cells, [dropped, 1]);
});

test('the end sends what waits, and takes no more', async (t) => {
  const { traces, batches, counts, note } = makeExport(t);
  note(300);
  await traces.close();
  note(1);
  assert.deepEqual(batches, [256, 44]);
  assert.deepEqual(counts(), { exported: 300, dropped: 1 });
});
