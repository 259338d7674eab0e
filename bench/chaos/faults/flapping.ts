/** All three backends go away and come back at random. */
import { nowMs, type OutcomeTable } from '../../rig/outcomes.ts';
import type { ChaosBackend } from '../chaos-backend.ts';
import { atLeast, type Fault } from '../fault.ts';
import { inWords, type Stage } from '../stage.ts';

const SHORTEST_MS = 200;
const LONGEST_MS = 2_500;

/** A change of one backend: it may lie anywhere between the order and the confirmation. */
interface Flap {
  backend: number;
  up: boolean;
  fromMs: number;
  toMs: number;
}

export const flapping: Fault = {
  name: 'flapping',
  title: 'all three backends flap at random for 60 s',
  async run(stage) {
    const backends = await stage.backends();
    const subject = await stage.subject(backends);
    const load = await stage.load(subject);
    await stage.quiet(load);
    const from = nowMs();
    const until = from + stage.of(60_000, 5_000);
    const flaps: Flap[] = [];
    await Promise.all(backends.map((_, i) => flap(stage, { backends, i, until, flaps })));
    const during = await load.settled(from, until);
    const oracle = oraclePercent(load.table, { flaps, count: backends.length, from, until });
    const percent = (during.good / during.due) * 100;
    return [
      atLeast('availability ≥ that of an oracle − 1 %', percent, oracle - 1, {
        ...{ unit: ' %', digits: 1 },
        more: `an oracle ${oracle.toFixed(1)} %; ${inWords(during)}`,
      }),
    ];
  },
};

async function flap(
  stage: Stage,
  { backends, i, until, flaps }: { backends: ChaosBackend[]; i: number; until: number; flaps: Flap[] },
): Promise<void> {
  let up = true;
  while (nowMs() < until) {
    const ms = SHORTEST_MS + stage.random.below(LONGEST_MS - SHORTEST_MS);
    await stage.pause(Math.min(ms, Math.max(1, until - nowMs())) / 1_000);
    up = !up;
    const fromMs = nowMs();
    await backends[i]!.behave(up ? 'ok' : 'down');
    flaps.push({ backend: i, up, fromMs, toMs: nowMs() });
  }
}

/**
 * The share of requests that found any backend up: what a balancer reaches that knows everything at once and holds nothing
 * back. While a change is under way its backend counts as up.
 */
function oraclePercent(
  table: OutcomeTable,
  { flaps, count, from, until }: { flaps: Flap[]; count: number; from: number; until: number },
): number {
  const changes = flaps
    .map(({ backend, up, fromMs, toMs }) => ({ backend, up, atMs: up ? fromMs : toMs }))
    .toSorted((a, b) => a.atMs - b.atMs);
  const up = Array.from({ length: count }, () => true);
  let [next, served, due] = [0, 0, 0];
  for (const row of table.rowsBetween(from, until)) {
    for (; next < changes.length && changes[next]!.atMs <= table.dueMs[row]!; next += 1)
      up[changes[next]!.backend] = changes[next]!.up;
    due += 1;
    if (up.includes(true)) served += 1;
  }
  return (served / due) * 100;
}
