/** Access lines as they happen; sampled under load, so that no worker is slowed down. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
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
  /** What is wrong with the first wrong field; '': nothing. */
  wrong: string;
}

const NO_FILTERS: Filters = { client: '', route: '', status: '', slowerThanMs: '', wrong: '' };

export function LivePage(): JSX.Element {
  const [filters, setFilters] = useState(NO_FILTERS);
  const [paused, setPaused] = useState(false);
  const isHidden = useStore(hidden);
  const lastQuery = useRef('');
  if (filters.wrong === '') lastQuery.current = queryOf(filters);
  const query = lastQuery.current;
  const isSettled = useSettled(query) === query;
  const { lines, dropped, failure, open } = useLines(query, isHidden || paused || !isSettled);
  return (
    <>
      <LiveFilters value={filters} onChange={(part) => setFilters({ ...filters, ...part })} />
      <p class="bad" role="alert">
        {filters.wrong !== '' && `${filters.wrong} Until then the filters are as before.`}
      </p>
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

const OCTET = '(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)';
/** Four numbers are an IPv4 address; anything else may be the name of a client, too. */
const CLIENT = {
  pattern: `\\s*(?:${OCTET}(?:\\.${OCTET}){3}(?:\\/\\d+)?|(?!\\d+(?:\\.\\d+){3}(?:[\\/\\s]|$))[A-Za-z0-9._:@\\/\\-]{1,128})\\s*`,
  title: 'must be a name, an address or a range of addresses.',
};
const MS = { pattern: '\\s*\\d{1,8}\\s*', title: 'must be a whole number.' };

function wrongOf({ form }: HTMLInputElement): string {
  const field = form?.querySelector<HTMLInputElement>('input:invalid');
  return field == null ? '' : `${field.labels?.[0]?.textContent} ${field.title}`;
}

function LiveFilters({ value, onChange }: LiveFiltersProps): JSX.Element {
  const routes = useConfig().answer?.routes ?? [];
  return (
    <form class="fields" onSubmit={(event) => event.preventDefault()}>
      <Filter
        label="Client"
        value={value.client}
        onInput={(client, field) => onChange({ client, wrong: wrongOf(field) })}
        placeholder="acme, 203.0.113.7, 2001:db8::/64"
        check={CLIENT}
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
      <Filter
        label="Slower than, ms"
        value={value.slowerThanMs}
        onInput={(slowerThanMs, field) => onChange({ slowerThanMs, wrong: wrongOf(field) })}
        check={MS}
      />
    </form>
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
          cell: ({ method, host, path }) => <Short text={`${method ?? '–'} ${host ?? ''}${path ?? ''}`} />,
        },
        { title: 'Client', wide: true, cell: ({ clientId, clientIp }) => clientId ?? clientIp ?? '–' },
        { title: 'Route', wide: true, cell: ({ route }) => route ?? '–' },
        { title: 'Backend', wide: true, cell: ({ backend }) => backend ?? '–' },
        { title: 'Took', number: true, cell: ({ totalMs }) => msOf(totalMs) },
      ]}
    />
  );
}

function Short({ text }: { text: string }): JSX.Element {
  return (
    <div class="short" title={text}>
      {text}
    </div>
  );
}

const TONES: Record<AccessLine['failure'], Tone> = { none: 'ok', client: 'warn', server: 'bad' };

function wordOf({ status, grpcStatus, reason }: AccessLine): string {
  return grpcStatus === null ? `${status} ${reason}` : `${status} grpc ${grpcStatus} ${reason}`;
}
