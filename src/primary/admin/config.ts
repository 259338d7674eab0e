/** The calls that reload the configuration and show the running one. */
import * as z from 'zod';
import { type AdminApp, problemResponses } from './app.ts';
import { configView } from './config-view.ts';
import { invalidFields } from './problems.ts';
import type { AdminServices } from './services.ts';

const tags = ['configuration'];

/** A reload ends when every worker runs the new revision and new backends had their first probe. */
const RELOAD_DEADLINE_MS = 60_000;

const reloadView = z.strictObject({
  revision: z.int().min(1),
  pendingWorkers: z
    .array(z.int().min(0))
    .meta({ description: 'Ids of workers that have not acknowledged the revision within five seconds' }),
});

/** registerConfig adds the routes; the server calls it once while it is built. */
export function registerConfig(app: AdminApp, services: AdminServices): void {
  app.post('/api/v1/reload', {
    config: { deadlineMs: RELOAD_DEADLINE_MS },
    schema: {
      tags,
      summary: 'Read the configuration file again; all of it applies or nothing',
      response: { 200: reloadView, ...problemResponses(422) },
    },
    handler: async (_request, reply) => {
      const outcome = await services.reload();
      if (outcome.ok) {
        const { revision, pendingWorkers } = outcome;
        return reply.code(200).send({ revision, pendingWorkers });
      }
      throw invalidFields(
        outcome.problems.map(({ path, line, message }) => ({ field: path ?? '', line, message })),
      );
    },
  });
  app.get('/api/v1/config', {
    schema: {
      tags,
      summary: 'The running configuration as a configuration file would say it, secrets redacted',
      response: { 200: z.record(z.string(), z.unknown()), ...problemResponses() },
    },
    handler: async (_request, reply) => reply.code(200).send(configView(services.config())),
  });
}
