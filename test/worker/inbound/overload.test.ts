import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../src/contract/clock.ts';
import { DeadlineTimer } from '../../../src/infra/deadline-timer.ts';
import { makeLogger } from '../../../src/infra/logging/logger.ts';
import { NOWHERE } from '../../../src/infra/placed-list.ts';
import { WorkerMetrics } from '../../../src/infra/worker-metrics.ts';
import type { Handler } from '../../../src/proxy/handler.ts';
import type { Plan } from '../../../src/proxy/plan.ts';
import type { InboundConnection } from '../../../src/worker/inbound/base-connection.ts';
import { InboundServer } from '../../../src/worker/inbound/server.ts';
import { engineOf } from '../../proxy/support.ts';

test('when too much waits in a worker, the connection with most bytes is cut, not the one whose bytes came last', () => {
  const limits = { connections: 0, connectionsPerIp: 0 };
  const server = new InboundServer({
    plan: () => ({ limits }) as Plan,
    handler: {} as Handler,
    timer: new DeadlineTimer({ clock: systemClock, onError: assert.ifError }),
    metrics: new WorkerMetrics(),
    logger: makeLogger({ level: 'fatal', format: 'json' }),
    engine: engineOf('wire'),
  });
  const cut: number[] = [];
  const admit = (waitingBytes: number): InboundConnection => {
    const connection = {
      peerAddress: '127.0.0.1',
      place: NOWHERE,
      counted: false,
      waitingBytes,
      destroy: () => {
        cut.push(waitingBytes);
        server.onConnectionClosed(connection);
      },
    } as InboundConnection;
    assert.ok(server.admit(connection));
    return connection;
  };
  const [, , last] = [admit(10_000), admit(30_000), admit(20_000)];
  assert.ok(last !== undefined);
  server.onOverload(last);
  assert.deepEqual(cut, [30_000]);
  server.onOverload(last);
  assert.deepEqual(cut, [30_000, 20_000], 'the one whose bytes came last, where it has most');
});
