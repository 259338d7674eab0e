import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LINE_BYTES } from '../../../src/infra/logging/line-sink.ts';
import { type AccessRecord, accessLine } from '../../../src/proxy/access-log.ts';

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
      const line = accessLine({ ...RECORD, path, userAgent, host: other, route: other, backend: other });
      assert.ok(Buffer.byteLength(line) <= LINE_BYTES + 1, `${Buffer.byteLength(line)} bytes`);
      assert.equal(line.indexOf('\n'), line.length - 1);
      const parsed: AccessRecord = JSON.parse(line);
      assert.ok(path.startsWith(parsed.path ?? '-'));
      assert.ok(userAgent.startsWith(parsed.userAgent ?? '-'));
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
