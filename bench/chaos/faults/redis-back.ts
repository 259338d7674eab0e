/** The store of the limits goes away, and comes back, while many clients are served. */
import { startRedis } from '../../../test/support/redis.ts';
import { nowMs } from '../../rig/outcomes.ts';
import type { Fault } from '../fault.ts';
import { calm, noneFailed } from '../stage.ts';

const CLIENTS = 10_000;

export const redisBack: Fault = {
  name: 'redis-back',
  title: 'Redis away for 60 s and back, with 10,000 clients',
  missingIn: () => 'it limits without Redis',
  async run(stage) {
    const redis = await startRedis();
    stage.defer(() => redis.stop());
    const subject = await stage.subject(await stage.backends(), { redisUrl: redis.url });
    const load = await stage.load(subject, { clients: CLIENTS });
    await stage.pause(stage.of(6, 0));
    const quiet = await stage.quiet(load);
    const from = nowMs();
    await redis.stop();
    await stage.pause(stage.of(60, 1.5));
    await redis.start();
    const backAt = nowMs();
    await stage.pause(stage.of(8, 3));
    const until = nowMs();
    return [
      noneFailed(await load.settled(from, until), 'no spike of errors'),
      calm(await load.settled(backAt + 2_000, until), quiet, 2),
    ];
  },
};
