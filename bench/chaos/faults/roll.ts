/** All workers are replaced, one after the other, again and again. */
import { nowMs } from '../../rig/outcomes.ts';
import type { Fault } from '../fault.ts';
import { noneFailed } from '../stage.ts';

export const roll: Fault = {
  name: 'roll',
  title: 'rolling restart of all workers × 20',
  async run(stage) {
    const backends = await stage.backends();
    const subject = await stage.subject(backends);
    const load = await stage.load(subject);
    await stage.quiet(load);
    const from = nowMs();
    for (let count = 0; count < stage.of(20, 1); count += 1) await subject.roll();
    return [noneFailed(await load.settled(from, nowMs()))];
  },
};
