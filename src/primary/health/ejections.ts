/**
 * Ejections: backends that fail live traffic are out for a while (B4), whatever their probes say. A worker that has seen enough errors
 * in a row stops using the backend at once, for a moment (src/proxy/live-results.ts); here it is decided for the whole machine.
 *
 * A backend of a pool with `outlier` is in one of these states:
 * - in: workers report errors. `consecutiveErrors` reports, or one worker with that many in a row, lead to asking; where the ejection
 *   was refused then, not again for a second.
 * - asking: all workers say when it failed them, and when it last did not. Enough failures since its last success on this machine
 *   lead to ejected, if enough other backends are left; else back to in, and workers that had doubts are told to go on.
 * - ejected: for `baseEjection` × the times ejected. Then in. One time is forgotten for each `baseEjection` that it stays in.
 * The probes go on meanwhile: one that has gone down stays out after its ejection.
 */
import { systemClock } from '../../contract/clock.ts';
import { type BackendState, DOUBT_MS } from '../../contract/health.ts';
import type { WorkerMessage } from '../../contract/messages.ts';
import type { BackendSettings, OutlierSettings, PoolSettings } from '../../contract/pool-settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { MetricsCollector } from '../metrics/metrics-collector.ts';
import { type AskedWorker, askWorkers } from './ask-workers.ts';
import type { HealthRegistry } from './health-registry.ts';

type RequestError = Extract<WorkerMessage, { type: 'request-error' }>;

interface EjectionsOptions {
  registry: Pick<HealthRegistry, 'states' | 'availability' | 'ejection' | 'setEjection'>;
  /** Of the workers that may have used a backend. */
  links: () => readonly AskedWorker[];
  collector: Pick<MetricsCollector, 'count'>;
  logger: Logger;
}

/** A backend of a pool with `outlier`. */
interface Candidate {
  readonly pool: string;
  readonly id: string;
  outlier: OutlierSettings;
  /** Errors told since it was last asked about. */
  errors: number;
  isAsked: boolean;
  /** Until then nobody is asked about it: it could not be ejected. Monotonic. */
  heldUntilMs: number;
  /** Until then the log does not say again that it is not ejected. Monotonic. */
  quietUntilMs: number;
  timesEjected: number;
  /** When it came back; null while it is ejected. */
  inSinceMs: number | null;
  timer: NodeJS.Timeout | undefined;
}

/** Ejections is made once by BackendHealth; bounded by the configuration. */
export class Ejections {
  readonly #options: EjectionsOptions;
  /** By address: one that has moved begins anew. */
  #candidates = new Map<string, Candidate>();

  constructor(options: EjectionsOptions) {
    this.#options = options;
  }

  /** configure takes the pools of a revision, after the registry has. A pool without `outlier` has no ejected backend any more. */
  configure(pools: readonly PoolSettings[]): void {
    const next = new Map<string, Candidate>();
    for (const { name, backends, outlier } of pools) {
      for (const backend of backends) {
        // Counters begin at 0.
        this.#options.collector.count('sluice_ejections_total', [name, backend.id], 0);
        if (outlier === null) continue;
        const key = keyOf(name, backend);
        const counts = { errors: 0, isAsked: false, heldUntilMs: 0, quietUntilMs: 0, timesEjected: 0 };
        const fresh = { pool: name, id: backend.id, ...counts };
        const known = this.#candidates.get(key);
        const each = known ?? { ...fresh, outlier, inSinceMs: 0, timer: undefined };
        next.set(key, Object.assign(each, { outlier }));
        if (known === undefined) this.#resume(each);
      }
    }
    for (const [key, { timer }] of this.#candidates) if (!next.has(key)) clearTimeout(timer);
    this.#candidates = next;
  }

  /** Goes on with an ejection of an earlier primary, which the registry has restored. */
  #resume(backend: Candidate): void {
    const ejection = this.#options.registry.ejection(backend.pool, backend.id);
    if (ejection?.ejectedUntilMs == null) return;
    backend.timesEjected = ejection.timesEjected;
    // Clocks can be set.
    const latestMs = systemClock.wallMs() + backend.outlier.maxEjectionMs;
    this.#begin(backend, ejection.ejectionReason ?? '', Math.min(ejection.ejectedUntilMs, latestMs));
  }

  /** noteRequestError takes a worker's `request-error`. */
  noteRequestError({ pool, backend: id, streak, detail }: Omit<RequestError, 'type'>): void {
    const backend = [...this.#candidates.values()].find((each) => each.pool === pool && each.id === id);
    if (backend === undefined || backend.inSinceMs === null) return;
    if (systemClock.monotonicMs() < backend.heldUntilMs) return;
    backend.errors += 1;
    const isEnough = Math.max(backend.errors, streak) >= backend.outlier.consecutiveErrors;
    if (!isEnough || backend.isAsked) return;
    backend.isAsked = true;
    void this.#judge(backend, detail);
  }

  /** close ends the timers. */
  close(): void {
    this.configure([]);
  }

  async #judge(backend: Candidate, detail: string): Promise<void> {
    const { pool, id, outlier } = backend;
    const views = await askWorkers(this.#options.links(), pool, id);
    backend.isAsked = false;
    if (![...this.#candidates.values()].includes(backend)) return;
    const okAtMs = Math.max(...views.map(({ okAtMs: atMs }) => atMs));
    const errors = views.flatMap(({ errorsAtMs }) => errorsAtMs).filter((atMs) => atMs > okAtMs);
    backend.errors = errors.length;
    if (errors.length >= outlier.consecutiveErrors) {
      const problem = problemOf(this.#options.registry.states(), backend);
      if (problem === null) {
        this.#eject(backend, `${errors.length} consecutive errors: ${detail}`);
        return;
      }
      this.#hold(backend, { pool, backend: id, detail, problem });
    } else if (!views.some(({ errorsAtMs }) => errorsAtMs.length >= outlier.consecutiveErrors)) return;
    backend.errors = 0;
    this.#endDoubts(pool, id);
  }

  /** Logs it, once in the time of an ejection. */
  #hold(backend: Candidate, facts: object): void {
    const nowMs = systemClock.monotonicMs();
    backend.heldUntilMs = nowMs + DOUBT_MS;
    if (nowMs < backend.quietUntilMs) return;
    backend.quietUntilMs = nowMs + backend.outlier.baseEjectionMs;
    this.#options.logger.warn(facts, 'a failing backend is not ejected');
  }

  /** Workers that doubt the backend use it again, and count its errors from 0: to tell them its state does that. */
  #endDoubts(pool: string, id: string): void {
    const { registry, links } = this.#options;
    const states = registry.availability().filter((each) => each.pool === pool && each.backend === id);
    for (const link of links()) link.send({ type: 'backends', states, panics: [] });
  }

  #eject(backend: Candidate, reason: string): void {
    const { outlier, inSinceMs } = backend;
    const inMs = systemClock.monotonicMs() - (inSinceMs ?? 0);
    const forgotten = Math.floor(inMs / outlier.baseEjectionMs);
    backend.timesEjected = Math.max(0, backend.timesEjected - forgotten) + 1;
    const forMs = Math.min(outlier.baseEjectionMs * backend.timesEjected, outlier.maxEjectionMs);
    this.#options.collector.count('sluice_ejections_total', [backend.pool, backend.id]);
    this.#begin(backend, reason, systemClock.wallMs() + forMs);
  }

  /** @param untilMs wall clock */
  #begin(backend: Candidate, ejectionReason: string, untilMs: number): void {
    const { pool, id, timesEjected } = backend;
    backend.inSinceMs = null;
    backend.errors = 0;
    backend.timer = setTimeout(() => this.#end(backend), Math.max(0, untilMs - systemClock.wallMs()));
    const ejection = { ejectionReason, ejectedUntilMs: untilMs, timesEjected };
    this.#options.registry.setEjection(pool, id, ejection);
  }

  #end(backend: Candidate): void {
    backend.inSinceMs = systemClock.monotonicMs();
    this.#options.registry.setEjection(backend.pool, backend.id, null);
  }
}

/** Why a backend cannot be ejected; null: it can (B5). One of several always can, whatever the percentage; 0 is none. */
function problemOf(states: readonly BackendState[], { pool, id, outlier }: Candidate): string | null {
  const others = states.filter(
    (each) => each.pool === pool && each.backend !== id && each.state !== 'draining',
  );
  if (!others.some(({ state }) => state === 'up')) return 'no other backend is up';
  const percent = outlier.maxEjectedPercent;
  const allowed = percent === 0 ? 0 : Math.max(1, Math.floor(((others.length + 1) * percent) / 100));
  const ejected = others.filter(({ ejectedUntilMs }) => ejectedUntilMs !== null).length;
  return ejected < allowed ? null : `${ejected} are ejected already (maxEjectedPercent ${percent})`;
}

function keyOf(pool: string, { id, host, port, tls }: BackendSettings): string {
  return JSON.stringify([pool, id, host, port, tls]);
}
