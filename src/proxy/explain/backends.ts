/** Explains which backends of a pool a request could go to now. */
import { type Backend, nextRank } from '../../balance/backend.ts';
import type { Explanation } from '../../contract/explain.ts';
import type { PlannedPool } from '../plan-pool.ts';

interface ExplainedBackends extends Pick<Explanation, 'lacking'> {
  items: Explanation['backends'];
  steps: string[];
}

/** Names in a sentence. */
const NAMED_MAX = 5;

export function explainBackends({ name: pool, byBackend, queue }: PlannedPool): ExplainedBackends {
  const backends = [...byBackend.keys()];
  const next = nextRank(backends, []);
  const waits = next < 0;
  const lacking = next === 0 ? 'no_backend' : waits && queue.isFull ? 'queue_full' : null;
  const items = backends.map((backend) => {
    const rank = waits ? -backend.fullRank : backend.rank;
    return { id: backend.id, wouldBeTried: lacking === null && rank === next, why: whyOf(backend) };
  });
  const names = listed(items.filter(({ wouldBeTried }) => wouldBeTried).map(({ id }) => id));
  const panics = backends.some(
    ({ standing, rank, fullRank }) => standing === 'out' && (rank || fullRank) !== 0,
  );
  const steps = panics ? [`Pool ${pool} panics: backends that are out are tried too.`] : [];
  if (lacking === 'no_backend') steps.push(`No backend of pool ${pool} takes requests.`);
  else if (lacking === 'queue_full')
    steps.push(`The backends of pool ${pool} are full, and so is its queue in this worker.`);
  else if (waits) steps.push(`Pool ${pool} would let it wait for room, because these are full: ${names}.`);
  else steps.push(`Pool ${pool} would give it to one of: ${names}.`);
  return { items, lacking, steps };
}

function whyOf(backend: Backend): string {
  const { standing, plannedRank, fullRank, trial } = backend;
  const rank = backend.rank || fullRank;
  if (plannedRank === 0) return 'its weight is 0';
  if (standing === 'off') return 'it is drained, or has no probe result yet';
  if (standing === 'out' && rank === 0) return 'it is down or ejected';
  const full = fullRank === 0 ? '' : `; it is full with ${backend.busy} requests of this worker`;
  if (standing === 'out') {
    const text = rank === 1 ? 'on trial' : 'tried where nothing else is left';
    return `it is down or ejected, but its pool panics: ${text} (trial: ${trial})${full}`;
  }
  if (backend.doubted) return `it has just failed several requests: tried where nothing else is left${full}`;
  return `${plannedRank === 2 ? 'it is a backup: tried while no other takes requests' : 'it takes requests'}${full}`;
}

function listed(names: string[]): string {
  const more = names.length - NAMED_MAX;
  return more > 0 ? `${names.slice(0, NAMED_MAX).join(', ')} and ${more} more` : names.join(', ');
}
