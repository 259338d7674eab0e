/** The process that manages the others is killed, and a supervisor starts it again. */
import { waitFor } from '../../../test/support/wait.ts';
import { nowMs } from '../../rig/outcomes.ts';
import { atMost, type Fault } from '../fault.ts';
import { noneFailed } from '../stage.ts';

export const primaryKilled: Fault = {
  name: 'primary-killed',
  title: 'kill -9 of the primary under a supervisor, 5 times',
  async run(stage) {
    const subject = await stage.subject(await stage.backends(), { supervised: true });
    const load = await stage.load(subject);
    await stage.quiet(load);
    const from = nowMs();
    for (let count = 0; count < stage.of(5, 1); count += 1) {
      const pid = await waitFor('a primary', () => subject.primaryPid());
      process.kill(pid, 'SIGKILL');
      await stage.pause(stage.of(6, 3));
    }
    const during = await load.settled(from, nowMs());
    return [
      atMost('0 refused connections', during.failures.refused ?? 0, 0, { exact: true }),
      noneFailed(during, '0 failed requests'),
    ];
  },
};
