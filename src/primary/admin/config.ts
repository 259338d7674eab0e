/** The calls that reload the configuration and show the running one. */
import * as z from 'zod';
import { type AdminApp, call } from './app.ts';
import { configView } from './config-view.ts';
import type { AdminParts } from './parts.ts';
import { invalidFields } from './problems.ts';

/** A reload ends when every worker runs the new revision and every new backend has had its first probe. */
const RELOAD_DEADLINE_MS = 60_000;

const reloadView = z.strictObject({
  revision: z.int().min(1),
  pendingWorkers: z
    .array(z.int().min(0))
    .meta({ description: 'Ids of the workers that have not acknowledged the revision within five seconds' }),
});

/** registerConfig adds the routes. */
export function registerConfig(app: AdminApp, { reloader }: AdminParts): void {
  const summary = 'Read the configuration file again and apply all of it, or nothing';
  app.post(
    '/api/v1/reload',
    {
      config: { deadlineMs: RELOAD_DEADLINE_MS },
      ...call('configuration', summary, [422], { response: { 200: reloadView } }),
    },
    async () => {
      const outcome = await reloader.reload();
      if (outcome.ok) return { revision: outcome.revision, pendingWorkers: outcome.pendingWorkers };
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
}
