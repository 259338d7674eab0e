/**
 * Sampled requests on their way to the collector. A request only puts itself into a queue, which has a bound. Once a second, or
 * sooner where many wait, a batch becomes spans and is sent; one batch at a time, with a deadline. Spans that the collector rejects are
 * lost and counted, and so is a batch that fails; the next one then waits for a while: a collector that is away costs a few tries a minute.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { systemClock } from '../../contract/clock.ts';
import { toError } from '../../contract/errors.ts';
import type { Exemplar } from '../../contract/metrics.ts';
import type { TracingSettings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { atMost, withDeadline } from '../../infra/with-deadline.ts';
import type { WorkerMetrics } from '../../infra/worker-metrics.ts';
import type { RequestSpan, Tracing } from '../../proxy/request-span.ts';
import { Exemplars } from './exemplars.ts';
import { type Rejection, SEND_MAX_MS, type SpanSender } from './span-sender.ts';

/** Requests that wait, at most: 3 MiB as a rule, 18 MiB with the longest texts and the most attempts that there can be. */
const QUEUE_MAX = 2_048;
const BATCH_MAX = 256;
const EVERY_MS = 1_000;
/** For one batch: a sender that does not keep to its own deadline holds up nothing. */
const SEND_MS = SEND_MAX_MS + 1_000;
const LAST_PAUSE_MS = 15_000;
const REJECTION_EVERY_MS = 60_000;
/** Characters of what a collector says. */
const MESSAGE_MAX = 256;
/** For what waits at the end of the worker. */
const CLOSE_MS = 1_000;

/** What otlp-sender.ts imports, in the order in which its parts need each other. At once it takes 90 ms, the longest of these 40 ms. */
const SDK = [
  () => import('@opentelemetry/api'),
  () => import('@opentelemetry/core'),
  () => import('@opentelemetry/resources'),
  () => import('@opentelemetry/otlp-transformer'),
  () => import('@opentelemetry/otlp-exporter-base/node-http'),
];

interface TraceExportDeps {
  metrics: WorkerMetrics;
  logger: Logger;
}

/** TraceExport is made by DataPlane, one for each value of `tracing`. */
export class TraceExport implements Tracing {
  readonly settings: TracingSettings;
  readonly #sender: SpanSender;
  readonly #logger: Logger;
  readonly #count: (result: 'exported' | 'dropped', spans: number) => void;
  readonly #queue: RequestSpan[] = [];
  readonly #exemplars = new Exemplars();
  #timer: NodeJS.Timeout | null = null;
  #sending: Promise<void> = Promise.resolve();
  #isSending = false;
  /** 0: the collector took the last batch. */
  #pauseMs = 0;
  #isClosed = false;
  /** When the log said last that spans were rejected, and how many were since then. */
  #rejectionMs = Number.NEGATIVE_INFINITY;
  #rejected = 0;

  /** open makes the export of these settings; null: there are none. Never rejects. */
  static async open(settings: TracingSettings | null, deps: TraceExportDeps): Promise<TraceExport | null> {
    return settings && new TraceExport(settings, await senderOf(settings, deps), deps);
  }

  constructor(settings: TracingSettings, sender: SpanSender, { metrics, logger }: TraceExportDeps) {
    this.settings = settings;
    this.#sender = sender;
    this.#logger = logger;
    const cells = {
      exported: metrics.series('sluice_trace_spans_total', 'exported'),
      dropped: metrics.series('sluice_trace_spans_total', 'dropped'),
    };
    this.#count = (result, spans) => metrics.add(cells[result], spans);
  }

  get sample(): number {
    return this.settings.sample;
  }

  note(span: RequestSpan): void {
    if (this.#queue.length >= QUEUE_MAX || this.#isClosed) {
      this.#count('dropped', spansIn(span));
      return;
    }
    this.#queue.push(span);
    if (this.#isSending) return;
    if (this.#timer === null) this.#sendIn(this.#pauseMs || EVERY_MS);
    else if (this.#queue.length === BATCH_MAX && this.#pauseMs === 0) this.#sendIn(0);
  }

  /** takeExemplars is the newest request of each bucket of each route that was exported since the last call. */
  takeExemplars(): Exemplar[] {
    return this.#exemplars.take();
  }

  /** close sends what waits, within CLOSE_MS; a plan that is over notes nothing any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    await atMost(this.#sendRest(), CLOSE_MS);
    for (const span of this.#queue.splice(0)) this.#count('dropped', spansIn(span));
    await atMost(this.#sender.close(), CLOSE_MS);
  }

  async #sendRest(): Promise<void> {
    await this.#sending;
    while (this.#queue.length > 0 && this.#pauseMs === 0) await this.#sendBatch();
  }

  #sendIn(delayMs: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#sending = this.#sendBatch();
    }, delayMs).unref();
  }

  /** Never rejects. */
  async #sendBatch(): Promise<void> {
    const batch = this.#queue.splice(0, BATCH_MAX);
    const spans = batch.reduce((sum, span) => sum + spansIn(span), 0);
    this.#isSending = true;
    try {
      const rejection = await withDeadline(this.#sender.send(batch), SEND_MS, 'the export of spans');
      if (this.#pauseMs > 0) this.#logger.info('the collector takes spans again');
      this.#pauseMs = 0;
      const rejected = Math.min(spans, Math.max(0, rejection?.spans ?? 0));
      this.#count('exported', spans - rejected);
      this.#count('dropped', rejected);
      if (rejection !== null) this.#warn(rejected, rejection);
      // Nobody says which ones were rejected, and an exemplar must not lead to a trace that the collector does not have.
      if (rejected === 0) for (const span of batch) this.#exemplars.note(span);
    } catch (thrown) {
      const facts = { err: toError(thrown), endpoint: this.settings.endpoint };
      if (this.#pauseMs === 0) this.#logger.warn(facts, 'the collector does not take spans: they are lost');
      this.#pauseMs = Math.min(LAST_PAUSE_MS, Math.max(EVERY_MS, 2 * this.#pauseMs));
      this.#count('dropped', spans);
    }
    this.#isSending = false;
    if (this.#queue.length === 0 || this.#isClosed) return;
    const isFull = this.#queue.length >= BATCH_MAX;
    this.#sendIn(this.#pauseMs || (isFull ? 0 : EVERY_MS));
  }

  /** Each batch of a misconfigured collector may bring one. */
  #warn(rejected: number, { message }: Rejection): void {
    this.#rejected += rejected;
    const nowMs = systemClock.monotonicMs();
    if (nowMs - this.#rejectionMs < REJECTION_EVERY_MS) return;
    const facts = { rejected: this.#rejected, reason: message.slice(0, MESSAGE_MAX) };
    this.#logger.warn(
      { ...facts, endpoint: this.settings.endpoint },
      this.#rejected > 0
        ? 'the collector rejects spans: they are lost'
        : 'the collector warns of the spans it takes',
    );
    this.#rejectionMs = nowMs;
    this.#rejected = 0;
  }
}

/**
 * Loads the SDK (11 MiB) in pieces, between which the event loop goes on: a reload lets all workers load it at once. Where it fails, all
 * spans are lost, but backends are told of no more traces than the settings say.
 */
async function senderOf({ endpoint }: TracingSettings, { logger }: TraceExportDeps): Promise<SpanSender> {
  try {
    for (const load of SDK) {
      await load();
      await nextTurn();
    }
    const { OtlpSender } = await import('./otlp-sender.ts');
    return new OtlpSender(endpoint);
  } catch (thrown) {
    const err = toError(thrown);
    logger.error({ err }, 'traces cannot be sent: serving without them');
    return { send: () => Promise.reject(err), close: async () => undefined };
  }
}

function spansIn({ attempts }: RequestSpan): number {
  return 1 + attempts.length;
}
