/**
 * Loads the configuration again while traffic flows: read, check, compare with what needs a restart, then put one new revision
 * into force everywhere. A bad file changes nothing, is counted and logged.
 */

import { changedRestartKeys, loadConfig } from '../config/load.ts';
import type { Problem } from '../config/problems.ts';
import { systemClock } from '../contract/clock.ts';
import { toError } from '../contract/errors.ts';
import type { Settings } from '../contract/settings.ts';
import type { Logger } from '../infra/logging/logger.ts';

/** Revision is one accepted configuration; the number grows by one with each. */
export interface Revision {
  number: number;
  settings: Settings;
  /** When it was loaded, on the database's clock where that could be asked: the version of the policies' limits. */
  policyVersionUs: number;
}

/** pendingWorkers: numbers of the workers that have not said in time that they run it; they will, or be replaced. */
export type ReloadOutcome =
  | { ok: true; revision: number; pendingWorkers: number[] }
  | { ok: false; problems: readonly Problem[] };

/** logWarnings writes the warnings of a configuration that is about to be used, one line each. */
export function logWarnings(logger: Logger, warnings: readonly Problem[]): void {
  for (const { line, path, message } of warnings) logger.warn({ line, path }, `configuration: ${message}`);
}

interface ReloaderOptions {
  configPath: string;
  env: NodeJS.ProcessEnv;
  initial: Revision;
  logger: Logger;
  /** The database's time, or this machine's while it is away; µs since the epoch. */
  nowUs: () => Promise<number>;
  /** Probes what is new in the settings, beside what is in force; resolves when the results are there or late. */
  prepare: (settings: Settings) => Promise<unknown>;
  /** Puts a revision into force; resolves with the numbers of the workers that have not acknowledged it in time. */
  apply: (revision: Revision) => Promise<number[]>;
}

export class Reloader {
  readonly #options: ReloaderOptions;
  #current: Revision;
  #lastOk = true;
  #lastSuccessAtMs = systemClock.wallMs();
  #lastReloadMs = 0;
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

  /** When the configuration in force was loaded; ms since the epoch. */
  get lastSuccessAtMs(): number {
    return this.#lastSuccessAtMs;
  }

  /** How long the last reload took; 0 before the first. */
  get lastReloadMs(): number {
    return this.#lastReloadMs;
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
    const startMs = systemClock.monotonicMs();
    let result: ReloadOutcome;
    try {
      result = await this.#tryReload();
    } catch (thrown) {
      logger.error({ err: toError(thrown) }, 'reload failed');
      result = { ok: false, problems: [{ line: null, path: null, message: toError(thrown).message }] };
    }
    this.#lastOk = result.ok;
    this.#lastReloadMs = systemClock.monotonicMs() - startMs;
    if (result.ok) this.#lastSuccessAtMs = systemClock.wallMs();
    if (result.ok) {
      const { revision, pendingWorkers } = result;
      if (pendingWorkers.length === 0) logger.info({ revision }, 'reloaded');
      else logger.warn({ revision, pendingWorkers }, 'reloaded, but not every worker has applied it yet');
    } else logger.error({ problems: result.problems }, 'reload refused, the old configuration stays');
    return result;
  }

  async #tryReload(): Promise<ReloadOutcome> {
    const { configPath, env, nowUs, prepare, apply } = this.#options;
    const loaded = loadConfig(configPath, env);
    if ('problems' in loaded) return { ok: false, problems: loaded.problems };
    const { settings } = loaded;
    const frozen = changedRestartKeys(this.#current.settings, settings);
    if (frozen.length > 0) {
      const message = 'a change needs a restart';
      return { ok: false, problems: frozen.map((path) => ({ line: null, path, message })) };
    }
    logWarnings(this.#options.logger, loaded.warnings);
    const [loadedAtUs] = await Promise.all([nowUs(), prepare(settings)]);
    this.#current = {
      number: this.#current.number + 1,
      settings,
      // Two clocks may have answered (the database's, then this machine's): a later load is newer all the same.
      policyVersionUs: Math.max(loadedAtUs, this.#current.policyVersionUs + 1),
    };
    const pendingWorkers = await apply(this.#current);
    return { ok: true, revision: this.#current.number, pendingWorkers };
  }
}
