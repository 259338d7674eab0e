/** What the admin port says of itself: the OpenAPI description made from the schemas. */
import swagger from '@fastify/swagger';
import { jsonSchemaTransform } from 'fastify-type-provider-zod';
import * as z from 'zod';
import { sluiceVersion } from '../../infra/build-info.ts';
import { type AdminApp, call } from './app.ts';

const DESCRIPTION = '/openapi.json';
/** The one call whose body may be left out. */
const KEYS = '/api/v1/clients/{clientId}/keys';

/** registerDescription adds the route. Call it before any other route is added: it watches them being added. */
export async function registerDescription(app: AdminApp): Promise<void> {
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
  app.get(
    DESCRIPTION,
    call('operation', 'This description', [], { response: { 200: z.record(z.string(), z.unknown()) } }),
    async () => ({ ...app.swagger() }),
  );
}
