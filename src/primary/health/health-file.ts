/**
 * What the next primary is told of backends: a small file beside the data. It is written whole, under another name first: soon after
 * each change, before a call is answered that drains or enables a backend, every half minute so that its age says how long nobody has
 * looked, and at the end. Whatever is wrong with it is logged and changes nothing else.
 *
 * What is taken over: an operator's drain, always; an ejection, until the time at which it ends; and, of a file that is not old, that a
 * backend was up, so that its requests need not wait for the first probe, which decides alone. Nothing else keeps a backend out: one
 * that was down gets no traffic before its first good probe anyway (B6).
 */
import { readFileSync } from 'node:fs';
import { systemClock } from '../../contract/clock.ts';
import { systemCodeOf, toError } from '../../contract/errors.ts';
import { type Fitting, fits } from '../../contract/shape.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { replaceFile } from '../../infra/replace-file.ts';

const VERSION = 1;
const WRITE_AFTER_MS = 200;
const WRITE_EVERY_MS = 30_000;
/** A file of this age says nothing of what is up. */
const OLD_MS = 120_000;
/** More than any configuration needs. */
const MAX_BYTES = 16 * 2 ** 20;

const SAVED_BACKEND = {
  fields: {
    pool: 'string',
    id: 'string',
    host: 'string',
    port: 'number',
    tls: 'boolean',
    up: 'boolean',
    /** By an operator. */
    drained: 'boolean',
    ejection: {
      nullOr: { fields: { ejectionReason: 'string', ejectedUntilMs: 'number', timesEjected: 'number' } },
    },
  },
} as const;
/** SavedBackend is one backend in the file. */
export type SavedBackend = Fitting<typeof SAVED_BACKEND>;

const FILE = {
  fields: { version: 'number', savedAtMs: 'number', backends: { listOf: SAVED_BACKEND } },
} as const;

interface HealthFileOptions {
  path: string;
  /** What is to be saved now. */
  saved: () => SavedBackend[];
  logger: Logger;
}

/** HealthFile is made once by BackendHealth. */
export class HealthFile {
  readonly #options: HealthFileOptions;
  readonly #interval: NodeJS.Timeout;
  #due: NodeJS.Timeout | null = null;
  /** At most one at a time. */
  #writing: Promise<void> = Promise.resolve();
  /** Comes after it, for everybody who has a change meanwhile. */
  #next: Promise<void> | null = null;
  #hasFailed = false;
  /** Whether another primary writes the file. */
  #isLent = false;

  constructor(options: HealthFileOptions) {
    this.#options = options;
    this.#interval = setInterval(() => void this.flush(), WRITE_EVERY_MS).unref();
  }

  /** load reads what an earlier primary has left; nothing where there is no file, or none that can be used. */
  load(): SavedBackend[] {
    const { path, logger } = this.#options;
    try {
      const text = readFileSync(path, 'utf8');
      if (text.length > MAX_BYTES) throw new Error('it is too large');
      const file: unknown = JSON.parse(text);
      if (!fits(FILE, file)) throw new Error('it does not hold what Sluice saves');
      const { version, savedAtMs, backends } = file as Fitting<typeof FILE>;
      if (version !== VERSION) throw new Error(`it is of version ${version}`);
      const ageMs = systemClock.wallMs() - savedAtMs;
      const isOld = ageMs < 0 || ageMs > OLD_MS;
      return isOld ? backends.map((each) => ({ ...each, up: false })) : backends;
    } catch (thrown) {
      if (systemCodeOf(thrown) !== 'ENOENT')
        logger.warn({ err: toError(thrown), path }, 'the saved health of backends cannot be used');
      return [];
    }
  }

  /** note is called with each change. */
  note(): void {
    this.#due ??= setTimeout(() => void this.flush(), WRITE_AFTER_MS).unref();
  }

  /** flush resolves once the file has what is to be saved now, or could not be written. It never rejects. */
  flush(): Promise<void> {
    if (this.#due !== null) clearTimeout(this.#due);
    this.#due = null;
    this.#next ??= this.#writeNext();
    return this.#next;
  }

  /** lend writes once more, and leaves the file to another primary. */
  async lend(): Promise<void> {
    await this.flush();
    this.#isLent = true;
    await this.#writing;
  }

  /** takeBack ends that. */
  takeBack(): void {
    this.#isLent = false;
    this.note();
  }

  /** close writes once more. */
  async close(): Promise<void> {
    clearInterval(this.#interval);
    await this.lend();
  }

  /** What is under way may have been read before the change. */
  async #writeNext(): Promise<void> {
    await this.#writing;
    this.#next = null;
    if (this.#isLent) return;
    this.#writing = this.#save();
    await this.#writing;
  }

  async #save(): Promise<void> {
    const { path, saved, logger } = this.#options;
    try {
      const file = { version: VERSION, savedAtMs: systemClock.wallMs(), backends: saved() };
      await replaceFile(path, JSON.stringify(file));
      this.#hasFailed = false;
    } catch (thrown) {
      const facts = { err: toError(thrown), path };
      if (!this.#hasFailed)
        logger.warn(
          facts,
          'the health of backends cannot be saved: a restart will forget drains and ejections',
        );
      this.#hasFailed = true;
    }
  }
}
