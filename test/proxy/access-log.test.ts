import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type AccessRecord, accessLine, LINE_BYTES } from '../../src/proxy/access-log.ts';

const RECORD: AccessRecord = {
  time: '2026-01-02T03:04:05.678Z',
  requestId: 'r-1',
  traceId: null,
  clientIp: '127.0.0.1',
  clientId: null,
  method: 'GET',
  host: 'a',
  path: '/x',
  status: 200,
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
  userAgent: null,
};

test('B36: a line is one JSON object with every key, absent values null, times with three decimals', () => {
  const line = accessLine(RECORD);
  assert.equal(line.indexOf('\n'), line.length - 1);
  assert.deepEqual(JSON.parse(line), { ...RECORD, totalMs: 1.235 });
  assert.deepEqual(
    Object.keys(JSON.parse(line)).join(' '),
    'time requestId traceId clientIp clientId method host path status reason bytesIn bytesOut totalMs upstreamMs ' +
      'queueMs limiterMs backend attempts route userAgent',
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
