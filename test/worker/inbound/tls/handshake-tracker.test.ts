import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Logger } from '../../../../src/infra/logging/logger.ts';
import { OncePerSecond } from '../../../../src/infra/logging/once-per-second.ts';
import { WorkerMetrics } from '../../../../src/infra/worker-metrics.ts';
import { HandshakeTracker } from '../../../../src/worker/inbound/tls/handshake-tracker.ts';

test('handshakes that fail are counted always, and logged once per kind and second', () => {
  let nowMs = 0;
  const lines: unknown[] = [];
  const metrics = new WorkerMetrics();
  const handshakes = new HandshakeTracker({
    metrics,
    logger: { info: (facts: unknown) => lines.push(facts) } as unknown as Logger,
    lines: new OncePerSecond({ monotonicMs: () => nowMs }),
  });
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
