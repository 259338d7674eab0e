import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allowed, callerOf, policyOf } from '../limit/limiter/limiter-lab.ts';
import { startRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { makeFleet } from './limiter-fleet.ts';
import { FLEET_SIZE, openFleet, proveOutage, recovered, startTraffic } from './outage-lab.ts';

const TIMEOUT = { timeout: 60_000 };
const policy = policyOf({ capacity: 1_000, refillPerSecond: 0.001 });

test(
  'B32: limiters whose Redis is killed and started again answer at once, and use it again within 5 s',
  TIMEOUT,
  async (t) => {
    const outage = await openFleet(t);
    const { server } = outage;
    await proveOutage(outage, {
      breakIt: () => server.signal('SIGKILL'),
      mend: () => server.restart(),
      keepsBuckets: false,
    });
  },
);

test(
  'B32: limiters whose Redis is frozen and thawed answer within the deadline, and use it again within 5 s',
  TIMEOUT,
  async (t) => {
    const outage = await openFleet(t);
    const { server } = outage;
    await proveOutage(outage, {
      breakIt: () => server.signal('SIGSTOP'),
      mend: () => server.signal('SIGCONT'),
    });
  },
);

test(
  'B32: limiters whose Redis is restarted use it again within 5 s, and admit one capacity more at most',
  TIMEOUT,
  async (t) => {
    const { server, fleet } = await openFleet(t, { policy });
    const caller = callerOf('203.0.113.7');
    const takeTooMany = () =>
      Promise.all(
        fleet.workers.flatMap(({ limiter }) =>
          Array.from({ length: 400 }, async () => limiter.take(caller, policy, 1)),
        ),
      );
    const before = await takeTooMany();
    await server.restart();
    await recovered(fleet);
    const after = await takeTooMany();
    const granted = [...before, ...after].filter(({ source }) => source !== 'local');
    assert.ok(allowed(granted) <= 2 * policy.capacity);
    assert.ok(
      granted.some(({ allowed: yes }) => !yes),
      'more was asked for than there is',
    );
  },
);

test(
  'B32: limiters whose Redis is frozen for long, so that connections die, use it again within 5 s',
  TIMEOUT,
  async (t) => {
    const { server, fleet } = await openFleet(t);
    server.signal('SIGSTOP');
    const traffic = startTraffic(fleet);
    try {
      await waitFor('the silent connections to be cut', () =>
        fleet.workers.every(({ store }) => !store.available),
      );
      server.signal('SIGCONT');
      await recovered(fleet);
    } finally {
      await traffic.stop();
    }
  },
);

test(
  'B32: limiters whose Redis is away share the limit, and a Redis that comes and goes mints nothing',
  TIMEOUT,
  async (t) => {
    const { server, fleet } = await openFleet(t, { policy });
    const caller = callerOf('203.0.113.7');
    const takeAll = async (each: number) => {
      const answers = fleet.workers.flatMap(({ limiter }) =>
        Array.from({ length: each }, async () => limiter.take(caller, policy, 1)),
      );
      return Promise.all(answers);
    };
    assert.equal(allowed(await takeAll(100)), 400);
    await server.stop();
    await waitFor('every worker to know', async () => {
      await takeAll(0);
      return fleet.workers.every(({ store }) => !store.available);
    });
    // Each knows the level after its own batch: between 600 and 900 of 1,000; its share is a quarter.
    const first = allowed(await takeAll(400));
    assert.ok(first >= 600 && first <= 900, `${first} of the 600 that are left`);
    assert.equal(allowed(await takeAll(100)), 0);
    await server.start();
    await fleet.ready();
    await recovered(fleet);
    await server.stop();
    await waitFor('every worker to know again', () => fleet.workers.every(({ store }) => !store.available));
    assert.ok(allowed(await takeAll(100)) <= FLEET_SIZE, 'the shares are still spent');
  },
);

test(
  'B32: limiters whose Redis was never there start all the same, local until it comes',
  TIMEOUT,
  async (t) => {
    const server = await startRedis();
    t.after(() => server.stop());
    await server.stop();
    const fleet = makeFleet(server.url, 2, { policies: [policy] });
    t.after(() => fleet.close());
    for (const { limiter } of fleet.workers) {
      const decision = limiter.take(callerOf('a'), policy, 1);
      assert.ok(!(decision instanceof Promise) && decision.source === 'local');
    }
    await server.start();
    await recovered(fleet);
  },
);
