/**
 * Notices that the configuration file has changed (`watch: true`), however it is written: in place, by a rename over it (editors), or by
 * a link that is pointed elsewhere (the `..data` of a Kubernetes ConfigMap).
 *
 * A look asks for the facts of the file, links followed. It comes soon after an event in the file's folder, and every POLL_MS in any
 * case, because not every file system has events and a link may lead out of the folder. Facts that have changed count once they are the
 * same in two looks, SETTLE_MS apart, so that a file that is being written is left alone; then the text decides.
 */
import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { digestOf, readText } from '../config/read-file.ts';
import { systemCodeOf, toError } from '../contract/errors.ts';
import type { Logger } from '../infra/logging/logger.ts';

const POLL_MS = 2_000;
/** At most one look in this time, however many events a busy folder has. */
const SETTLE_MS = 200;

interface ConfigWatchOptions {
  path: string;
  logger: Logger;
  /** Called once per change of the text. */
  onChange: () => void;
}

/** ConfigWatch is made by the Reloader. It is off until configure turns it on. */
export class ConfigWatch {
  readonly #options: ConfigWatchOptions;
  #poll: NodeJS.Timeout | null = null;
  #events: FSWatcher | null = null;
  #soon: NodeJS.Timeout | null = null;
  /** What is known of the file: the digest of its text, its facts with that text, and those of the last look. */
  #text: string | null = null;
  #known: string | null = null;
  #last: string | null = null;

  constructor(options: ConfigWatchOptions) {
    this.#options = options;
  }

  /**
   * configure turns it on or off. A change counts from the moment the configuration in force was read, even before it was in force.
   * @param digest of its text
   */
  configure(isOn: boolean, digest: string): void {
    this.#text = digest;
    if (isOn === (this.#poll !== null)) return;
    if (!isOn) {
      this.close();
      return;
    }
    this.#poll = setInterval(() => void this.#look(), POLL_MS).unref();
    this.#watchFolder();
  }

  /** close turns it off. */
  close(): void {
    for (const timer of [this.#poll, this.#soon]) clearTimeout(timer ?? undefined);
    this.#events?.close();
    this.#poll = null;
    this.#soon = null;
    this.#events = null;
    this.#known = null;
  }

  #watchFolder(): void {
    const { path, logger } = this.#options;
    const failed = (thrown: unknown): void => {
      this.#events?.close();
      this.#events = null;
      logger.debug(
        { err: toError(thrown) },
        'the folder of the configuration cannot be watched, it is only polled',
      );
    };
    try {
      this.#events = watch(dirname(path), { persistent: false }, () => this.#lookSoon());
      this.#events.on('error', failed);
    } catch (thrown) {
      failed(thrown);
    }
  }

  #lookSoon(): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = null;
      void this.#look();
    }, SETTLE_MS).unref();
  }

  async #look(): Promise<void> {
    const facts = await this.#facts();
    if (this.#poll === null || facts === null || facts === this.#known) return;
    const isSettled = facts === this.#last;
    this.#last = facts;
    if (!isSettled) {
      this.#lookSoon();
      return;
    }
    this.#known = facts;
    const text = this.#read();
    if (text === null || text === this.#text) return;
    this.#text = text;
    this.#options.logger.info('the configuration file has changed');
    this.#options.onChange();
  }

  /** null: there is no file now; a rename may be under way. */
  async #facts(): Promise<string | null> {
    try {
      const stats = await stat(this.#options.path, { bigint: true });
      const { dev, ino, size, mtimeNs, ctimeNs } = stats;
      return stats.isFile() ? [dev, ino, size, mtimeNs, ctimeNs].join() : null;
    } catch (thrown) {
      if (systemCodeOf(thrown) !== 'ENOENT')
        this.#options.logger.debug({ err: toError(thrown) }, 'the configuration file cannot be watched now');
      return null;
    }
  }

  /** The digest of the text; null: it cannot be read. */
  #read(): string | null {
    const text = readText(this.#options.path);
    return 'value' in text ? digestOf(text.value) : null;
  }
}
