/** What is wrong now, in plain words. The sentence of a problem that lasts says since when. */

import { hostPort } from '../../contract/addresses.ts';
import type { FileProblem } from '../../contract/config-file-view.ts';
import type { BackendState } from '../../contract/health.ts';
import type { WorkerReport } from '../../contract/messages.ts';
import type { BackendSettings } from '../../contract/pool-settings.ts';
import type { Settings } from '../../contract/settings.ts';
import type { Problem } from '../../contract/status.ts';

/** Finding is a problem without its time. */
export interface Finding extends Pick<Problem, 'code' | 'severity'> {
  /** Names this problem among all, as long as it lasts. */
  key: string;
  /** The beginning of the sentence. */
  what: string;
  /** What follows its time; null: nothing. */
  why: string | null;
  /** Whether it has a time; default: yes. */
  isTimeless?: boolean;
}

export interface ProblemFacts {
  settings: Pick<Settings, 'pools' | 'redis' | 'rateLimit' | 'database'>;
  stateOf: (pool: string, id: string) => BackendState | null;
  panics: readonly { pool: string; panic: string }[];
  /** Of the last ten seconds. */
  queueRefusedPerSec: (pool: string) => number;
  degraded: readonly string[];
  /** Why the primary has no connection to Redis; null: it has one, or it is not known. */
  storeFailure: string | null;
  /** Numbers of the workers that decide about limits without Redis; [] where the primary's own connection is away only. */
  withoutStore: readonly number[];
  /** Workers that share the store; null: not known. */
  storeWorkers: number | null;
  databaseFailure: string | null;
  /** Whether clients were read before the database went away. */
  clientsLoaded: boolean;
  /** Of the last reload, if it was refused. */
  refusedReload: { revision: number; problems: readonly FileProblem[] } | null;
  workers: readonly {
    index: number;
    wanted: boolean;
    state: string;
    report: Pick<WorkerReport, 'overload' | 'overloadReason'> | null;
  }[];
  /** How often a worker has died and was started again lately, by its name in events. */
  restarts: ReadonlyMap<string, number>;
  /** Those that have expired or do soon. */
  certificates: readonly { text: string; isOver: boolean }[];
  /** Why changed certificate files cannot be used; null: they are. */
  certificateFault: string | null;
  /** Names of `tls.acme` for which no certificate has been issued yet. */
  namesWithout: readonly string[];
  /** Lines of the logs that were lost in the last minute. */
  lostLines: number;
  /** Of the instance: while it starts, no worker serves yet. */
  phase: string;
}

/** A worker that died this often in RESTARTS_MS restarts again and again. */
const MANY_RESTARTS = 3;
export const RESTARTS_MS = 600_000;
export const LOST_LINES_MS = 60_000;

/** A sentence names this many. */
const SHOWN_NAMES = 3;

/** findingsOf finds all problems; called once a second by the StatusBoard. */
export function* findingsOf(facts: ProblemFacts): Generator<Finding> {
  yield* workerFindings(facts);
  for (const pool of facts.settings.pools) yield* poolFindings(facts, pool);
  if (facts.degraded.includes('redis')) yield redisFinding(facts);
  if (facts.degraded.includes('postgres')) yield databaseFinding(facts);
  const { refusedReload, certificates, certificateFault, namesWithout, lostLines } = facts;
  if (refusedReload !== null) {
    const { revision, problems } = refusedReload;
    const why = `revision ${revision} stays in force; ${problemsText(problems)}`;
    const what = 'the configuration file is refused';
    yield { key: 'reload', code: 'reload_refused', severity: 'error', what, why };
  }
  for (const { text: what, isOver } of certificates) {
    const severity = isOver ? 'error' : 'warning';
    yield { key: what, code: 'certificate_ends', severity, what, why: null, isTimeless: true };
  }
  if (certificateFault !== null) {
    const [what, why] = [
      'changed certificate files cannot be used',
      `the old ones stay; ${certificateFault}`,
    ];
    yield { key: 'certificates', code: 'certificates_refused', severity: 'warning', what, why };
  }
  if (namesWithout.length > 0) {
    const more = namesWithout.length - SHOWN_NAMES;
    const names = namesWithout.slice(0, SHOWN_NAMES).join(', ') + (more > 0 ? ` and ${more} more` : '');
    const what = `no certificate was issued for ${names}`;
    const why =
      'their handshakes fail, unless a file is for the name; the log has the reason of the authority';
    yield { key: 'acme', code: 'certificate_missing', severity: 'error', what, why };
  }
  if (lostLines > 0) {
    const why = `${lostLines} in the last minute: their reader stalls, or the disk is full`;
    yield {
      key: 'lines',
      code: 'log_lines_lost',
      severity: 'warning',
      what: 'lines of the log are lost',
      why,
    };
  }
}

/** problemsText says how many problems a file has, and the first. */
export function problemsText(problems: readonly FileProblem[]): string {
  const [first] = problems;
  if (first === undefined) return 'no reason is known';
  const { line, path, message } = first;
  const place = path === null ? '' : `${path}: `;
  const where = line === null ? '' : ` (line ${line})`;
  const text = `${place}${message}${where}`;
  return problems.length === 1 ? text : `${problems.length} problems, the first: ${text}`;
}

function* poolFindings(
  facts: ProblemFacts,
  { name, backends }: Settings['pools'][number],
): Generator<Finding> {
  const states = backends.map((backend) => ({ backend, state: facts.stateOf(name, backend.id) }));
  const panics = facts.panics.some(({ pool, panic }) => pool === name && panic !== 'no');
  const up = states.filter(({ state }) => state?.state === 'up').length;
  // Before the first results nothing is known.
  const isKnown = states.every(({ state }) => state?.state !== 'unknown');
  if (up === 0 && isKnown) {
    const drained = states.filter(({ state }) => state?.state === 'draining').length;
    const some = drained === 0 ? '' : `${drained} of ${backends.length} are drained, `;
    const why = `${some}${panics ? 'those that are down are tried all the same' : 'its requests get 503'}`;
    const what = `pool ${name} has no healthy backend`;
    yield { key: `pool ${name}`, code: 'pool_down', severity: 'error', what, why };
  } else if (panics) {
    const why = `${up} of ${backends.length} backends are healthy, so those that are down are used too`;
    yield { key: `panic ${name}`, code: 'pool_panic', severity: 'warning', what: `pool ${name} panics`, why };
  }
  const refusedPerSec = facts.queueRefusedPerSec(name);
  if (refusedPerSec > 0) {
    const what = `pool ${name} refuses requests`;
    const why = `${Number(refusedPerSec.toPrecision(2))} per second; its backends are full, and so is its queue, or the wait there too long`;
    yield { key: `queue ${name}`, code: 'queue_full', severity: 'warning', what, why };
  }
  for (const { backend, state } of states) if (state !== null) yield* backendFindings(name, backend, state);
}

function* backendFindings(pool: string, backend: BackendSettings, state: BackendState): Generator<Finding> {
  const who = `${backendName(backend)} of pool ${pool}`;
  const key = JSON.stringify([pool, backend.id]);
  const why = state.reason === null ? null : inWords(state.reason);
  if (state.state === 'down')
    yield { key, code: 'backend_down', severity: 'error', what: `${who} is down`, why };
  else if (state.state === 'ejected')
    yield { key, code: 'backend_ejected', severity: 'warning', what: `${who} is ejected`, why };
  else if (state.lastProbe?.resolverError !== undefined) {
    const what = `the name of ${who} does not resolve`;
    const reason = inWords(state.lastProbe.resolverError);
    yield { key, code: 'backend_unresolved', severity: 'warning', what, why: reason };
  }
}

/** How sentences name a backend. */
function backendName({ id, host, port }: Pick<BackendSettings, 'id' | 'host' | 'port'>): string {
  const address = hostPort(host, port);
  return id === address ? `backend ${id}` : `backend ${id} (${address})`;
}

const CODES_IN_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
  ETIMEDOUT: 'no answer in time',
  ENOTFOUND: 'no such name',
  EAI_AGAIN: 'the name server does not answer',
  EPIPE: 'connection closed',
  HPE_INVALID_CONSTANT: 'no answer in HTTP',
  HPE_INVALID_STATUS: 'an invalid status line',
};

/** inWords puts words in place of the system's codes in a reason. */
export function inWords(reason: string): string {
  return reason.replace(
    /\b(?:(?:connect|read|write|getaddrinfo) )?((?:HP)?E[A-Z_]{3,})\b/g,
    (whole, code: string) => CODES_IN_WORDS[code] ?? whole,
  );
}

const PARTS = ['the whole', 'half', 'a third', 'a quarter', 'a fifth', 'a sixth', 'a seventh', 'an eighth'];

function redisFinding({
  settings,
  withoutStore,
  storeWorkers,
  storeFailure,
  workers,
}: ProblemFacts): Finding {
  const { instances, policies } = settings.rateLimit;
  const wanted = workers.filter((each) => each.wanted).length;
  const sharers = storeWorkers ?? instances * wanted;
  const part = PARTS[sharers - 1] ?? `1/${sharers}`;
  const under = (choice: string, what: string): string => {
    const names = policies.filter(({ onStoreFailure }) => onStoreFailure === choice).map(({ name }) => name);
    return names.length === 0 ? '' : `; requests under ${names.join(', ')} ${what}`;
  };
  const isPartly = withoutStore.length > 0 && withoutStore.length < wanted;
  const who = isPartly ? `worker ${withoutStore.join(', ')} grants` : 'each worker grants';
  const what = isPartly ? 'Redis does not answer every worker' : 'Redis is away';
  return {
    key: 'redis',
    code: 'redis_away',
    severity: 'error',
    what,
    why: `${who} ${part} of each limit${under('deny', 'get 503')}${under('allow', 'pass')}${reasonText(storeFailure)}`,
  };
}

function databaseFinding({ settings, databaseFailure, clientsLoaded }: ProblemFacts): Finding {
  const name = settings.database.url === null ? 'the embedded database' : 'PostgreSQL';
  const meanwhile = clientsLoaded
    ? 'clients and keys stay as they were read last'
    : 'no clients and keys are known yet';
  const what = `${name} is away`;
  return {
    key: 'database',
    code: 'database_away',
    severity: 'error',
    what,
    why: `${meanwhile}${reasonText(databaseFailure)}`,
  };
}

function reasonText(failure: string | null): string {
  return failure === null ? '' : `; ${inWords(failure)}`;
}

function* workerFindings({ workers, restarts, phase }: ProblemFacts): Generator<Finding> {
  if (phase === 'draining') {
    const why = 'it ends as soon as the requests in flight have ended, at the latest after timeouts.drain';
    yield { key: 'phase', code: 'draining', severity: 'warning', what: 'Sluice drains', why };
  }
  if (phase === 'ready' && !workers.some(({ state }) => state === 'serving' || state === 'draining')) {
    const [what, why] = ['no worker serves', 'clients are not answered'];
    yield { key: 'workers', code: 'no_worker', severity: 'error', what, why };
  }
  for (const [worker, count] of restarts) {
    if (count < MANY_RESTARTS) continue;
    const what = `${worker} restarts again and again`;
    const why = `${count} times in the last ten minutes`;
    yield { key: `restarts ${worker}`, code: 'worker_restarts', severity: 'error', what, why };
  }
  for (const { index, wanted, report } of workers) {
    if (!wanted || report === null || report.overload === 'none') continue;
    const what = `worker ${index} is overloaded`;
    const does = report.overload === 'shedding' ? 'it refuses new requests' : 'it ends keep-alive';
    const why = `${does} (${(report.overloadReason ?? 'no reason').replaceAll('_', ' ')})`;
    yield { key: `overload ${index}`, code: 'worker_overloaded', severity: 'warning', what, why };
  }
}

/** ProblemTimes remembers since when each problem has been there. Bounded by the configuration. */
export class ProblemTimes {
  #sinceMs = new Map<string, number>();

  /** problemsOf makes sentences of the findings of now, the worst first. @param nowMs wall clock */
  problemsOf(findings: Iterable<Finding>, nowMs: number): Problem[] {
    const sinceMs = new Map<string, number>();
    const problems: Problem[] = [];
    for (const { key, code, severity, what, why, isTimeless = false } of findings) {
      const name = `${code} ${key}`;
      const fromMs = this.#sinceMs.get(name) ?? nowMs;
      sinceMs.set(name, fromMs);
      const time = isTimeless ? '' : ` since ${timeText(fromMs, nowMs)}`;
      const text = `${what}${time}${why === null ? '' : `: ${why}`}`;
      const since = isTimeless ? null : new Date(fromMs).toISOString();
      problems.push({ key: name, code, severity, text, since });
    }
    this.#sinceMs = sinceMs;
    return problems.sort((a, b) => rankOf(a) - rankOf(b));
  }
}

/** Errors first; of each severity what is about one backend comes last, as there may be hundreds. */
function rankOf({ severity, code }: Problem): number {
  return (severity === 'error' ? 0 : 2) + (code.startsWith('backend_') ? 1 : 0);
}

/** `14:03 UTC`, with the day where it is another one. */
function timeText(atMs: number, nowMs: number): string {
  const [day, time = ''] = new Date(atMs).toISOString().split('T');
  const isToday = new Date(nowMs).toISOString().startsWith(`${day}T`);
  return `${isToday ? '' : `${day} `}${time.slice(0, 5)} UTC`;
}
