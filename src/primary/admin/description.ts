/** What the admin port says of itself: the list of its calls at `/`, and the OpenAPI description made from the schemas. */
import swagger from '@fastify/swagger';
import { jsonSchemaTransform } from 'fastify-type-provider-zod';
import * as z from 'zod';
import { sluiceVersion } from '../../infra/build-info.ts';
import { type AdminApp, call } from './app.ts';

const DESCRIPTION = '/openapi.json';
/** The one call whose body may be left out. */
const KEYS = '/api/v1/clients/{clientId}/keys';

const indexView = z.strictObject({
  name: z.literal('Sluice admin API'),
  version: z.string(),
  description: z.string().meta({ description: 'Path of the OpenAPI description' }),
  calls: z.array(z.string()).meta({ description: 'METHOD /path: what it does' }),
});

/** registerDescription adds both routes. Call it before any other route is added: it watches them being added. */
export async function registerDescription(app: AdminApp): Promise<void> {
  const calls: string[] = [];
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Sluice admin API',
        description: 'Clients and their limits, backends, workers and the configuration of one Sluice.',
        version: sluiceVersion(),
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      // The empty entry: a port on loopback may need no token.
      security: [{ token: [] }, {}],
    },
    transform: jsonSchemaTransform,
    transformObject: (document) => {
      if (!('openapiObject' in document)) return document.swaggerObject;
      // The framework describes every body as required.
      const body = document.openapiObject.paths?.[KEYS]?.post?.requestBody;
      if (body !== undefined && 'required' in body) body.required = false;
      return document.openapiObject;
    },
  });
  app.addHook('onRoute', ({ method, url, schema }) => {
    if (method !== 'HEAD') calls.push(`${String(method)} ${url}: ${schema?.summary}`);
  });
  app.get(
    '/',
    call('operation', 'List the calls of this port', [], { response: { 200: indexView } }),
    async (_request, reply) => {
      reply.header('link', `<${DESCRIPTION}>; rel="service-desc"`);
      return { name: 'Sluice admin API' as const, version: sluiceVersion(), description: DESCRIPTION, calls };
    },
  );
  app.get(
    DESCRIPTION,
    call('operation', 'This description', [], { response: { 200: z.record(z.string(), z.unknown()) } }),
    async () => ({ ...app.swagger() }),
  );
}
