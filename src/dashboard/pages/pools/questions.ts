/** What is asked before a backend is drained or enabled. */
import type { Backend } from '../../api/answers.ts';
import { CallError, call } from '../../api/call.ts';
import type { Question } from '../../parts/dialog.tsx';

const pathOf = (pool: string, id: string, operation: string): string =>
  `/api/v1/pools/${encodeURIComponent(pool)}/backends/${encodeURIComponent(id)}/${operation}`;

/** drainOf asks twice where Sluice says that it is the last backend. @param done called after it was done */
export function drainOf(pool: string, { id }: Backend, done: () => Promise<undefined>): Question {
  return {
    title: `Drain ${id}`,
    verb: 'Drain',
    text: `Backend ${id} of pool ${pool} gets no new requests until it is enabled again. Requests under way are finished. A restart keeps the drain.`,
    run: async (isSure) => {
      const path = pathOf(pool, id, 'drain');
      try {
        await call(isSure ? `${path}?force=true` : path, { method: 'POST' });
      } catch (error) {
        if (error instanceof CallError && error.code === 'last_backend')
          return `${error.message} Drain it all the same?`;
        throw error;
      }
      return done();
    },
  };
}

/** enableOf asks once. @param done as for drainOf */
export function enableOf(pool: string, { id }: Backend, done: () => Promise<undefined>): Question {
  return {
    title: `Enable ${id}`,
    verb: 'Enable',
    text: `Backend ${id} of pool ${pool} gets requests again, as soon as it is healthy.`,
    run: async () => {
      await call(pathOf(pool, id, 'enable'), { method: 'POST' });
      return done();
    },
  };
}
