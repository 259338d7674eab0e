/**
 * Handing one revision to the fleet: health checks first, so that a new backend has had its first probe, then every worker
 * at once, each of which swaps its whole plan between two requests and acknowledges.
 */
import type { PrimaryMessage } from '../contract/messages.ts';
import type { Settings, WorkerSettings } from '../contract/settings.ts';
import type { Logger } from '../infra/logging/logger.ts';
import type { HealthChecker } from './health/health-checker.ts';
import type { HealthRegistry } from './health/health-registry.ts';
import type { Revision } from './reloader.ts';
import type { WorkerLink } from './workers/worker-link.ts';

/** A worker that has not acknowledged by then is told of in the log; it has the message and will apply it. */
const ACKNOWLEDGE_MS = 5_000;

/** A blind machine's versions are its load times in ms: in their own order, and older than any real one, which is in µs. */
const BLIND_DIVISOR = 1_000;

/**
 * settingsMessage is what a worker needs of a revision; for new workers and for reloads.
 *
 * @param clientsKnown false until the worker has had all clients for the first time: the policies' limits are then dated so
 *   far back that they never win over limits of clients that it does not know of; a bucket that other machines keep answers
 *   with the right ones
 */
export function settingsMessage(revision: Revision, clientsKnown: boolean): PrimaryMessage {
  const { number, settings } = revision;
  const policyVersionUs = clientsKnown
    ? revision.policyVersionUs
    : Math.floor(revision.policyVersionUs / BLIND_DIVISOR);
  const { admin: _admin, database: _database, secrets: _secrets, ...rest } = settings;
  const workerSettings: WorkerSettings = rest;
  return { type: 'settings', revision: number, policyVersionUs, settings: workerSettings };
}

/** warmHealth makes registry and checker follow the pools; resolves after the first round of the new checks. */
export function warmHealth(
  settings: Settings,
  registry: HealthRegistry,
  checker: HealthChecker,
): Promise<void> {
  registry.configure(settings.pools);
  return checker.reconfigure(settings.pools);
}

interface RolloutOptions {
  links: readonly WorkerLink[];
  registry: HealthRegistry;
  /** Of one worker; see settingsMessage. */
  clientsKnown: (link: WorkerLink) => boolean;
  logger: Logger;
}

/** rollOut resolves when every living worker runs the revision, or is known not to have said so in time. */
export async function rollOut(revision: Revision, options: RolloutOptions): Promise<void> {
  const { links, registry, clientsKnown, logger } = options;
  const states = registry.availability();
  const acknowledged = links.map(async (link) => {
    // States first: the worker applies them with the plan, so that no request sees a new backend as unknown.
    link.send({ type: 'backends', states });
    const message = settingsMessage(revision, clientsKnown(link));
    await link.ask(message, 'applied', ACKNOWLEDGE_MS, (applied) => applied.revision === revision.number);
  });
  for (const [i, result] of (await Promise.allSettled(acknowledged)).entries()) {
    if (result.status === 'fulfilled') continue;
    logger.warn({ err: result.reason, worker: links[i]?.index }, 'a worker did not acknowledge the revision');
  }
}
