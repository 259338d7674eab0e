/**
 * Loading the configuration again while traffic flows: read, check, compare with what may not change, then hand one new
 * revision to everybody. A bad file leaves the old revision running, is counted and said aloud.
 */

import { changedRestartKeys, loadConfig } from '../config/load.ts';
import { toError } from '../contract/errors.ts';
import type { Settings } from '../contract/settings.ts';
import type { Logger } from '../infra/logging/logger.ts';
import type { ReloadOutcome } from './admin/services.ts';

/** Revision is one accepted configuration; the number grows by one with each. */
export interface Revision {
  number: number;
  settings: Settings;
  /** When it was loaded, on the database's clock where that could be asked: the version of the policies' limits. */
  policyVersionUs: number;
}

interface ReloaderOptions {
  configPath: string;
  env: NodeJS.ProcessEnv;
  initial: Revision;
  logger: Logger;
  /** The database's time, or this machine's while it is away; µs since the epoch. */
  nowUs: () => Promise<number>;
  /** Health checks follow the new pools; resolves after their first round. */
  warm: (settings: Settings) => Promise<void>;
  /** Hands the revision to the workers; resolves when every living one runs it. */
  apply: (revision: Revision) => Promise<void>;
}

export class Reloader {
  readonly #options: ReloaderOptions;
  #current: Revision;
  #lastOk = true;
  /** Reloads run one after the other; calls that come while one waits share it. */
  #running: Promise<unknown> = Promise.resolve();
  #waiting: Promise<ReloadOutcome> | null = null;

  constructor(options: ReloaderOptions) {
    this.#options = options;
    this.#current = options.initial;
  }

  get current(): Revision {
    return this.#current;
  }

  /** Whether the newest file read was accepted (`sluice_config_last_reload_success`). */
  get lastReloadSucceeded(): boolean {
    return this.#lastOk;
  }

  /** reload is called by SIGHUP and the admin API; never rejects. */
  reload(): Promise<ReloadOutcome> {
    if (this.#waiting !== null) return this.#waiting;
    const next = this.#running.then(() => {
      this.#waiting = null;
      return this.#reloadOnce();
    });
    this.#waiting = next;
    this.#running = next;
    return next;
  }

  async #reloadOnce(): Promise<ReloadOutcome> {
    const { logger } = this.#options;
    let result: ReloadOutcome;
    try {
      result = await this.#tryReload();
    } catch (thrown) {
      logger.error({ err: toError(thrown) }, 'reload failed');
      result = { ok: false, problems: [{ line: null, path: null, message: toError(thrown).message }] };
    }
    this.#lastOk = result.ok;
    if (result.ok) logger.info({ revision: result.revision }, 'reloaded');
    else logger.error({ problems: result.problems }, 'reload refused, the old configuration stays');
    return result;
  }

  async #tryReload(): Promise<ReloadOutcome> {
    const { configPath, env, nowUs, warm, apply } = this.#options;
    const loaded = loadConfig(configPath, env);
    if ('problems' in loaded) return { ok: false, problems: loaded.problems };
    const frozen = changedRestartKeys(this.#current.settings, loaded.settings);
    if (frozen.length > 0) {
      const message = 'a change needs a restart';
      return { ok: false, problems: frozen.map((path) => ({ line: null, path, message })) };
    }
    // Two clocks may have answered (the database's, then this machine's): a later load is newer all the same.
    const policyVersionUs = Math.max(await nowUs(), this.#current.policyVersionUs + 1);
    const revision = { number: this.#current.number + 1, settings: loaded.settings, policyVersionUs };
    await warm(loaded.settings);
    // From here on a worker that starts gets the new revision; those that run get it next.
    this.#current = revision;
    await apply(revision);
    return { ok: true, revision: revision.number };
  }
}
