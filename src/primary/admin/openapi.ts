/** The API's OpenAPI description, generated from the schemas that check requests and answers. */
import swagger from '@fastify/swagger';
import { jsonSchemaTransform } from 'fastify-type-provider-zod';
import * as z from 'zod';
import { sluiceVersion } from '../../infra/build-info.ts';
import { type AdminApp, problemResponses } from './app.ts';

/** collectRoutes must run before any route is added: it watches them being added. */
export async function collectRoutes(app: AdminApp): Promise<void> {
  /** Paths whose POST needs no body; the framework would describe it as required. */
  const bodiless = new Set<string>();
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
      const { openapiObject } = document;
      for (const url of bodiless) {
        const body = openapiObject.paths?.[url]?.post?.requestBody;
        if (body !== undefined && 'required' in body) body.required = false;
      }
      return openapiObject;
    },
  });
  app.addHook('onRoute', ({ method, url, schema }) => {
    if (method !== 'POST' || !(schema?.body instanceof z.ZodOptional)) return;
    bodiless.add(url.replaceAll(/:(\w+)/g, '{$1}'));
  });
}

/** registerOpenapi adds the route that shows the description. */
export function registerOpenapi(app: AdminApp): void {
  app.get('/openapi.json', {
    schema: {
      tags: ['operation'],
      summary: 'This description',
      response: { 200: z.record(z.string(), z.unknown()), ...problemResponses() },
    },
    handler: async (_request, reply) => reply.code(200).send({ ...app.swagger() }),
  });
}
