/**
 * Loading the configuration again while traffic flows: read, check, compare with what may not change, then hand one new
 * revision to everybody. A bad file leaves the old revision running, is counted and said aloud.
 */

import { changedRestartKeys, loadConfig, type Problem } from '../config/load.ts';
import { toError } from '../contract/errors.ts';
import type { Settings } from '../contract/settings.ts';
import type { Logger } from '../infra/logger.ts';

/** Revision is one accepted configuration; the number grows by one with each. */
export interface Revision {
  number: number;
  settings: Settings;
  /** When it was loaded, on the database's clock where that could be asked: the version of the policies' limits. */
  policyVersionUs: number;
}

export type ReloadResult = { ok: true; revision: number } | { ok: false; problems: string[] };

interface ReloaderOptions {
  configPath: string;
  env: NodeJS.ProcessEnv;
  initial: Revision;
  logger: Logger;
  /** The database's time, or this machine's while it is away; µs since the epoch. */
  nowUs: () => Promise<number>;
  /** Hands the revision to workers and health checks; resolves when every living worker runs it. */
  apply: (revision: Revision) => Promise<void>;
}

export class Reloader {
  readonly #options: ReloaderOptions;
  #current: Revision;
  #lastOk = true;
  /** Reloads run one after the other; calls that come while one waits share it. */
  #running: Promise<unknown> = Promise.resolve();
  #waiting: Promise<ReloadResult> | null = null;

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
  reload(): Promise<ReloadResult> {
    if (this.#waiting !== null) return this.#waiting;
    const next = this.#running.then(() => {
      this.#waiting = null;
      return this.#reloadOnce();
    });
    this.#waiting = next;
    this.#running = next;
    return next;
  }

  async #reloadOnce(): Promise<ReloadResult> {
    const { logger, configPath } = this.#options;
    let result: ReloadResult;
    try {
      result = await this.#tryReload();
    } catch (thrown) {
      logger.error({ err: toError(thrown) }, 'reload failed');
      result = { ok: false, problems: [`${configPath}: ${toError(thrown).message}`] };
    }
    this.#lastOk = result.ok;
    if (result.ok) logger.info({ revision: result.revision }, 'reloaded');
    else logger.error({ problems: result.problems }, 'reload refused, the old configuration stays');
    return result;
  }

  async #tryReload(): Promise<ReloadResult> {
    const { configPath, env, nowUs, apply } = this.#options;
    const loaded = loadConfig(configPath, env);
    if ('problems' in loaded) return { ok: false, problems: describe(loaded.problems) };
    const frozen = changedRestartKeys(this.#current.settings, loaded.settings);
    if (frozen.length > 0) {
      return { ok: false, problems: frozen.map((key) => `${key}: a change needs a restart`) };
    }
    // Two clocks may have answered (the database's, then this machine's): a later load is newer all the same.
    const policyVersionUs = Math.max(await nowUs(), this.#current.policyVersionUs + 1);
    const revision = { number: this.#current.number + 1, settings: loaded.settings, policyVersionUs };
    this.#current = revision;
    await apply(revision);
    return { ok: true, revision: revision.number };
  }
}

function describe(problems: Problem[]): string[] {
  return problems.map(({ line, path, message }) =>
    [line, path, message].filter((part) => part !== null).join(': '),
  );
}
