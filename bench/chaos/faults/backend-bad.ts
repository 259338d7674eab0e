/** A backend that stays up, as its probes see it, but does not serve: it hangs, answers errors, or is slow. */
import { nowMs } from '../../rig/outcomes.ts';
import type { ChaosBackend } from '../chaos-backend.ts';
import { atMost, type Fault, type Finding } from '../fault.ts';
import { calm, inWords, type Stage } from '../stage.ts';

/** The deadline of an answer, and what the clock of a busy machine may add. */
const DEADLINE_MS = 1_000;
const LATE_MS = 150;
const MOST_ERRORS = 5;
const WORKERS = 2;
/** The time of a try, and what a busy machine adds. */
const TRY_MS = 400;

interface Badness {
  name: string;
  title: string;
  /** The most requests that clients may lose. */
  mostFailed: number;
  /** When a request that the backend spoils has failed. */
  failsAfterMs?: number;
  begin(backend: ChaosBackend): unknown;
  /** How many requests the backend has spoilt since `before`. */
  spoilt(backend: ChaosBackend, before: { requests: number; errors: number }): Promise<number | null>;
}

const since = async (backend: ChaosBackend, before: { requests: number }) =>
  (await backend.state()).requests - before.requests;

function bad({ name, title, mostFailed, failsAfterMs = TRY_MS, begin, spoilt }: Badness): Fault {
  return {
    name,
    title,
    async run(stage) {
      const backends = await stage.backends();
      const victim = backends[1]!;
      // Longer than the fault lasts, so that only the first ejection is seen.
      const subject = await stage.subject(backends, { ejectionMs: 60_000 });
      const load = await stage.load(subject);
      const quiet = await stage.quiet(load);
      const before = await victim.state();
      await begin(victim);
      const from = nowMs();
      await stage.pause(stage.of(9, 2.5));
      const until = nowMs();
      const during = await load.settled(from, until);
      const others = await load.settled(from + stage.of(1_500, 1_000), until);
      const count = await spoilt(victim, before);
      return [
        atMost('no request waits past its deadline of 1 s', during.maxMs, DEADLINE_MS + LATE_MS, {
          unit: ' ms at most',
        }),
        ejected(stage, count, failsAfterMs),
        atMost(`≤ ${mostFailed} failed`, during.failed, mostFailed, {
          unit: ` of ${during.due}`,
          more: inWords(during),
          exact: true,
        }),
        calm(others, quiet, 1.2, ' of the others'),
        { bar: 'p99 of all', measured: `${during.p99Ms.toFixed(1)} ms`, reached: null, exact: false },
      ].filter((finding) => finding !== null);
    },
  };
}

/**
 * Each of the two workers may see MOST_ERRORS of its own before they agree. Requests that are under way by then come on top:
 * those that were sent in the time that one takes to fail.
 */
function ejected(stage: Stage, count: number | null, failsAfterMs: number): Finding | null {
  if (count === null) return null;
  const underWay = Math.ceil(((stage.of(1_000, 300) / 3) * failsAfterMs) / 1_000);
  const most = WORKERS * MOST_ERRORS + underWay;
  return atMost(`ejected within ${MOST_ERRORS} errors of each worker`, count, most, {
    unit: ' requests spoilt',
    more: `${underWay} may be under way`,
    exact: true,
  });
}

export const backendHangs = bad({
  name: 'backend-hangs',
  title: 'one of three backends hangs (SIGSTOP)',
  mostFailed: 0,
  begin: (backend) => backend.signal('SIGSTOP'),
  // A stopped process cannot tell.
  spoilt: async () => null,
});

export const backendErrors = bad({
  name: 'backend-500',
  title: 'one of three backends answers 500 while its probes pass',
  mostFailed: 1,
  failsAfterMs: 10,
  begin: (backend) => backend.behave('error'),
  spoilt: async (backend, before) => (await backend.state()).errors - before.errors,
});

export const backendSlow = bad({
  name: 'backend-slow',
  title: 'one of three backends answers after 2 s while its probes pass',
  mostFailed: 33,
  begin: (backend) => backend.behave('slow', 2_000),
  spoilt: since,
});

export const backendVerySlow = bad({
  name: 'backend-5s',
  title: 'one of three backends answers after 5 s while its probes pass',
  mostFailed: 33,
  begin: (backend) => backend.behave('slow', 5_000),
  spoilt: since,
});
