/** All processes are replaced, one after the other, again and again. */
import { nowMs } from '../../rig/outcomes.ts';
import type { Fault } from '../fault.ts';
import { noneFailed, type Stage } from '../stage.ts';
import type { Setup, Subject } from '../subjects/subject.ts';

async function replaced(
  stage: Stage,
  { times, more = {}, replace }: { times: number; more?: Partial<Setup>; replace(of: Subject): unknown },
) {
  const subject = await stage.subject(await stage.backends(), more);
  const load = await stage.load(subject);
  // Each connection is idle for some 0.4 s after each answer.
  const seldom = await stage.load(subject, { connections: 64, ratePerSec: 150 });
  await stage.quiet(load);
  const from = nowMs();
  for (let count = 0; count < times; count += 1) await replace(subject);
  const to = nowMs();
  return [
    noneFailed(await load.settled(from, to)),
    noneFailed(await seldom.settled(from, to), '0 failed on connections that are mostly idle'),
  ];
}

export const roll: Fault = {
  name: 'roll',
  title: 'rolling restart of all workers × 20',
  run: (stage) => replaced(stage, { times: stage.of(20, 1), replace: (subject) => subject.roll() }),
};

export const primaryReplaced: Fault = {
  name: 'primary-replaced',
  title: 'primary replaced × 5 (SIGUSR2 under systemd)',
  missingIn: () => 'it is replaced in another way, which is not injected here',
  run: (stage) =>
    replaced(stage, {
      ...{ times: stage.of(5, 1), more: { systemd: true } },
      replace: (subject) => subject.replacePrimary?.(),
    }),
};
