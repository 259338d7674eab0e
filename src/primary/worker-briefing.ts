/**
 * What a worker is told before it serves, and in which order. A worker listens as soon as it has settings, so they come last, with the
 * states of the backends. Before them come clients with their API keys, challenges of certificate authorities, and certificates: else a
 * caller who is blocked would get through a worker that does not know it yet.
 *
 * A worker is in one of two states:
 * - waiting: brief() is at work. A reload sends it no settings, which would make it listen too early.
 * - briefed: it has settings. apply() sends it each new revision.
 */
import { availableParallelism } from 'node:os';
import { type AcmeChallenge, MAX_ACME_CHALLENGES } from '../contract/messages.ts';
import type { Settings } from '../contract/settings.ts';
import type { TlsMaterial } from '../contract/tls.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { atMost } from '../infra/with-deadline.ts';
import type { PrimaryDirectory } from './clients/primary-directory.ts';
import type { HealthRegistry } from './health/health-registry.ts';
import type { WorkerLink } from './workers/worker-link.ts';

/** Revision is one accepted configuration; the number grows by one with each. */
export interface Revision {
  number: number;
  settings: Settings;
  /** Of `workers: auto` too, fixed with the revision: the CPUs that a running process may use can change at any time. */
  workerCount: number;
  /** When it was loaded, by Storage.nowUs: the version of the policies' limits. */
  policyVersionUs: number;
}

/** How long a worker that starts waits for clients and API keys: the database may be slow, or say nothing. */
const FIRST_LOAD_MS = 5_000;
/** A reload waits this long for a worker. A slower one still applies the revision: it has the message. */
const ACKNOWLEDGE_MS = 5_000;
/** How long a worker may take over challenges; a message takes a millisecond. */
const CHALLENGES_MS = 2_000;
/** Makes a time in µs older than any real version, and keeps the order; see settingsOf. */
const BLIND_DIVISOR = 1_000;

interface BriefingOptions {
  registry: HealthRegistry;
  directory: PrimaryDirectory;
  initial: Revision;
  logger: Logger;
}

export class WorkerBriefing {
  readonly #options: BriefingOptions;
  readonly #briefed = new Set<WorkerLink>();
  #revision: Revision;
  #challenges: readonly AcmeChallenge[] = [];
  #challengesVersion = 0;
  #tls: TlsMaterial | null = null;
  #storeWorkers: number | null = null;
  /** Of this instance, when the heartbeat told #storeWorkers. */
  #ownWorkers = 0;

  constructor(options: BriefingOptions) {
    this.#options = options;
    this.#revision = options.initial;
  }

  /**
   * Workers of all instances that share the store, by the heartbeat; null while unknown. Those that a reload has added count at once,
   * because the heartbeat says nothing while the store is away, when workers need the number; a smaller one is left to it.
   */
  get storeWorkers(): number | null {
    if (this.#storeWorkers === null) return null;
    return this.#storeWorkers + Math.max(0, this.#revision.workerCount - this.#ownWorkers);
  }

  set storeWorkers(count: number | null) {
    this.#storeWorkers = count;
    this.#ownWorkers = this.#revision.workerCount;
  }

  /** brief tells a new worker everything; the supervisor calls it once per process. */
  async brief(link: WorkerLink): Promise<void> {
    const { feed, streams } = this.#options.directory;
    void link.exited.then(() => this.#briefed.delete(link));
    const clientsTold = this.#options.directory.attach(link);
    // While the database is away there is nothing to wait for.
    const told = feed.firstTry.then(() => (feed.loaded ? clientsTold : false));
    await atMost(told, FIRST_LOAD_MS);
    if (!link.alive) return;
    this.#briefed.add(link);
    if (this.#challenges.length > 0) this.#sendChallenges(link);
    if (this.#tls !== null) link.send({ type: 'tls', ...this.#tls });
    this.#sendRevision(link);
    if (streams.knows(link)) return;
    // Once it knows all clients, the policies' limits carry their real version.
    void clientsTold.then((knows) => (knows ? this.#sendRevision(link) : undefined));
  }

  /**
   * tellChallenges replaces the open challenges of certificate authorities in every worker; the newest MAX_ACME_CHALLENGES of them,
   * the last ones, count. Resolves once all workers answer from them, or have not said so in time; never rejects.
   */
  async tellChallenges(challenges: readonly AcmeChallenge[]): Promise<void> {
    this.#challenges = challenges.slice(-MAX_ACME_CHALLENGES);
    const version = ++this.#challengesVersion;
    const told = [...this.#briefed].map((link) => {
      const applied = link.waitFor(
        'acme-challenges-applied',
        CHALLENGES_MS,
        (each) => each.version >= version,
      );
      this.#sendChallenges(link);
      return applied;
    });
    await Promise.allSettled(told);
  }

  /** tellLogLevel changes the level of every worker. @param revision that in force, with this level: workers that start get it */
  tellLogLevel(revision: Revision): void {
    this.#revision = revision;
    const { level } = revision.settings.log;
    for (const link of this.#briefed) link.send({ type: 'log-level', level });
  }

  /** tellTls replaces certificates and ticket keys in every worker. A revision that is applied next comes after them. */
  tellTls(material: TlsMaterial): void {
    this.#tls = material;
    for (const link of this.#briefed) link.send({ type: 'tls', ...material });
  }

  #sendChallenges(link: WorkerLink): void {
    const challenges = [...this.#challenges];
    link.send({ type: 'acme-challenges', version: this.#challengesVersion, challenges });
  }

  /**
   * apply hands a revision to every briefed worker; the others get it at the end of their briefing.
   *
   * @returns resolves with the numbers of the workers that have not acknowledged it in time
   */
  async apply(revision: Revision): Promise<number[]> {
    this.#revision = revision;
    const late = await Promise.all([...this.#briefed].map((link) => this.#applyTo(link)));
    return late.filter((index) => index !== null);
  }

  /** @returns the worker's number where it runs and has not acknowledged the revision */
  async #applyTo(link: WorkerLink): Promise<number | null> {
    const { number } = this.#revision;
    const applied = link.waitFor('applied', ACKNOWLEDGE_MS, ({ revision }) => revision >= number);
    this.#sendRevision(link);
    try {
      await applied;
      return null;
    } catch (error) {
      if (!link.alive) return null;
      const facts = { err: error, worker: link.index };
      this.#options.logger.warn(facts, 'a worker has not applied the revision yet');
      return link.index;
    }
  }

  /** With the states in the same message, no request finds a new backend unknown. */
  #sendRevision(link: WorkerLink): void {
    const { registry, directory } = this.#options;
    const health = { states: registry.availability(), panics: registry.panics() };
    const settings = settingsOf(this.#revision, directory.streams.knows(link));
    link.send({ type: 'settings', ...settings, ...health, storeWorkers: this.storeWorkers });
  }
}

/**
 * workerCountOf is the number of workers that the settings ask for, called once per revision. With `accept: reuse_port` it stays that of
 * the start: a worker cannot be taken away there (see changedRestartKeys), because the kernel would go on giving it connections.
 *
 * @param before that of the revision before; null: this is the first
 */
export function workerCountOf(
  { workers, accept }: Pick<Settings, 'workers' | 'accept'>,
  before: number | null,
): number {
  if (workers !== 'auto') return workers;
  return accept === 'reuse_port' && before !== null ? before : availableParallelism();
}

/**
 * secretsOf are those of which workers read nothing in settings or environment. The one of API keys comes to them in a message of its own.
 */
export function secretsOf({ admin, database, secrets, pools }: Settings): string[] {
  const probes = pools.flatMap(({ healthCheck }) => healthCheck ?? []);
  const sent = probes.flatMap(({ path, headers }) => [path, ...Object.values(headers)]);
  return [admin.token, admin.readToken, database.url, secrets.apiKeys, ...sent].filter(
    (secret) => secret !== null,
  );
}

/**
 * settingsOf is what a worker needs of a revision.
 *
 * @param knowsClients whether the worker has had all clients. Until then the policies' limits are dated so far back that they never
 *   win over a client's own limits in a bucket that other machines share.
 */
function settingsOf({ number, settings, workerCount, policyVersionUs }: Revision, knowsClients: boolean) {
  const {
    acme: _acme,
    admin: _admin,
    database: _database,
    secrets: _secrets,
    watch: _watch,
    ...workerSettings
  } = settings;
  // Certificates come in a message of their own.
  const listen = settings.listen.map(({ tls, ...rest }) => ({
    ...rest,
    tls: tls && { ...tls, certificates: [], clientCa: null },
  }));
  // Workers send no probes.
  const pools = settings.pools.map(({ healthCheck, ...rest }) => ({
    ...rest,
    healthCheck: healthCheck && { ...healthCheck, path: '', headers: {} },
  }));
  return {
    revision: number,
    policyVersionUs: knowsClients ? policyVersionUs : Math.floor(policyVersionUs / BLIND_DIVISOR),
    settings: { ...workerSettings, workers: workerCount, listen, pools },
  };
}
