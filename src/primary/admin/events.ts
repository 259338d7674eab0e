/**
 * The call that tells what happens, as it happens. One text is made per second for all readers, and none while nobody reads. A reader
 * gets first what has happened lately, then a sample, then one text per second: the changes since the last one, and a sample.
 */
import type { EventEntry } from '../../contract/events.ts';
import { type AdminApp, call } from './app.ts';
import { EventStreams, eventText, streamResponse } from './event-streams.ts';
import type { AdminParts } from './parts.ts';
import { poolViews } from './pools.ts';

const MAX_READERS = 50;
/** For a reader that names none. */
const NEWEST = 200;

const SUMMARY =
  'Follow what happens: `change` for each entry of the event log, and once a second `sample`: what GET /api/v1/status shows, pools, and the newest second of GET /api/v1/history';
const DESCRIPTION =
  'Server-sent events. `id` is the number of an entry; those after `Last-Event-ID`, else the newest 200, come first';

/** registerEvents adds the route. */
export function registerEvents(app: AdminApp, parts: AdminParts): void {
  const streams = new EventStreams(app, MAX_READERS);
  const feed = new EventFeed(parts, streams);
  app.get(
    '/api/v1/events',
    { exposeHeadRoute: false, ...call('operation', SUMMARY, [], { response: streamResponse(DESCRIPTION) }) },
    async ({ headers }, reply) => {
      const stream = streams.open(reply, () => feed.stopIfUnread());
      feed.start();
      stream.write(feed.beginning(String(headers['last-event-id'] ?? '')));
    },
  );
}

class EventFeed {
  readonly #parts: AdminParts;
  readonly #streams: EventStreams;
  /** null: nobody reads. */
  #stop: (() => void) | null = null;
  /** Of the last entry that readers were told. */
  #lastNumber = 0;
  #sample = '';

  constructor(parts: AdminParts, streams: EventStreams) {
    this.#parts = parts;
    this.#streams = streams;
  }

  start(): void {
    if (this.#stop !== null) return;
    const { board, events } = this.#parts;
    this.#lastNumber = events.entries.at(-1)?.number ?? 0;
    this.#sample = this.#makeSample();
    this.#stop = board.onSample(() => this.#tell());
  }

  stopIfUnread(): void {
    if (this.#streams.size > 0) return;
    this.#stop?.();
    this.#stop = null;
  }

  /** What a new reader gets first. Entries that nobody was told yet come with the next text. */
  beginning(lastEventId: string): string {
    const told = this.#parts.events.entries.filter(({ number }) => number <= this.#lastNumber);
    const last = /^\d{1,15}$/.test(lastEventId) ? Number(lastEventId) : null;
    const isKnown = last !== null && last <= this.#lastNumber;
    const wanted = isKnown ? told.filter(({ number }) => number > last) : told.slice(-NEWEST);
    return `${wanted.map(changeText).join('')}${this.#sample}`;
  }

  #tell(): void {
    const changes = this.#parts.events.since(this.#lastNumber);
    this.#lastNumber = changes.at(-1)?.number ?? this.#lastNumber;
    this.#sample = this.#makeSample();
    this.#streams.send(Buffer.from(`${changes.map(changeText).join('')}${this.#sample}`));
  }

  #makeSample(): string {
    const sample = {
      at: new Date().toISOString(),
      ...this.#parts.board.live(),
      pools: poolViews(this.#parts),
      history: this.#parts.board.history(1),
    };
    return eventText('sample', sample);
  }
}

function changeText(entry: EventEntry): string {
  return eventText('change', entry, entry.number);
}
