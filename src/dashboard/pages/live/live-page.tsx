/** Access lines as they happen; sampled under load, so that no worker is slowed down. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { AccessLine } from '../../api/answers.ts';
import { messageOf } from '../../api/call.ts';
import { readEvents } from '../../api/event-stream.ts';
import { hidden } from '../../api/hidden.ts';
import { useStore } from '../../api/store.ts';
import { useConfig } from '../../parts/answer.tsx';
import { Filter, useSettled } from '../../parts/filter.tsx';
import { clockOf, countOf, msOf } from '../../parts/format.ts';
import { Status, type Tone } from '../../parts/status.tsx';
import { Table } from '../../parts/table.tsx';
import { insertByTime } from './insert-by-time.ts';

const MOST_LINES = 200;

interface Filters {
  client: string;
  route: string;
  status: string;
  slowerThanMs: string;
}

export function LivePage(): JSX.Element {
  const [filters, setFilters] = useState<Filters>({ client: '', route: '', status: '', slowerThanMs: '' });
  const [paused, setPaused] = useState(false);
  const isHidden = useStore(hidden);
  const query = queryOf(filters);
  const isSettled = useSettled(query) === query;
  const { lines, dropped, failure, open } = useLines(query, isHidden || paused || !isSettled);
  return (
    <>
      <LiveFilters value={filters} onChange={(part) => setFilters({ ...filters, ...part })} />
      <div class="section-head">
        <Status
          tone={paused ? 'quiet' : open ? 'ok' : 'bad'}
          word={paused ? 'paused' : open ? 'live' : 'waiting'}
        />
        <button type="button" aria-pressed={paused} onClick={() => setPaused(!paused)}>
          {paused ? 'Go on' : 'Pause'}
        </button>
        <span class="hint">
          {dropped > 0 && `${countOf(dropped)} more were left out, because there are too many to show.`}
        </span>
      </div>
      {failure !== null && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      <LineTable lines={lines} />
    </>
  );
}

function queryOf({ client, route, status, slowerThanMs }: Filters): string {
  const query = new URLSearchParams();
  const given = { client: client.trim(), route, status, slowerThanMs: slowerThanMs.trim() };
  for (const [name, value] of Object.entries(given)) if (value !== '') query.set(name, value);
  return query.size === 0 ? '' : `?${query}`;
}

interface LiveFiltersProps {
  value: Filters;
  onChange(part: Partial<Filters>): void;
}

function LiveFilters({ value, onChange }: LiveFiltersProps): JSX.Element {
  const routes = useConfig().answer?.routes ?? [];
  return (
    <div class="fields">
      <Filter
        label="Client"
        value={value.client}
        onInput={(client) => onChange({ client })}
        placeholder="acme, 203.0.113.7, 2001:db8::/64"
      />
      <label class="field">
        Route
        <select
          value={value.route}
          onChange={({ currentTarget }) => onChange({ route: currentTarget.value })}
        >
          <option value="">all</option>
          {routes.map(({ name }) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label class="field">
        Status
        <select
          value={value.status}
          onChange={({ currentTarget }) => onChange({ status: currentTarget.value })}
        >
          <option value="">all</option>
          {['2xx', '3xx', '4xx', '429', '5xx', '502', '503', '504'].map((status) => (
            <option key={status}>{status}</option>
          ))}
        </select>
      </label>
      <label class="field">
        Slower than, ms
        <input
          inputMode="numeric"
          value={value.slowerThanMs}
          onInput={({ currentTarget }) =>
            onChange({ slowerThanMs: currentTarget.value.replaceAll(/\D/g, '') })
          }
        />
      </label>
    </div>
  );
}

interface Lines {
  lines: AccessLine[];
  /** How many lines the workers left out. */
  dropped: number;
  failure: string | null;
  open: boolean;
}

const NO_LINES: Lines = { lines: [], dropped: 0, failure: null, open: false };
const RETRY_MS = 3_000;

/** The newest lines first. Another query begins anew. */
function useLines(query: string, paused: boolean): Lines {
  const [state, setState] = useState<Lines>(NO_LINES);
  useEffect(() => setState(NO_LINES), [query]);
  useEffect(() => {
    if (paused) return;
    const ended = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const take = ({ type, data }: { type: string; data: string }): void =>
      setState((last) => ({
        ...last,
        ...(type === 'request' ? withLine(last, data) : withDropped(last, type, data)),
      }));
    const read = async (): Promise<void> => {
      const onOpen = () => setState((last) => ({ ...last, failure: null, open: true }));
      try {
        await readEvents(`/api/v1/requests${query}`, take, { signal: ended.signal, onOpen });
      } catch (error) {
        setState((last) => ({ ...last, failure: messageOf(error) }));
      }
      if (ended.signal.aborted) return;
      setState((last) => ({ ...last, open: false }));
      timer = setTimeout(() => void read(), RETRY_MS);
    };
    void read();
    return () => {
      clearTimeout(timer);
      ended.abort();
    };
  }, [query, paused]);
  return state;
}

function withLine({ lines }: Lines, data: string): Partial<Lines> {
  return { lines: insertByTime(lines, JSON.parse(data) as AccessLine, MOST_LINES) };
}

function withDropped({ dropped }: Lines, type: string, data: string): Partial<Lines> {
  if (type !== 'dropped') return {};
  const { count = 0 } = JSON.parse(data) as { count?: number };
  return { dropped: dropped + count };
}

function LineTable({ lines }: { lines: readonly AccessLine[] }): JSX.Element {
  return (
    <Table
      caption="Requests, the newest first"
      rows={lines}
      keyOf={({ requestId }) => requestId}
      empty="No request has come yet that passes the filters."
      columns={[
        { title: 'Time', cell: ({ time }) => clockOf(time) },
        {
          title: 'Status',
          cell: (line) => <Status tone={TONES[line.failure]} word={wordOf(line)} />,
        },
        {
          title: 'Request',
          wide: true,
          cell: ({ method, host, path }) => `${method ?? '–'} ${host ?? ''}${path ?? ''}`,
        },
        { title: 'Client', wide: true, cell: ({ clientId, clientIp }) => clientId ?? clientIp ?? '–' },
        { title: 'Route', wide: true, cell: ({ route }) => route ?? '–' },
        { title: 'Backend', wide: true, cell: ({ backend }) => backend ?? '–' },
        { title: 'Took', number: true, cell: ({ totalMs }) => msOf(totalMs) },
      ]}
    />
  );
}

const TONES: Record<AccessLine['failure'], Tone> = { none: 'ok', client: 'warn', server: 'bad' };

function wordOf({ status, grpcStatus, reason }: AccessLine): string {
  return grpcStatus === null ? `${status} ${reason}` : `${status} grpc ${grpcStatus} ${reason}`;
}
