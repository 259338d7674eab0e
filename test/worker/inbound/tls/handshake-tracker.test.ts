import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FaultLog } from '../../../../src/infra/logging/fault-log.ts';
import { WorkerMetrics } from '../../../../src/infra/worker-metrics.ts';
import { HandshakeTracker } from '../../../../src/worker/inbound/tls/handshake-tracker.ts';

test('handshakes that fail are counted always, and logged once per kind and second', () => {
  let nowMs = 0;
  const lines: unknown[] = [];
  const metrics = new WorkerMetrics();
  const log = new FaultLog({ monotonicMs: () => nowMs }, (facts) => lines.push(facts));
  const handshakes = new HandshakeTracker(metrics, log);
  for (let i = 0; i < 100; i++) {
    handshakes.failed('failed', 'ERR_SSL_NO_SHARED_CIPHER', '192.0.2.1');
    handshakes.failed('timeout', 'timeout', '192.0.2.1');
  }
  assert.deepEqual(lines, [
    { result: 'failed', kind: 'ERR_SSL_NO_SHARED_CIPHER', clientIp: '192.0.2.1', err: undefined },
    { result: 'timeout', kind: 'timeout', clientIp: '192.0.2.1', err: undefined },
  ]);
  nowMs = 1_000;
  handshakes.failed('timeout', 'timeout', '192.0.2.1');
  assert.equal(lines.length, 3);
  const { cells } = metrics.takeDelta();
  assert.deepEqual(
    cells.filter((_, i) => i % 2 === 1),
    [100, 101],
  );
});
