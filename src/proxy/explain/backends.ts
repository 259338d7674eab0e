/** Explains which backends of a pool a request could go to now. */
import { type Backend, nextTurn } from '../../balance/backend.ts';
import type { Explanation } from '../../contract/explain.ts';

interface ExplainedBackends extends Pick<Explanation, 'lacksBackend'> {
  items: Explanation['backends'];
  steps: string[];
}

/** Names in a sentence. */
const NAMED_MAX = 5;

export function explainBackends(pool: string, backends: readonly Backend[]): ExplainedBackends {
  const turn = nextTurn(backends);
  const items = backends.map((backend) => {
    const rank = turn?.waits ? backend.fullRank : backend.rank;
    return { id: backend.id, wouldBeTried: turn !== null && rank === turn.rank, why: whyOf(backend) };
  });
  const names = listed(items.filter(({ wouldBeTried }) => wouldBeTried).map(({ id }) => id));
  const panics = backends.some(
    ({ standing, rank, fullRank }) => standing === 'out' && (rank || fullRank) !== 0,
  );
  const steps = panics ? [`Pool ${pool} panics: backends that are out are tried too.`] : [];
  if (turn === null) steps.push(`No backend of pool ${pool} takes requests.`);
  else if (turn.waits)
    steps.push(`It goes to pool ${pool} and waits for room, because these are full: ${names}.`);
  else steps.push(`It goes to pool ${pool}, to one of: ${names}.`);
  return { items, lacksBackend: turn === null, steps };
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
