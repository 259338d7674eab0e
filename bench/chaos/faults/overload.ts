/** A backend whose speed collapses beyond its capacity is offered three times of it. */
import { nowMs, type Tally } from '../../rig/outcomes.ts';
import { SERVICE_MS, SLOTS } from '../chaos-backend.ts';
import { atLeast, atMost, type Fault } from '../fault.ts';
import { MemorySamples } from '../resources.ts';
import { inWords } from '../stage.ts';

const CAPACITY_PER_SEC = (SLOTS * 1_000) / SERVICE_MS;
/** As many as an open loop needs: with few, the load itself would keep the backend from being overloaded. */
const CONNECTIONS = 1_024;
const MOST_GROWTH_MIB = 32;

export const overload: Fault = {
  name: 'overload',
  title: '3 × the capacity of a backend that collapses, for 60 s',
  missingIn: () => 'it has no limit of concurrency that follows latency',
  async run(stage) {
    const [backend] = await stage.backends(1);
    await backend!.behave('collapse');
    const subject = await stage.subject([backend!], { adaptive: true });
    const options = { connections: CONNECTIONS, openFirst: false };
    const best = await stage.load(subject, { ...options, ratePerSec: CAPACITY_PER_SEC * 0.9 });
    await stage.pause(stage.of(2, 0.5));
    const [bestFrom, bestSec] = [nowMs(), stage.of(5, 1)];
    await stage.pause(bestSec);
    const bestPerSec = best.table.tally(bestFrom, bestFrom + bestSec * 1_000).good / bestSec;
    await best.stop();
    const load = await stage.load(subject, { ...options, ratePerSec: CAPACITY_PER_SEC * 3 });
    const memory = new MemorySamples(subject);
    stage.defer(() => memory.stop());
    const [from, sec] = [nowMs(), stage.of(60, 3)];
    await stage.pause(sec);
    const during = await load.settled(from, from + sec * 1_000);
    memory.stop();
    const goodPercent = (during.good / sec / bestPerSec) * 100;
    return [
      atLeast('goodput ≥ 90 % of the best', goodPercent, 90, {
        unit: ' %',
        more: offered(during, bestPerSec),
      }),
      atMost('p99 of the admitted ≤ 250 ms', during.p99Ms, 250, { unit: ' ms' }),
      atMost(`memory level (≤ ${MOST_GROWTH_MIB} MiB)`, memory.grownMiB(), MOST_GROWTH_MIB, {
        unit: ' MiB more',
        digits: 1,
      }),
    ];
  },
};

function offered(during: Tally, bestPerSec: number): string {
  return `best ${bestPerSec.toFixed(0)}/s, offered ${CAPACITY_PER_SEC * 3}/s; ${inWords(during)}`;
}
