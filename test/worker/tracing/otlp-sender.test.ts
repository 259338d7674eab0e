/** What a collector gets of requests, by the SDK. */
import assert from 'node:assert/strict';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { RequestHead } from '../../../src/contract/request-head.ts';
import { AccessRecord } from '../../../src/proxy/access-record.ts';
import { RequestIds } from '../../../src/proxy/request-id.ts';
import { RequestSpan } from '../../../src/proxy/request-span.ts';
import { traceOf } from '../../../src/proxy/trace.ts';
import { OtlpSender } from '../../../src/worker/tracing/otlp-sender.ts';
import { pool, startProxy } from '../../proxy/support.ts';
import { startCollector } from '../../support/otlp-collector.ts';
import { waitFor } from '../../support/wait.ts';

const ids = new RequestIds();
const TRACEPARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

function spanOf(facts: Partial<AccessRecord>, tracestate = ''): RequestSpan {
  const head = Object.assign(new RequestHead(), { traceparent: TRACEPARENT, traceparentCount: 1 });
  head.tracestateLines = tracestate === '' ? '' : `tracestate: ${tracestate}\r\n`;
  const span = new RequestSpan(
    traceOf({ head, peer: { isTrusted: true } }, ids, { sample: 1 }),
    { head, scheme: 'http' },
    ids,
  );
  return span.end(Object.assign(new AccessRecord('::1', 'GET'), facts));
}

async function collected(t: TestContext, ...batch: RequestSpan[]) {
  const collector = await startCollector();
  t.after(() => collector.close());
  const sender = new OtlpSender(collector.url);
  t.after(() => sender.close());
  await sender.send(batch);
  return collector.spans;
}

test('texts of clients are cut, and a trace state that is too long is left out', async (t) => {
  const long = 'x'.repeat(8_000);
  const facts = { path: `/${long}`, host: long, userAgent: long, method: long };
  const [span, other] = await collected(t, spanOf(facts, `a=${long}`), spanOf({}, 'a=1'));
  const { traceState, attributes, name } = span ?? assert.fail('no span');
  assert.equal(traceState, '');
  assert.equal(other?.traceState, 'a=1');
  assert.equal(attributes['url.path'], `/${long}`.slice(0, 1_024));
  for (const attribute of ['server.address', 'user_agent.original', 'http.request.method_original'])
    assert.equal(attributes[attribute], long.slice(0, 256), attribute);
  assert.equal(name, 'HTTP');
});

test('a method that the conventions do not know names no span', async (t) => {
  const proxy = await startProxy(t, { pools: [pool('app', [1])] });
  const [target] = [...proxy.plan().backends()];
  const invented = spanOf({ method: 'INVENTED', route: 'api' });
  invented.attempt(target!);
  const spans = await collected(
    t,
    invented,
    spanOf({ method: 'QUERY', route: 'api' }),
    spanOf({ method: 'get' }),
  );
  assert.deepEqual(
    spans.map(({ name, attributes }) => [
      name,
      attributes['http.request.method'],
      attributes['http.request.method_original'],
    ]),
    [
      ['HTTP api', '_OTHER', 'INVENTED'],
      ['HTTP', '_OTHER', 'INVENTED'],
      ['QUERY api', 'QUERY', undefined],
      ['HTTP', '_OTHER', 'get'],
    ],
  );
});

test('what a collector rejects is told, and what it warns of; an answer that makes no sense is none', async (t) => {
  const collector = await startCollector();
  t.after(() => collector.close());
  const sender = new OtlpSender(collector.url);
  t.after(() => sender.close());
  for (const [body, rejection] of [
    ['0a0608011202' + '6e6f', { spans: 1, message: 'no' }],
    ['0a041202' + '6e6f', { spans: 0, message: 'no' }],
    ['0a00', null],
    ['', null],
    ['ffff', null],
  ] as const) {
    collector.body = Buffer.from(body, 'hex');
    assert.deepEqual(await sender.send([spanOf({})]), rejection, body);
  }
});

test('an answer is to its own batch, also where the next one is under way already', async (t) => {
  const owed: ServerResponse[] = [];
  const server = createServer((request, response) => {
    request.resume();
    owed.push(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const sender = new OtlpSender(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  t.after(() => sender.close());
  const first = sender.send([spanOf({})]);
  await waitFor('the first batch', () => owed.length === 1);
  const second = sender.send([spanOf({})]);
  await waitFor('the second batch', () => owed.length === 2);
  owed[0]?.end(Buffer.from('0a0608011202' + '6e6f', 'hex'));
  assert.deepEqual(await first, { spans: 1, message: 'no' });
  owed[1]?.end(Buffer.from('ffff', 'hex'));
  assert.equal(await second, null);
});

test('a collector that drips its answers loses its batches, and neither connections nor the next batches', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const collector = await startCollector();
  t.after(() => collector.close());
  const sender = new OtlpSender(collector.url);
  t.after(() => sender.close());
  // Timers are the test's, also those of waitFor.
  const until = async (isSo: () => boolean) => {
    while (!isSo()) await nextTurn();
  };
  collector.status = -1;
  // More than the SDK sends at the same time.
  for (let batch = 1; batch <= 31; batch++) {
    const sent = assert.rejects(sender.send([spanOf({})]), /does not end its answer/);
    await until(() => collector.headers.length === batch);
    t.mock.timers.tick(6_000);
    await sent;
    await until(() => collector.dripping === 0);
  }
  collector.status = 200;
  assert.equal(await sender.send([spanOf({})]), null);
  assert.equal(collector.spans.length, 1);
});

test('a batch becomes spans in several turns of the event loop, and arrives as one', async (t) => {
  const collector = await startCollector();
  t.after(() => collector.close());
  const sender = new OtlpSender(collector.url);
  t.after(() => sender.close());
  const batch = Array.from({ length: 100 }, (_, i) => spanOf({ path: `/${i}` }, 'b=2,?,a=1'));
  const perTurn = [0];
  for (const span of batch) {
    const { traceState } = span;
    const get = () => {
      perTurn[perTurn.length - 1]! += 1;
      return traceState;
    };
    Object.defineProperty(span, 'traceState', { get });
  }
  const beginTurn = () => {
    if (perTurn.push(0) < 100) setImmediate(beginTurn);
  };
  setImmediate(beginTurn);
  await sender.send(batch);
  assert.deepEqual(
    perTurn.filter((made) => made > 0),
    [32, 32, 32, 4],
  );
  assert.equal(collector.headers.length, 1);
  assert.deepEqual(
    collector.spans.map(({ attributes, traceState }) => [attributes['url.path'], traceState]),
    batch.map((_, i) => [`/${i}`, 'b=2,a=1']),
  );
});

test('an answer that is cut, a refused call of gRPC and one that fails are errors, although their status is 200', async (t) => {
  const ends = [
    [{ reason: 'ok', status: 200, grpcStatus: null }, 0, undefined],
    [{ reason: 'ok', status: 200, grpcStatus: 0 }, 0, undefined],
    [{ reason: 'upstream_reset', status: 200, grpcStatus: null }, 2, 'upstream_reset'],
    [{ reason: 'connect_failed', status: 200, grpcStatus: 14 }, 2, 'connect_failed'],
    [{ reason: 'ok', status: 200, grpcStatus: 13 }, 2, 'grpc_13'],
    [{ reason: 'ok', status: 503, grpcStatus: null }, 2, '503'],
    // Of the client's making: no error of a server.
    [{ reason: 'ok', status: 200, grpcStatus: 5 }, 0, undefined],
    [{ reason: 'ok', status: 200, grpcStatus: 12 }, 0, undefined],
    [{ reason: 'limited', status: 200, grpcStatus: 8 }, 0, undefined],
    [{ reason: 'client_abort', status: 499, grpcStatus: null }, 0, 'client_abort'],
  ] as const;
  const spans = await collected(t, ...ends.map(([facts]) => spanOf(facts)));
  assert.deepEqual(
    spans.map(({ status, attributes }) => [status, attributes['error.type']]),
    ends.map(([, ...expected]) => expected),
  );
});

test('the last attempt of a call has its status of gRPC', async (t) => {
  const proxy = await startProxy(t, { pools: [pool('app', [1, 2], { protocol: 'h2' })] });
  const [first, second] = [...proxy.plan().backends()];
  const span = spanOf({ reason: 'ok', status: 200, grpcStatus: 5 });
  Object.assign(span.attempt(first!), { status: 503 });
  Object.assign(span.attempt(second!), { status: 200 });
  const [, ...attempts] = await collected(t, span);
  assert.deepEqual(
    attempts.map(({ status, attributes }) => [
      status,
      attributes['error.type'],
      attributes['rpc.grpc.status_code'],
    ]),
    [
      [2, '503', undefined],
      [2, 'grpc_5', 5],
    ],
  );
});
