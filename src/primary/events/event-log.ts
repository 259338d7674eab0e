/**
 * What has happened here: the newest events, for the admin port, and for whoever subscribes. Each is a line of the application log,
 * too; to record an event is to write that line.
 */
import { type Clock, systemClock } from '../../contract/clock.ts';
import type { EventEntry, EventKind, Severity } from '../../contract/events.ts';
import type { Logger } from '../../infra/logging/logger.ts';

const MAX_ENTRIES = 1_000;
const MAX_TEXT_CHARS = 500;
const MAX_FACT_CHARS = 2_000;
/** Of `"…":"… 1000000 more"` and brackets. */
const MORE_CHARS = 30;
const LEVELS = { info: 'info', warning: 'warn', error: 'error' } as const satisfies Record<Severity, string>;

export type NewEvent = Pick<EventEntry, 'kind' | 'severity' | 'text'> &
  Partial<Pick<EventEntry, 'subject' | 'actor' | 'data'>>;

interface LineOptions {
  /** The message of the line in the log, where it is another one than the text; null: it has no line. */
  line?: string | null;
  /** What the line has in place of the event's data. */
  facts?: object;
}

/** EventLog is made once by the primary's main. */
export class EventLog {
  readonly #logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  readonly #clock: Clock;
  readonly #listeners = new Set<(entry: EventEntry) => void>();
  readonly #countByKind = new Map<EventKind, number>();
  #entries: EventEntry[] = [];
  #lastNumber: number;

  constructor(logger: Pick<Logger, 'info' | 'warn' | 'error'>, clock: Clock = systemClock) {
    this.#logger = logger;
    this.#clock = clock;
    this.#lastNumber = Math.trunc(clock.wallMs());
  }

  /** record keeps an event, writes its line, and tells the listeners. */
  record(event: NewEvent, { line = event.text, facts = event.data ?? {} }: LineOptions = {}): void {
    const { kind, severity, text, subject = null, actor = null, data = {} } = event;
    if (line !== null) this.#logger[LEVELS[severity]](facts, line);
    this.#lastNumber++;
    const entry: EventEntry = {
      number: this.#lastNumber,
      at: new Date(this.#clock.wallMs()).toISOString(),
      kind,
      severity,
      text: cut(text, MAX_TEXT_CHARS),
      subject,
      actor,
      data: Object.fromEntries(Object.entries(data).map(([name, value]) => [name, factOf(value)])),
    };
    this.#keep(entry);
    for (const listener of this.#listeners) listener(entry);
  }

  /** onEvent calls back with each event, in the turn that records it; the listener must not throw. Returns how to stop. */
  onEvent(listener: (entry: EventEntry) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** entries are those that are kept, the oldest first. For reading only. */
  get entries(): readonly EventEntry[] {
    return this.#entries;
  }

  /** since are the entries after a number, the oldest first. */
  since(number: number): EventEntry[] {
    return this.#entries.filter((entry) => entry.number > number);
  }

  /** At the bound the kind with the most entries loses its oldest: a script that writes 10,000 clients pushes no outage out. */
  #keep(entry: EventEntry): void {
    this.#entries.push(entry);
    this.#countByKind.set(entry.kind, (this.#countByKind.get(entry.kind) ?? 0) + 1);
    if (this.#entries.length <= MAX_ENTRIES) return;
    const [[kind, count] = [entry.kind, 1]] = [...this.#countByKind].sort(([, a], [, b]) => b - a);
    const oldest = this.#entries.findIndex((each) => each.kind === kind);
    this.#entries.splice(oldest, 1);
    this.#countByKind.set(kind, count - 1);
  }
}

function factOf(value: unknown): unknown {
  if (value instanceof Error) return cut(value.message, MAX_TEXT_CHARS);
  return shortened(JSON.parse(JSON.stringify(value) ?? 'null'), MAX_FACT_CHARS);
}

/** The beginning of a value of JSON, in this many characters of JSON; `… 3 more` stands for what was left out. */
function shortened(plain: unknown, chars: number): unknown {
  if (JSON.stringify(plain).length <= chars) return plain;
  if (typeof plain === 'string') return shortenedText(plain, chars);
  if (typeof plain !== 'object' || plain === null) return plain;
  if (chars < MORE_CHARS) return '…';
  const entries = Object.entries(plain);
  const kept: [name: string, value: unknown][] = [];
  let left = chars - MORE_CHARS;
  for (const [name, value] of entries) {
    const entry: [string, unknown] = [name, shortened(value, left - JSON.stringify(name).length - 2)];
    const { length } = JSON.stringify(entry);
    if (length > left) break;
    kept.push(entry);
    left -= length;
  }
  const more = entries.length - kept.length;
  if (more > 0) kept.push(['…', `… ${more} more`]);
  return Array.isArray(plain) ? kept.map(([, value]) => value) : Object.fromEntries(kept);
}

/** One character may be six of JSON. */
function shortenedText(text: string, chars: number): string {
  let kept = text.slice(0, Math.max(0, chars));
  while (kept !== '' && JSON.stringify(kept).length >= chars) kept = kept.slice(0, kept.length * 0.9);
  return `${kept}…`;
}

function cut(text: string, chars: number): string {
  return text.length <= chars ? text : `${text.slice(0, chars)}…`;
}
