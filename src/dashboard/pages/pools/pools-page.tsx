/** Backends with their state; an operator drains and enables them here. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { List, Pool } from '../../api/answers.ts';
import { call } from '../../api/call.ts';
import { sample } from '../../api/feed.ts';
import { useStore } from '../../api/store.ts';
import { Confirm, type Question } from '../../parts/dialog.tsx';
import { Filter } from '../../parts/filter.tsx';
import { rateOf } from '../../parts/format.ts';
import { Status } from '../../parts/status.tsx';
import { BackendTable } from './backend-table.tsx';
import { drainOf, enableOf } from './questions.ts';

export function PoolsPage(): JSX.Element {
  const [pools, refresh] = usePools();
  const [filter, setFilter] = useState('');
  const [question, setQuestion] = useState<Question | null>(null);
  if (pools === null) return <p class="empty">Loading …</p>;
  const shown = pools.map(({ backends, ...pool }) => ({
    ...pool,
    all: backends,
    backends: backends.filter(({ id, url, state }) => `${id} ${url} ${state}`.includes(filter.trim())),
  }));
  return (
    <>
      <Filter
        label="Show backends with"
        value={filter}
        onInput={setFilter}
        placeholder="name, address or state"
      />
      {pools.length === 0 && <p class="empty">No pool is configured.</p>}
      {shown.map(({ pool, balance, queueRefusedPerSec, backends, all }) => (
        <section key={pool} aria-label={`Pool ${pool}`}>
          <div class="section-head">
            <h2>{pool}</h2>
            <span class="hint">
              {all.filter(({ state }) => state === 'up').length} of {all.length} are up ·{' '}
              {balance.replaceAll('_', ' ')}
            </span>
            {queueRefusedPerSec > 0 && (
              <Status tone="warn" word={`queue full: ${rateOf(queueRefusedPerSec)} requests/s refused`} />
            )}
          </div>
          <BackendTable
            pool={pool}
            backends={backends}
            onDrain={(backend) => setQuestion(drainOf(pool, backend, refresh))}
            onEnable={(backend) => setQuestion(enableOf(pool, backend, refresh))}
          />
        </section>
      ))}
      {question !== null && <Confirm question={question} onClose={() => setQuestion(null)} />}
    </>
  );
}

/** The pools of the newest sample; before it, and after a change, those of GET /api/v1/pools. */
function usePools(): [Pool[] | null, () => Promise<undefined>] {
  const sampled = useStore(sample)?.pools;
  const [asked, setAsked] = useState<Pool[] | null>(null);
  const refresh = async (): Promise<undefined> => {
    const { items } = await call<List<Pool>>('/api/v1/pools');
    setAsked(items);
  };
  useEffect(() => {
    refresh().catch(() => undefined);
  }, []);
  useEffect(() => setAsked((last) => (sampled === undefined ? last : null)), [sampled]);
  return [asked ?? sampled ?? null, refresh];
}
