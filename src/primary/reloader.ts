/**
 * Reads the configuration again while traffic flows. A file without mistakes, and without changes that need a restart,
 * becomes the next revision and comes into force everywhere. A bad file changes nothing; it is counted and logged.
 */
import { changedRestartKeys, type LoadedConfig, loadConfig } from '../config/load.ts';
import { systemClock } from '../contract/clock.ts';
import type { FileProblem } from '../contract/config-file-view.ts';
import { LbError, toError } from '../contract/errors.ts';
import { liveSeries } from '../contract/metrics.ts';
import { LOG_LEVELS, type LogSettings, type Settings } from '../contract/settings.ts';
import type { ProcessLog } from '../infra/logging/process-log.ts';
import type { AcmeService } from './acme/acme-service.ts';
import type { PrimaryDirectory } from './clients/primary-directory.ts';
import { ConfigWatch } from './config-watch.ts';
import type { EventLog } from './events/event-log.ts';
import type { BackendHealth } from './health/backend-health.ts';
import type { MetricsCollector } from './metrics/metrics-collector.ts';
import { logWarnings } from './primary-lines.ts';
import type { SettingsChange } from './settings-change.ts';
import { problemsText } from './status/problems.ts';
import type { Storage } from './storage.ts';
import type { TlsKeeper } from './tls/tls-keeper.ts';
import { type Revision, type WorkerBriefing, workerCountOf } from './worker-briefing.ts';
import type { WorkerLink } from './workers/worker-link.ts';

/** pendingWorkers: numbers of the workers that have not acknowledged it in time; they will, or be replaced. */
export type ReloadOutcome =
  | { ok: true; revision: number; pendingWorkers: number[] }
  | { ok: false; problems: readonly FileProblem[] };

export interface ReloaderOptions {
  configPath: string;
  env: NodeJS.ProcessEnv;
  initial: Revision;
  /** Of the text that it was read from. */
  digest: string;
  log: ProcessLog;
  events: Pick<EventLog, 'record'>;
  storage: Storage;
  /** What a revision changes, beside the log. */
  health: BackendHealth;
  directory: PrimaryDirectory;
  collector: MetricsCollector;
  briefing: WorkerBriefing;
  acme: AcmeService;
  tls: TlsKeeper;
  /** Each makes what a revision changes in a block beside what is in force; null: nothing has changed. A refusal names the block. */
  prepare: Record<string, (settings: Settings) => Promise<SettingsChange | null>>;
  /** All workers, those that start included. */
  links: () => WorkerLink[];
  /** Makes the number of workers this one; see Supervisor. */
  resize: (count: number, drainMs: number) => void;
  /** `watch` is on and the file has changed. */
  onFileChange: () => void;
}

/** Reloader is made once by PrimaryParts. */
export class Reloader {
  readonly #options: ReloaderOptions;
  readonly #watch: ConfigWatch;
  /** The revision in force. */
  current: Revision;
  /**
   * Whether the last reload was accepted, why not, how long it took, and when the configuration in force was loaded (ms since the
   * epoch). The start counts as accepted, and as 0 ms.
   */
  last = {
    succeeded: true,
    problems: [] as readonly FileProblem[],
    tookMs: 0,
    successAtMs: systemClock.wallMs(),
  };
  /** Reloads run one after the other; calls that come while one waits share it. */
  #running: Promise<unknown> = Promise.resolve();
  #waiting: Promise<ReloadOutcome> | null = null;
  /** What setLogLevel was asked for since the last reload began; null: the level of the file holds. */
  #levelMeanwhile: LogSettings['level'] | null = null;

  constructor(options: ReloaderOptions) {
    this.#options = options;
    this.current = options.initial;
    const { configPath: path, log, initial, digest, onFileChange: onChange } = options;
    this.#watch = new ConfigWatch({ path, logger: log.logger, onChange });
    this.#watch.configure(initial.settings.watch, digest);
  }

  /** close ends the watch of the file. */
  close(): void {
    this.#watch.close();
  }

  /** reload is called by SIGHUP, the admin API and the watch; never rejects. */
  reload(): Promise<ReloadOutcome> {
    this.#waiting ??= this.#running.then(() => {
      this.#waiting = null;
      return this.#reloadOnce();
    });
    this.#running = this.#waiting;
    return this.#waiting;
  }

  /** look reads the file as a reload would, and changes nothing; for the admin API. Of a file with mistakes nothing is loaded. */
  look(): { path: string; loaded: LoadedConfig | null; problems: FileProblem[] } {
    const { configPath: path, env, tls } = this.#options;
    const loaded = loadConfig(path, env, tls.tolerates);
    if ('problems' in loaded) return { path, loaded: null, problems: loaded.problems };
    const frozen = changedRestartKeys(this.current.settings, loaded.settings);
    return { path, loaded, problems: frozen.map(needsRestart) };
  }

  /**
   * setLogLevel changes the level of the application log in all processes until the next reload; for the admin API. The line about it
   * is written under the more talkative of both levels.
   * @param by who asked for it
   */
  setLogLevel(level: LogSettings['level'], by: object): void {
    const { briefing, log } = this.#options;
    const { settings } = this.current;
    const before = settings.log.level;
    const say = () =>
      log.logger.warn({ ...by, logLevel: level, before }, 'the log level is changed until the next reload');
    const isQuieter = LOG_LEVELS.indexOf(level) > LOG_LEVELS.indexOf(before);
    if (isQuieter) say();
    log.logger.level = level;
    this.#levelMeanwhile = level;
    if (!isQuieter) say();
    this.current = { ...this.current, settings: { ...settings, log: { ...settings.log, level } } };
    briefing.tellLogLevel(this.current);
  }

  async #reloadOnce(): Promise<ReloadOutcome> {
    const { logger } = this.#options.log;
    const startMs = systemClock.monotonicMs();
    const wasAudited = this.#isAudited;
    let outcome: ReloadOutcome;
    try {
      outcome = await this.#tryReload();
    } catch (thrown) {
      logger.error({ err: toError(thrown) }, 'reload failed');
      outcome = refusal(null, toError(thrown).message);
    }
    const successAtMs = outcome.ok ? systemClock.wallMs() : this.last.successAtMs;
    const problems = outcome.ok ? [] : outcome.problems;
    const tookMs = systemClock.monotonicMs() - startMs;
    this.last = { succeeded: outcome.ok, problems, tookMs, successAtMs };
    this.#record(outcome, wasAudited && !this.#isAudited);
    return outcome;
  }

  get #isAudited(): boolean {
    return this.current.settings.audit.adminChanges;
  }

  #record(outcome: ReloadOutcome, endsAudit: boolean): void {
    const { events } = this.#options;
    const kind = 'reload' as const;
    if (!outcome.ok) {
      const { problems } = outcome;
      const line = 'reload refused, the old configuration stays';
      const text = `${line}: ${problemsText(problems)}`;
      const data = { problems: problems.length, first: problems[0] ?? null };
      events.record({ kind, severity: 'error', text, data }, { line, facts: { problems } });
      return;
    }
    const { revision, pendingWorkers } = outcome;
    const audit = endsAudit ? ' and turns the audit off' : '';
    const text = `revision ${revision} of the configuration is in force${audit}`;
    if (pendingWorkers.length === 0) {
      events.record({ kind, severity: 'info', text, data: { revision } }, { line: 'reloaded' });
      return;
    }
    const line = 'reloaded, but not every worker has applied it yet';
    const pending = `${text}, but not in worker ${pendingWorkers.join(', ')} yet`;
    events.record({ kind, severity: 'warning', text: pending, data: { revision, pendingWorkers } }, { line });
  }

  async #tryReload(): Promise<ReloadOutcome> {
    const { storage, log } = this.#options;
    this.#levelMeanwhile = null;
    const { loaded, problems } = this.look();
    if (loaded === null || problems.length > 0) return { ok: false, problems };
    const { settings } = loaded;
    const changes: SettingsChange[] = [];
    let key: string | null = null;
    try {
      for (const [block, prepare] of Object.entries(this.#options.prepare)) {
        key = block;
        const change = await prepare(settings);
        if (change !== null) changes.push(change);
      }
      key = null;
      const clock = changes.find(({ nowUs }) => nowUs !== undefined) ?? storage;
      const loadedAtUs = (await clock.nowUs?.()) ?? 0;
      // The last step that can refuse, because it cannot be taken back.
      key = 'log.file';
      log.configure(this.#logOf(settings));
      key = null;
      return await this.#enforce(loaded, changes, loadedAtUs);
    } catch (thrown) {
      for (const change of changes) await change.cancel();
      if (key !== null && thrown instanceof LbError) return refusal(key, thrown.message);
      throw thrown;
    }
  }

  #logOf({ log }: Settings): LogSettings {
    return { ...log, level: this.#levelMeanwhile ?? log.level };
  }

  /** @param changes emptied once they are in force */
  async #enforce(
    { settings, warnings, digest }: LoadedConfig,
    changes: SettingsChange[],
    loadedAtUs: number,
  ): Promise<ReloadOutcome> {
    const { log, health, links, resize } = this.#options;
    logWarnings(log.logger, warnings);
    await health.prepare(settings.pools);
    for (const change of changes) await change.announce?.();
    const { number, workerCount, policyVersionUs } = this.current;
    this.current = {
      number: number + 1,
      settings: { ...settings, log: this.#logOf(settings) },
      workerCount: workerCountOf(settings, workerCount),
      // A later revision must be newer even if the database's clock answered last time and this machine's does now.
      policyVersionUs: Math.max(loadedAtUs, policyVersionUs + 1),
    };
    this.#watch.configure(settings.watch, digest);
    // Before the settings. What is forked from now on inherits the sockets.
    const finishes = changes.splice(0).map((change) => change.commit(links()));
    const pendingWorkers = await this.#apply(this.current);
    for (const finish of finishes) await this.#finish(finish);
    // The workers of now have their new shares by then.
    resize(this.current.workerCount, settings.timeouts.drainMs);
    return { ok: true, revision: number + 1, pendingWorkers };
  }

  /** The revision is in force, whatever becomes of what it has replaced. */
  async #finish(finish: () => Promise<void>): Promise<void> {
    try {
      await finish();
    } catch (thrown) {
      this.#options.log.logger.error(
        { err: toError(thrown) },
        'a part of the old configuration cannot be closed',
      );
    }
  }

  /** Puts a revision into force. Resolves with the numbers of the workers that have not acknowledged it in time. */
  #apply(revision: Revision): Promise<number[]> {
    const { health, directory, collector, briefing, acme, tls } = this.#options;
    const { settings } = revision;
    void health.configure(settings.pools);
    directory.configure(settings);
    collector.keepOnly(liveSeries(settings));
    tls.configure(settings);
    void acme.configure(settings);
    return briefing.apply(revision);
  }
}

function needsRestart(path: string): FileProblem {
  const what = path === 'database' ? 'a change from or to the embedded database' : 'a change';
  return { line: null, path, message: `${what} needs a restart of the process` };
}

function refusal(path: string | null, message: string): ReloadOutcome {
  return { ok: false, problems: [{ line: null, path, message }] };
}
