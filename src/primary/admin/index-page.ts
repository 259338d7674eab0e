/** `GET /`: what the admin port has, for whoever opens it without knowing. */
import * as z from 'zod';
import { sluiceVersion } from '../../infra/build-info.ts';
import { type AdminApp, problemResponses } from './app.ts';

const indexView = z.strictObject({
  name: z.literal('Sluice admin API'),
  version: z.string(),
  description: z.string().meta({ description: 'Where the OpenAPI description is' }),
  calls: z.array(z.string()).meta({ description: 'METHOD /path: what it does' }),
});

const DESCRIPTION = '/openapi.json';

/** registerIndex adds the route and lists the routes that are added after it; the server calls it first. */
export function registerIndex(app: AdminApp): void {
  const calls: string[] = [];
  app.addHook('onRoute', ({ method, url, schema }) => {
    if (method !== 'HEAD') calls.push(`${String(method)} ${url}: ${schema?.summary}`);
  });
  app.get('/', {
    schema: {
      tags: ['operation'],
      summary: 'What there is here',
      response: { 200: indexView, ...problemResponses() },
    },
    handler: async (_request, reply) => {
      const view = {
        name: 'Sluice admin API',
        version: sluiceVersion(),
        description: DESCRIPTION,
        calls,
      } as const;
      return reply.code(200).header('link', `<${DESCRIPTION}>; rel="service-desc"`).send(view);
    },
  });
}
