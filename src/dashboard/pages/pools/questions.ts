/** What is asked before a backend is drained or enabled. */
import type { Backend, Pool } from '../../api/answers.ts';
import { call } from '../../api/call.ts';
import type { Question } from '../../parts/dialog.tsx';
import { isHealthy } from './backend-table.tsx';

const pathOf = (pool: string, id: string, operation: string): string =>
  `/api/v1/pools/${encodeURIComponent(pool)}/backends/${encodeURIComponent(id)}/${operation}`;

/** drainOf asks twice for the last backend of a pool that takes requests. @param done called after it was done */
export function drainOf({ pool, backends }: Pool, backend: Backend, done: () => Promise<void>): Question {
  const others = backends.filter((each) => each.id !== backend.id && isHealthy(each));
  const isLast = isHealthy(backend) && others.length === 0;
  return {
    title: `Drain ${backend.id}`,
    verb: 'Drain',
    steps: [
      `Backend ${backend.id} of pool ${pool} gets no new requests until it is enabled again. Requests under way are finished. A restart keeps the drain.`,
      ...(isLast
        ? [
            `It is the last backend of pool ${pool} that takes requests: without it, clients get 503. Drain it all the same?`,
          ]
        : []),
    ],
    run: async () => {
      await call(pathOf(pool, backend.id, 'drain'), { method: 'POST' });
      await done();
    },
  };
}

/** enableOf asks once. @param done as for drainOf */
export function enableOf(pool: string, { id }: Backend, done: () => Promise<void>): Question {
  return {
    title: `Enable ${id}`,
    verb: 'Enable',
    steps: [`Backend ${id} of pool ${pool} gets requests again, as soon as it is healthy.`],
    run: async () => {
      await call(pathOf(pool, id, 'enable'), { method: 'POST' });
      await done();
    },
  };
}
