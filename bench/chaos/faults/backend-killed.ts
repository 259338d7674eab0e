/** A backend process is killed, and started again later. */
import { metricOf } from '../../../test/cluster/support.ts';
import { waitFor } from '../../../test/support/wait.ts';
import { nowMs, type OutcomeTable } from '../../rig/outcomes.ts';
import { atMost, type Fault, type Finding } from '../fault.ts';
import { noneFailed, type Stage } from '../stage.ts';
import type { Subject } from '../subjects/subject.ts';

const VICTIM = 'b';

export const backendKilled: Fault = {
  name: 'backend-killed',
  title: 'one of three backends killed; restarted',
  async run(stage) {
    const backends = await stage.backends();
    const [, victim] = backends;
    const subject = await stage.subject(backends);
    const load = await stage.load(subject);
    await stage.quiet(load);
    const killedAt = nowMs();
    await victim!.kill();
    const gone = await goneSec(subject, victim!.port, killedAt);
    await stage.pause(stage.of(4, 1));
    await victim!.restart();
    const startedAt = nowMs();
    await stage.pause(stage.of(13, 2.5));
    const until = nowMs();
    const during = await load.settled(killedAt, until);
    return [
      noneFailed(during, '0 failed idempotent requests'),
      ...(gone === null ? [] : [atMost('its share is gone within 1 s', gone, 1, { unit: ' s', digits: 2 })]),
      ...backFindings(stage, load.table, { startedAt, until }),
    ];
  },
};

/** When Sluice says that the backend is down; null for other servers, which do not say so in the same way. */
async function goneSec(subject: Subject, port: number, killedAt: number): Promise<number | null> {
  if (subject.sluice === null) return null;
  const { adminUrl } = subject.sluice;
  await waitFor('the backend to be down', async () => {
    const labels = { backend: `127.0.0.1:${port}` };
    return (await metricOf(adminUrl, 'sluice_backend_up', labels)) === 0;
  });
  return (nowMs() - killedAt) / 1_000;
}

/** The first answer of the backend, and its share of the answers in the first second since then and at the end. */
function backFindings(
  stage: Stage,
  table: OutcomeTable,
  { startedAt, until }: { startedAt: number; until: number },
): Finding[] {
  const probesSec = (2 * stage.of(1_000, 300) * 1.1) / 1_000 + 0.3;
  const first = [...table.rowsBetween(startedAt, until)].find(
    (row) => table.backend[row] === VICTIM.charCodeAt(0),
  );
  if (first === undefined)
    return [{ bar: 'back within 2 probes', measured: 'not back', reached: false, exact: true }];
  const backAt = table.dueMs[first]!;
  const windowMs = stage.of(1_000, 300);
  const shareOf = (fromMs: number) => {
    const { good, backends } = table.tally(fromMs, fromMs + windowMs);
    return ((backends[VICTIM] ?? 0) / good) * 100;
  };
  const [early, late] = [shareOf(backAt), shareOf(until - windowMs)];
  return [
    atMost('back within 2 probes', (backAt - startedAt) / 1_000, probesSec, { unit: ' s', digits: 1 }),
    {
      bar: 'its share rises',
      measured: `${early.toFixed(0)} % at first, then ${late.toFixed(0)} %`,
      reached: early < late * 0.7,
      exact: false,
    },
  ];
}
