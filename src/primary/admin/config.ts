/** The calls that reload the configuration, show the running one, and compare it with the file. */
import * as z from 'zod';
import { systemClock } from '../../contract/clock.ts';
import { checkView, diffView } from '../../contract/config-file-view.ts';
import { CONFIGURATION } from '../../contract/events.ts';
import { type AdminApp, call } from './app.ts';
import { configChanges } from './config-changes.ts';
import { configView } from './config-view.ts';
import type { AdminParts } from './parts.ts';
import { invalidFields } from './problems.ts';
import type { Access } from './security.ts';

/** A reload ends when every worker runs the new revision and every new backend has had its first probe. */
const RELOAD_TIMEOUT_MS = 60_000;
const SHARED_MS = 1_000;

const reloadView = z.strictObject({
  revision: z.int().min(1),
  pendingWorkers: z
    .array(z.int().min(0))
    .meta({ description: 'Ids of the workers that have not acknowledged the revision within five seconds' }),
});

/** registerConfig adds the routes. */
export function registerConfig(app: AdminApp, { reloader }: Pick<AdminParts, 'reloader'>): void {
  const summary = 'Read the configuration file again and apply all of it, or nothing';
  app.post(
    '/api/v1/reload',
    {
      config: { timeoutMs: RELOAD_TIMEOUT_MS },
      ...call('configuration', summary, [422], { response: { 200: reloadView } }),
    },
    async (request) => {
      const outcome = await reloader.reload();
      if (outcome.ok) {
        const { revision, pendingWorkers } = outcome;
        request.changed({ text: `a reload was asked for: revision ${revision}`, subject: CONFIGURATION });
        return { revision, pendingWorkers };
      }
      const { problems } = outcome;
      throw invalidFields(problems.map(({ path, line, message }) => ({ field: path ?? '', line, message })));
    },
  );
  app.get(
    '/api/v1/config',
    call('configuration', 'Show the running configuration as a configuration file, without secrets', [], {
      response: { 200: z.record(z.string(), z.unknown()) },
    }),
    async () => configView(reloader.current.settings),
  );
  registerFile(app, reloader);
}

/**
 * Reads the file. That blocks this process, so for callers who may only read it happens once a second at most, and takes a tenth of the
 * time at most. Who may write sees each of his changes at once.
 */
function sharedLook(reloader: AdminParts['reloader']): (access: Access) => ReturnType<typeof reloader.look> {
  let last: { found: ReturnType<typeof reloader.look>; revision: number; untilMs: number } | null = null;
  return (access) => {
    const startMs = systemClock.monotonicMs();
    const { number: revision } = reloader.current;
    if (access === 'read' && last?.revision === revision && startMs < last.untilMs) return last.found;
    const found = reloader.look();
    const tookMs = systemClock.monotonicMs() - startMs;
    last = { found, revision, untilMs: startMs + Math.max(SHARED_MS, 10 * tookMs) };
    return found;
  };
}

/** The calls that read the file and change nothing. */
function registerFile(app: AdminApp, reloader: AdminParts['reloader']): void {
  const look = sharedLook(reloader);
  app.get(
    '/api/v1/config/diff',
    call('configuration', 'Compare the running configuration with the file, without secrets', [], {
      response: { 200: diffView },
    }),
    async ({ access }) => {
      const { path, loaded, problems } = look(access);
      const changes = loaded === null ? [] : configChanges(reloader.current.settings, loaded.settings);
      const same = problems.length === 0 && changes.length === 0;
      const needsRestart = loaded !== null && problems.length > 0;
      return { file: path, same, problems, needsRestart, changes };
    },
  );
  app.post(
    '/api/v1/config/check',
    {
      config: { isRead: true },
      ...call('configuration', 'Check the configuration file as a reload would', [], {
        response: { 200: checkView },
      }),
    },
    async ({ access }) => {
      const { path, loaded, problems } = look(access);
      return { file: path, ok: problems.length === 0, problems, warnings: loaded?.warnings ?? [] };
    },
  );
}
