/** Twenty reloads under load, and then the end under load. */
import { nowMs } from '../../rig/outcomes.ts';
import { atMost, type Fault } from '../fault.ts';
import { inWords, noneFailed } from '../stage.ts';

export const sigterm: Fault = {
  name: 'sigterm',
  title: '20 reloads under load, then SIGTERM under load',
  async run(stage) {
    const backends = await stage.backends();
    const subject = await stage.subject(backends);
    const load = await stage.load(subject);
    await stage.quiet(load);
    const from = nowMs();
    for (let count = 1; count <= stage.of(20, 3); count += 1) {
      await subject.reload(stage.setup(backends, { answerMs: 1_000 + count }));
      await stage.pause(stage.of(0.5, 0.1));
    }
    const reloaded = await load.settled(from, nowMs());
    const endsAt = nowMs();
    const code = await subject.stop();
    const sec = (nowMs() - endsAt) / 1_000;
    await load.stop();
    // Who connects after the grace is refused, which a balancer in front notices before; who is connected is not cut off.
    const { failures, failed } = load.table.tally(endsAt);
    const lost = failed - (failures.refused ?? 0);
    const inGrace = load.table.tally(endsAt, endsAt + stage.setup(backends).graceMs * 0.9);
    return [
      noneFailed(reloaded, '0 failed by reloads'),
      noneFailed(inGrace, '0 failed in the second of grace after SIGTERM'),
      atMost('nobody who is connected is cut off', lost, 0, {
        unit: ' cut',
        more: inWords({ failures }),
        exact: true,
      }),
      atMost('exit 0', code ?? 255, 0, { more: `after ${sec.toFixed(1)} s`, exact: true }),
    ];
  },
};
