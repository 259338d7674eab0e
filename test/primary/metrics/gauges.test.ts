import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WorkerReport } from '../../../src/contract/messages.ts';
import { PrimaryGauges } from '../../../src/primary/metrics/gauges.ts';
import { MetricsCollector } from '../../../src/primary/metrics/metrics-collector.ts';

const REPORT = { connections: 3, inFlight: 2, breakerOpen: true, backendsInFlight: [] };

test('gauges of the fleet are sums over the workers that have reported, and end with their worker', async () => {
  const reports: (Partial<WorkerReport> | null)[] = [REPORT, { ...REPORT, breakerOpen: false }, null];
  const gauges = new PrimaryGauges({
    collector: new MetricsCollector(),
    supervisor: {
      counts: () => ({ starting: 0, serving: 3, draining: 0 }),
      restartCount: 0,
      workers: () => reports.map((report, index) => ({ index, report })),
    },
    registry: { states: () => [] },
    reloader: {
      last: {},
      current: { number: 1, settings: { routes: [], pools: [], rateLimit: { policies: [] } } },
    },
    dataPath: { engine: 'wire', wire: 'handle' },
    droppedLines: () => 0,
  } as unknown as ConstructorParameters<typeof PrimaryGauges>[0]);
  const read = async () => {
    const text = await gauges.text();
    const names = ['sluice_requests_in_flight', 'sluice_connections_open', 'sluice_ratelimit_breaker_open'];
    return names.map((name) => new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1]);
  };
  assert.deepEqual(await read(), ['4', '6', '1']);
  reports[0] = null;
  assert.deepEqual(await read(), ['2', '3', '0']);
});
