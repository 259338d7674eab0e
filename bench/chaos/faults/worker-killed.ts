/** Worker processes are killed, one a second. */
import { waitFor } from '../../../test/support/wait.ts';
import { nowMs } from '../../rig/outcomes.ts';
import { atMost, type Fault } from '../fault.ts';
import { inWords } from '../stage.ts';

const CONNECTIONS = 64;

export const workerKilled: Fault = {
  name: 'worker-killed',
  title: 'kill -9 of a worker every second for a minute',
  missingIn: (peer) => (peer === 'haproxy' ? 'its threads are one process' : ''),
  async run(stage) {
    const backends = await stage.backends();
    const subject = await stage.subject(backends);
    const load = await stage.load(subject, { connections: CONNECTIONS });
    await stage.quiet(load);
    const from = nowMs();
    const kills = stage.of(60, 3);
    let most = 0;
    for (let killed = 0; killed < kills; killed += 1) {
      const at = nowMs();
      const pids = await waitFor('two workers', () => {
        const running = subject.workerPids();
        return running.length >= 2 && running;
      });
      process.kill(stage.random.pick(pids), 'SIGKILL');
      await stage.pause(1);
      most = Math.max(most, (await load.settled(at, nowMs())).failed);
    }
    const during = await load.settled(from, nowMs());
    const { cut = 0, broken = 0 } = during.failures;
    return [
      atMost('only requests in flight on that worker fail', during.failed - cut - broken, 0, {
        ...{ unit: ' others', exact: true },
        more: `${during.failed} of ${during.due} failed: ${inWords(during) || 'none'}`,
      }),
      atMost('at most one per connection and kill', most, CONNECTIONS, {
        unit: ' by the worst kill',
        exact: true,
      }),
    ];
  },
};
