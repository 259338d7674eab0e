import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { RedisServer } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { openOperator } from './connect.ts';
import { type FaultyWire, startFaultyWire } from './faulty-wire.ts';
import {
  assertBooks,
  assertOneLinePerChange,
  assertPatience,
  metricSum,
  openFleet,
  proveOutage,
  recovered,
  startTraffic,
} from './outage-lab.ts';

const TIMEOUT = { timeout: 60_000 };

async function openWired(t: TestContext) {
  let wire: FaultyWire | undefined;
  const outage = await openFleet(t, {
    wire: async (server) => {
      wire = await startFaultyWire(server.port);
      t.after(() => wire?.close());
      return wire.url;
    },
  });
  assert.ok(wire);
  return { ...outage, wire };
}

async function operatorOf(t: TestContext, server: RedisServer) {
  const operator = await openOperator(server.url);
  t.after(() => operator.close());
  return operator.client;
}

test(
  'B32: limiters whose Redis takes 200 ms to answer do not wait for it, and use it again within 5 s',
  TIMEOUT,
  async (t) => {
    const { wire, ...outage } = await openWired(t);
    await proveOutage(outage, {
      breakIt: () => {
        wire.delayMs = 200;
      },
      mend: () => {
        wire.delayMs = 0;
      },
    });
  },
);

test(
  'B32: limiters whose Redis is out of memory decide alone, and use it again within 5 s',
  TIMEOUT,
  async (t) => {
    const outage = await openFleet(t);
    const operator = await operatorOf(t, outage.server);
    await proveOutage(outage, {
      breakIt: () => operator.config('SET', 'maxmemory', '1'),
      mend: () => operator.config('SET', 'maxmemory', '0'),
    });
  },
);

test(
  'B32: limiters whose Redis has become a read-only replica decide alone, and use it again within 5 s',
  TIMEOUT,
  async (t) => {
    const outage = await openFleet(t);
    const operator = await operatorOf(t, outage.server);
    await proveOutage(outage, {
      breakIt: () => operator.replicaof('127.0.0.1', '1'),
      mend: () => operator.replicaof('NO', 'ONE'),
    });
  },
);

test(
  'B32: limiters whose Redis has another password now decide alone, and use it again within 5 s',
  TIMEOUT,
  async (t) => {
    const outage = await openFleet(t);
    const operator = await operatorOf(t, outage.server);
    await proveOutage(outage, {
      breakIt: async () => {
        await operator.config('SET', 'requirepass', 'another');
        await operator.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      },
      mend: () => operator.config('SET', 'requirepass', ''),
    });
  },
);

test(
  'B32: limiters whose Redis forgets its scripts in the middle of batches notice nothing',
  TIMEOUT,
  async (t) => {
    const outage = await openFleet(t);
    const operator = await operatorOf(t, outage.server);
    const traffic = startTraffic(outage.fleet);
    try {
      for (let flushed = 0; flushed < 50; flushed++) {
        const before = traffic.waitsMs.length;
        await operator.script('FLUSH', 'SYNC');
        await waitFor('traffic', () => traffic.waitsMs.length > before + 20);
      }
    } finally {
      await traffic.stop();
    }
    assert.match(await operator.info('commandstats'), /cmdstat_eval:calls=/, 'scripts were sent again');
    assert.equal(metricSum(outage.fleet, 'sluice_ratelimit_store_calls_total', 'error'), 0);
    assertPatience(traffic);
    await assertBooks(outage, traffic);
  },
);

test(
  'B32: limiters whose Redis is cut off in the middle of replies lose tokens at most, and use it again within 5 s',
  TIMEOUT,
  async (t) => {
    const { wire, ...outage } = await openWired(t);
    const { fleet } = outage;
    const traffic = startTraffic(fleet);
    const cuts = [0, 1, 5, 10, 40, 70];
    try {
      await waitFor('leases', () => traffic.counts.lease > 500);
      for (const [index, afterBytes] of cuts.entries()) {
        wire.cutNext([afterBytes]);
        await waitFor('the cut', () => wire.cutCount > index);
      }
      await recovered(fleet);
    } finally {
      await traffic.stop();
    }
    assert.ok(traffic.counts.local > 0);
    assertPatience(traffic);
    assertOneLinePerChange(fleet, { everyOne: false });
    await assertBooks(outage, traffic);
  },
);
