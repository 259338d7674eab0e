/** A long time at a moderate load, with reloads, backends that die, and clients that come and go. */
import { nowMs } from '../../rig/outcomes.ts';
import { atMost, type Fault } from '../fault.ts';
import { filesBack, MemorySamples, openFiles } from '../resources.ts';
import { noneFailed } from '../stage.ts';

const TURN_SEC = 10;

export const soak: Fault = {
  name: 'soak',
  title: 'soak with reloads, killed backends and changing clients',
  async run(stage) {
    const backends = await stage.backends();
    const setup = stage.setup(backends);
    const subject = await stage.subject(backends);
    const files = openFiles(subject);
    const sec = stage.of(stage.soakMin * 60, 4);
    const turnSec = stage.of(TURN_SEC, 1);
    const load = await stage.load(subject, { clients: 1_000, requestsPerConnection: 200, mostSec: sec + 60 });
    const memory = new MemorySamples(subject);
    stage.defer(() => memory.stop());
    const from = nowMs();
    while (nowMs() - from < sec * 1_000) {
      const victim = stage.random.pick(backends);
      await victim.kill();
      await subject.reload({ ...setup, answerMs: 1_000 + stage.random.below(1_000) });
      await stage.pause(turnSec / 2);
      await victim.restart();
      await stage.pause(turnSec / 2);
    }
    const during = await load.settled(from, nowMs());
    memory.stop();
    await load.stop();
    return [
      noneFailed(during, '0 errors'),
      atMost('slope of RSS ≤ 1 MiB/min', memory.slopeMiBPerMin(), 1, { unit: ' MiB/min', digits: 2 }),
      await filesBack(subject, backends, files),
    ];
  },
};
