/** What the primary knows of the health of backends: who finds it out, who hears of it, and the file that keeps it over restarts. */
import type { ProbeResult } from '../../contract/health.ts';
import type { PrimaryMessage } from '../../contract/messages.ts';
import type { Settings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { pathInData } from '../data-folder.ts';
import type { EventLog } from '../events/event-log.ts';
import type { MetricsCollector } from '../metrics/metrics-collector.ts';
import type { WorkerLink } from '../workers/worker-link.ts';
import { Ejections } from './ejections.ts';
import { HealthChecker } from './health-checker.ts';
import { HealthFile } from './health-file.ts';
import { HealthRegistry } from './health-registry.ts';
import { tellHealth } from './health-telling.ts';

interface BackendHealthOptions {
  /** Of the start. */
  database: Settings['database'];
  collector: MetricsCollector;
  /** Of the workers that serve. */
  links: () => WorkerLink[];
  /** Sends to all workers. */
  broadcast: (message: PrimaryMessage) => void;
  events: Pick<EventLog, 'record'>;
  logger: Logger;
}

/** BackendHealth is made once by PrimaryParts. */
export class BackendHealth {
  readonly registry = new HealthRegistry();
  readonly ejections: Ejections;
  readonly #options: BackendHealthOptions;
  readonly #checker = new HealthChecker({ onResult: (...probe) => this.#probed(...probe) });
  #file: HealthFile | null = null;

  constructor(options: BackendHealthOptions) {
    this.#options = options;
    this.ejections = new Ejections({ registry: this.registry, ...options });
  }

  /** open restores what an earlier primary has left, and begins. firstProbes: as configure. */
  open(pools: Settings['pools']): { file: HealthFile; firstProbes: Promise<unknown> } {
    const { database, events, logger, broadcast } = this.#options;
    const { registry } = this;
    const file = new HealthFile({
      path: pathInData(database, 'health.json'),
      saved: () => registry.saved(),
      logger,
    });
    this.#file = file;
    registry.restore(file.load());
    tellHealth(registry, events, broadcast, file);
    return { file, firstProbes: this.configure(pools) };
  }

  /** prepare is called before configure while traffic flows; see HealthChecker. */
  prepare(pools: Settings['pools']): Promise<unknown> {
    return this.#checker.prepare(pools);
  }

  /** configure probes and ejects the backends of a revision. Resolves when each has had a result, after a few seconds at the latest. */
  configure(pools: Settings['pools']): Promise<unknown> {
    this.registry.configure(pools);
    this.ejections.configure(pools);
    return this.#checker.reconfigure(pools);
  }

  /** save resolves once the next primary would know of all changes so far; see HealthFile.flush. */
  async save(): Promise<void> {
    await this.#file?.flush();
  }

  async close(): Promise<void> {
    this.ejections.close();
    this.#checker.close();
    await this.#file?.close();
  }

  #probed(pool: string, backend: string, result: ProbeResult): void {
    this.#options.collector.count('sluice_probes_total', [pool, backend, resultLabel(result)]);
    this.registry.record(pool, backend, result);
  }
}

/** The label of sluice_probes_total. One that says nothing of its backend is no failure. */
function resultLabel({ ok, inconclusive }: ProbeResult): string {
  if (ok) return 'pass';
  return inconclusive === true ? 'inconclusive' : 'fail';
}
