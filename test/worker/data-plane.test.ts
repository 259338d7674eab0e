/** The traffic part of a worker, without its process. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ClientDirectory } from '../../src/clients/client-directory.ts';
import { systemClock } from '../../src/contract/clock.ts';
import type { WorkerSettings } from '../../src/contract/settings.ts';
import { DeadlineTimer } from '../../src/infra/deadline-timer.ts';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { PROTOCOL_VERSION } from '../../src/infra/protocol-version.ts';
import { WorkerMetrics } from '../../src/infra/worker-metrics.ts';
import { Limiter } from '../../src/limit/limiter/limiter.ts';
import { DataPlane } from '../../src/worker/data-plane.ts';
import { freePort } from '../support/free-port.ts';
import { workerSettings } from '../support/settings.ts';

const settingsMessage = (revision: number, settings: WorkerSettings) => ({
  type: 'settings' as const,
  ...{ revision, settings, policyVersionUs: 1, states: [], panics: [], storeWorkers: 1 },
});

test('a reset that comes during a reload is for the limiter that requests ask then', async (t) => {
  const before = workerSettings({ listen: [] });
  const plane = await DataPlane.open(settingsMessage(1, before), {
    ...{ protocol: PROTOCOL_VERSION, workerIndex: 0, workerCount: 1, replacement: false, tls: null },
    ...{ listenFds: {}, orphanFolder: null, sockets: new Map(), challenges: new Map() },
    dataPath: { wire: 'socket', engine: 'wire' },
    log: before.log,
    logger: makeLogger({ level: 'silent', format: 'json' }),
    timer: new DeadlineTimer({ clock: systemClock, onError: assert.ifError }),
    metrics: new WorkerMetrics(),
    lookup: new ClientDirectory(systemClock),
    accessLog: { write: () => undefined },
    send: () => true,
  });
  t.after(() => plane.drain({ graceMs: 0, drainMs: 0 }));
  const calls: [string, Limiter][] = [];
  for (const name of ['configure', 'resetBucket'] as const)
    t.mock.method(Limiter.prototype, name, function (this: Limiter) {
      calls.push([name, this]);
    });
  const reset = () => plane.receive({ type: 'bucket-reset', keys: ['k'] }, null);
  reset();
  const servers = { kind: 'single' as const, url: `redis://127.0.0.1:${await freePort()}` };
  const redis = { servers, prefix: 'p', timeoutMs: 20 };
  const tracing = { endpoint: 'http://127.0.0.1:1', sample: 1 };
  let isOver = false;
  const applied = plane.applySettings(settingsMessage(2, { ...before, redis, tracing })).then(() => {
    isOver = true;
  });
  while (!isOver) {
    reset();
    await nextTurn();
  }
  await applied;
  reset();
  const former = calls[0]?.[1];
  const switched = calls.findIndex(([name]) => name === 'configure');
  assert.ok(switched > 1, `${switched}`);
  assert.notEqual(calls[switched]?.[1], former);
  assert.ok(calls.slice(0, switched).every(([, limiter]) => limiter === former));
  assert.ok(calls.slice(switched).every(([, limiter]) => limiter !== former));
});
