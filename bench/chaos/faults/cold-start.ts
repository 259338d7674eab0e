/** A server meets its full load in the moment in which it is ready. */
import { nowMs } from '../../rig/outcomes.ts';
import type { Fault } from '../fault.ts';
import { calm, noneFailed } from '../stage.ts';

export const coldStart: Fault = {
  name: 'cold-start',
  title: 'cold start into full load',
  async run(stage) {
    const subject = await stage.subject(await stage.backends());
    const load = await stage.load(subject, { openFirst: false });
    const from = nowMs();
    const warmMs = from + 2_000;
    await stage.pause(stage.of(6, 3));
    const [early, after] = [await load.settled(from, warmMs), await load.settled(warmMs, nowMs())];
    await stage.pause(stage.of(4, 0.1));
    const from2 = nowMs();
    await stage.pause(stage.of(4, 1));
    const quiet = await load.settled(from2, nowMs());
    return [noneFailed(early, 'no spike of errors'), calm(after, quiet, 2)];
  },
};
