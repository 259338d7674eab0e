/** Many reloads that change weights, backends and listeners. */
import { ask } from '../../../test/cluster/support.ts';
import { freePort } from '../../../test/support/free-port.ts';
import { nowMs } from '../../rig/outcomes.ts';
import { atMost, type Fault } from '../fault.ts';
import { filesBack, MemorySamples, openFiles } from '../resources.ts';
import { noneFailed, type Stage } from '../stage.ts';
import type { Setup, Subject } from '../subjects/subject.ts';

const PERIOD_SEC = 0.6;
const MOST_GROWTH_MIB = 16;

export const reloads: Fault = {
  name: 'reloads',
  title: '100 reloads in 60 s with changing weights, backends, listeners',
  async run(stage) {
    const backends = await stage.backends(4);
    const [setup, ports] = [stage.setup(backends), [await freePort(), await freePort()]];
    const subject = await stage.subject(backends);
    const changing = await subject.reload({ ...setup, ports }).then(
      () => true,
      () => false,
    );
    if (changing) await subject.reload(setup);
    const files = openFiles(subject);
    const load = await stage.load(subject);
    await stage.quiet(load);
    const memory = new MemorySamples(subject);
    stage.defer(() => memory.stop());
    const from = nowMs();
    for (let count = 1; count <= stage.of(100, 5); count += 1) {
      const next = changed(stage, setup, changing ? ports : []);
      await Promise.all([reloadTo(subject, next), stage.pause(PERIOD_SEC)]);
    }
    const during = await load.settled(from, nowMs());
    memory.stop();
    await subject.reload(setup);
    await load.stop();
    return [
      noneFailed(during, '0 failed'),
      { bar: 'listeners change too', measured: changing ? 'yes' : 'no', reached: changing, exact: false },
      atMost(`memory level (≤ ${MOST_GROWTH_MIB} MiB)`, memory.grownMiB(), MOST_GROWTH_MIB, {
        unit: ' MiB more',
        digits: 1,
      }),
      await filesBack(subject, backends, files),
    ];
  },
};

/** Two to four of the backends with random weights, and each further port in one of two cases. */
function changed({ random }: Stage, setup: Setup, ports: number[]): Setup {
  const leftOut = new Set(random.oneIn(2) ? [random.below(4), random.below(4)] : []);
  return {
    ...setup,
    backends: setup.backends
      .filter((_, i) => !leftOut.has(i))
      .map(({ port }) => ({ port, weight: 1 + random.below(5) })),
    ports: ports.filter(() => random.oneIn(2)),
  };
}

/** What is open after a reload serves at once. */
async function reloadTo(subject: Subject, setup: Setup): Promise<void> {
  await subject.reload(setup);
  for (const port of setup.ports ?? []) {
    const { status } = await ask(`http://127.0.0.1:${port}/`);
    if (status !== 200) throw new Error(`a new listener answers ${status}`);
  }
}
