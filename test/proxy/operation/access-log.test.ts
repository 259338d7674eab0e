import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LINE_BYTES } from '../../../src/infra/logging/line-sink.ts';
import { accessLine } from '../../../src/proxy/access-log.ts';
import type { AccessRecord } from '../../../src/proxy/access-record.ts';
import { ecsAccessLine } from '../../../src/proxy/ecs-access-line.ts';

const RECORD: AccessRecord = {
  time: '2026-01-02T03:04:05.678Z',
  requestId: 'r-1',
  traceId: null,
  clientIp: '127.0.0.1',
  clientId: null,
  method: 'GET',
  protocol: 'http/1.1',
  host: 'a',
  path: '/x',
  status: 200,
  grpcStatus: null,
  reason: 'ok',
  bytesIn: 0,
  bytesOut: 5,
  totalMs: 1.23456,
  upstreamMs: null,
  queueMs: null,
  limiterMs: null,
  backend: null,
  attempts: 0,
  route: null,
  policies: null,
  userAgent: null,
};

test('B36: a line is one JSON object with every key, absent values null, times with three decimals', () => {
  const line = accessLine(RECORD);
  assert.equal(line.indexOf('\n'), line.length - 1);
  assert.deepEqual(JSON.parse(line), { ...RECORD, totalMs: 1.235 });
  assert.deepEqual(
    Object.keys(JSON.parse(line)).join(' '),
    'time requestId traceId clientIp clientId method protocol host path status grpcStatus reason bytesIn bytesOut totalMs upstreamMs ' +
      'queueMs limiterMs backend attempts route policies userAgent',
  );
});

test('B36: whatever clients send, a line is valid JSON, one line and at most 4,000 bytes', () => {
  const text = fc.string({
    unit: fc.constantFrom('a', '"', '\\', '\n', '\u0001', '\u007f', 'é', '\u2028', '😀', '<'),
    maxLength: 9_000,
    size: 'max',
  });
  fc.assert(
    fc.property(text, text, text, (path, userAgent, other) => {
      const record = { ...RECORD, path, userAgent, host: other, route: other, backend: other };
      const [parsed, ecs] = [accessLine(record), ecsAccessLine(record)].map((line) => {
        assert.ok(Buffer.byteLength(line) <= LINE_BYTES + 1, `${Buffer.byteLength(line)} bytes`);
        assert.equal(line.indexOf('\n'), line.length - 1);
        return JSON.parse(line);
      });
      assert.ok(path.startsWith(parsed.path) && path.startsWith(ecs['url.path']));
      assert.ok(userAgent.startsWith(parsed.userAgent) && userAgent.startsWith(ecs['user_agent.original']));
    }),
    { numRuns: 300 },
  );
});

test('B36: a line contains nothing of the requests before it', () => {
  const name = fc.constantFrom(null, 'a', 'b', 'ü"');
  const count = fc.constantFrom(0, 1, 2 ** 33);
  const ms = fc.oneof(fc.double({ min: 0, max: 1e7, noNaN: true }), fc.constantFrom(0, 0.0004, 1, 2.5, 1e12));
  const record: fc.Arbitrary<AccessRecord> = fc.record({
    time: fc.constant(RECORD.time),
    requestId: fc.constantFrom('r-1', 'r-2'),
    traceId: fc.constantFrom(null, '4bf92f3577b34da6a3ce929d0e0e4736'),
    clientIp: fc.constantFrom('127.0.0.1', '::1'),
    clientId: name,
    method: name,
    protocol: name,
    host: name,
    path: name,
    status: fc.constantFrom(200, 499),
    grpcStatus: fc.constantFrom(null, 0, 14),
    reason: fc.constantFrom('ok', 'client_abort'),
    bytesIn: count,
    bytesOut: count,
    totalMs: ms,
    upstreamMs: fc.option(ms),
    queueMs: fc.option(ms),
    limiterMs: fc.option(ms),
    backend: name,
    attempts: count,
    route: name,
    policies: fc.constantFrom(null, ['day'], ['day', 'hour']),
    userAgent: name,
  });
  const rounded = (value: number | null) => (value === null ? null : Math.round(value * 1000) / 1000);
  fc.assert(
    fc.property(fc.array(record, { minLength: 2 }), (records) => {
      for (const each of records) {
        const { totalMs, upstreamMs, queueMs, limiterMs } = each;
        const ecs = JSON.parse(ecsAccessLine(each));
        assert.deepEqual(
          [
            ecs['http.request.method'],
            ecs.message,
            ecs['sluice.policies'],
            ecs['event.duration'],
            ecs['url.domain'],
          ],
          [
            each.method,
            `${each.method ?? '-'} ${each.status} ${each.reason}`,
            each.policies,
            Math.round(totalMs * 1000) * 1000,
            each.host,
          ],
        );
        assert.deepEqual(JSON.parse(accessLine(each)), {
          ...each,
          totalMs: rounded(totalMs),
          upstreamMs: rounded(upstreamMs),
          queueMs: rounded(queueMs),
          limiterMs: rounded(limiterMs),
        });
      }
    }),
    { numRuns: 300 },
  );
});

test('B36: log.format ecs: every field has its name of the Elastic Common Schema', () => {
  const record = {
    ...RECORD,
    host: 'shop.example:8443',
    userAgent: 'curl/8',
    policies: ['day'],
    upstreamMs: 1.2,
  };
  assert.deepEqual(JSON.parse(ecsAccessLine({ ...record, traceId: 'ab', clientId: 'acme', backend: 'b1' })), {
    '@timestamp': RECORD.time,
    'log.level': 'info',
    'http.request.id': 'r-1',
    'trace.id': 'ab',
    'client.address': '127.0.0.1',
    'client.ip': '127.0.0.1',
    'client.user.id': 'acme',
    'http.request.method': 'GET',
    'http.version': '1.1',
    'network.protocol': 'http',
    'url.domain': 'shop.example',
    'url.port': 8443,
    'url.path': '/x',
    message: 'GET 200 ok',
    'http.response.status_code': 200,
    'sluice.grpc_status': null,
    'event.reason': 'ok',
    'event.outcome': 'success',
    'http.request.body.bytes': 0,
    'http.response.body.bytes': 5,
    'event.duration': 1_235_000,
    'sluice.upstream_ms': 1.2,
    'sluice.queue_ms': null,
    'sluice.limiter_ms': null,
    'sluice.backend': 'b1',
    'sluice.attempts': 0,
    'sluice.route': null,
    'sluice.policies': ['day'],
    'user_agent.original': 'curl/8',
    'service.name': 'sluice',
    'event.dataset': 'sluice.access',
    'ecs.version': '8.17.0',
  });
  // A caller without an address, a name of its own as a literal, and what is not HTTP/1.1.
  const other = { ...RECORD, clientIp: 'unix:', host: '[::1]', status: 502, totalMs: 0 };
  const lines = ['h2', 'websocket', null].map((protocol) =>
    JSON.parse(ecsAccessLine({ ...other, protocol })),
  );
  assert.deepEqual(
    lines.map((line) => [
      line['http.version'],
      line['network.protocol'],
      line['client.ip'],
      line['url.domain'],
    ]),
    [
      ['2', 'http', null, '[::1]'],
      [null, 'websocket', null, '[::1]'],
      [null, 'http', null, '[::1]'],
    ],
  );
  assert.deepEqual([lines[0]['event.outcome'], lines[0]['event.duration']], ['failure', 0]);
  const outcomes = (
    [
      ['ok', 200, null],
      ['ok', 404, null],
      ['upstream_reset', 200, null],
      ['ok', 200, 0],
      ['ok', 200, 5],
      ['limited', 200, 8],
      ['client_abort', 499, 0],
    ] as const
  ).map(([reason, status, grpcStatus]) =>
    JSON.parse(ecsAccessLine({ ...RECORD, reason, status, grpcStatus })),
  );
  assert.deepEqual(
    outcomes.map((line) => line['event.outcome'] === 'success'),
    [true, false, false, true, false, false, false],
  );
});
