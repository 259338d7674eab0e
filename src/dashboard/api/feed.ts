/**
 * What all pages show live: the samples and changes of GET /api/v1/events. The stream is opened again, with a growing pause, for as
 * long as somebody is signed in and sees this tab.
 */
import type { Change, Sample } from './answers.ts';
import { CallError, messageOf } from './call.ts';
import type { ServerEvent } from './event-parser.ts';
import { readEvents } from './event-stream.ts';
import { hidden } from './hidden.ts';
import { addSample, loadHistory } from './history.ts';
import { session } from './session.ts';
import { followRevision, loadStatus } from './status.ts';
import { Store } from './store.ts';

export type Link =
  | { kind: 'connecting' }
  | { kind: 'live' }
  /** @param retryAtMs when it tries again, on the wall clock */
  | { kind: 'lost'; message: string; retryAtMs: number };

export const link = new Store<Link>({ kind: 'connecting' });
/** null: none has come yet. The last one stays while the connection is lost. */
export const sample = new Store<Sample | null>(null);
/** The newest first. */
export const changes = new Store<readonly Change[]>([]);

const MAX_CHANGES = 1_000;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 15_000;

let stop: (() => void) | null = null;
/** Ends the pause before the next try. */
let hurry = (): void => undefined;

/** followSession opens the stream while somebody is signed in; main.tsx calls it once. */
export function followSession(): void {
  const follow = (): void => {
    const isIn = session.value.kind === 'signed-in';
    const isWanted = isIn && !hidden.value;
    if (isWanted && stop === null) {
      const ended = new AbortController();
      stop = () => ended.abort();
      void keepReading(ended.signal);
    } else if (!isWanted) {
      stop?.();
      stop = null;
      link.set({ kind: 'connecting' });
    }
    if (isIn) return;
    sample.set(null);
    changes.set([]);
  };
  session.subscribe(follow);
  hidden.subscribe(follow);
  follow();
}

/** retryNow is called by the button of the banner. */
export function retryNow(): void {
  hurry();
}

async function keepReading(signal: AbortSignal): Promise<void> {
  let pauseMs = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    let message = 'The connection to Sluice has ended.';
    let waitMs = pauseMs;
    try {
      const onOpen = (): void => {
        pauseMs = FIRST_PAUSE_MS;
        waitMs = FIRST_PAUSE_MS;
        link.set({ kind: 'live' });
        void loadHistory();
        void loadStatus();
      };
      // What happened while nobody saw this tab comes first. Numbers also grow from one start of Sluice to the next.
      const last = Math.max(...changes.value.map(({ number }) => number));
      const headers: Record<string, string> = Number.isFinite(last) ? { 'last-event-id': String(last) } : {};
      await readEvents('/api/v1/events', take, { signal, headers, onOpen });
    } catch (error) {
      message = error instanceof CallError ? messageOf(error) : 'The connection to Sluice is lost.';
      if (error instanceof CallError && error.retryAfterSec !== null) waitMs = error.retryAfterSec * 1_000;
    }
    if (signal.aborted) return;
    pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
    link.set({ kind: 'lost', message, retryAtMs: Date.now() + waitMs });
    // It is lost until it is there again: a banner that came and went with each try would be read out each time.
    await pause(waitMs, signal);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    hurry = end;
    signal.addEventListener('abort', end);
  });
}

function take({ type, data }: ServerEvent): void {
  if (type === 'sample') {
    const next = JSON.parse(data) as Sample;
    sample.set(next);
    followRevision(next.revision);
    addSample(next);
  } else if (type === 'change') {
    const change = JSON.parse(data) as Change;
    // The newest come once more where this Sluice does not know the number that was sent.
    const others = changes.value.filter(({ number, at }) => number !== change.number || at !== change.at);
    const sorted = [change, ...others].sort((a, b) =>
      a.at === b.at ? b.number - a.number : a.at < b.at ? 1 : -1,
    );
    changes.set(sorted.slice(0, MAX_CHANGES));
  }
}
