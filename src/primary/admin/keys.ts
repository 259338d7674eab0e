/** The calls that issue, list and revoke the API keys of a client. */
import * as z from 'zod';
import { keyName, keyView } from '../../contract/client-view.ts';
import { type AdminApp, call, done } from './app.ts';
import { clientIdParams } from './clients.ts';
import { listBody, listOf, pageOf, pageQuery } from './paging.ts';
import type { AdminParts } from './parts.ts';

const issueBody = z.strictObject({ name: keyName.nullable().default(null) }).optional();
const keyIdParams = clientIdParams.extend({ keyId: z.string().regex(/^[A-Za-z0-9_-]{1,128}$/) });

const issuedView = keyView.extend({
  key: z.string().meta({ description: 'The key itself, shown only here: Sluice keeps an HMAC of it' }),
});

const KEYS = '/api/v1/clients/:clientId/keys';

/** registerKeys adds the routes. A write answers once the workers of this machine know it. */
export function registerKeys(app: AdminApp, { directory }: AdminParts): void {
  const { apiKeys, whenTold } = directory;
  app.post(
    KEYS,
    call('keys', 'Issue a key for a client; a client has at most 1,000 keys', [404, 409], {
      params: clientIdParams,
      body: issueBody,
      response: { 201: issuedView },
    }),
    async (request, reply) => {
      const { params, body } = request;
      const subject = `client ${params.clientId}`;
      const keyName = body?.name ?? null;
      request.asked = { subject, asked: { name: keyName } };
      const issued = await apiKeys.issue(params.clientId, keyName);
      const { keyId } = issued;
      const text = `API key ${keyId} of ${subject} was issued`;
      request.changed({ text, subject, after: { keyId, name: keyName } });
      await whenTold();
      return reply.code(201).send(issued);
    },
  );
  app.get(
    KEYS,
    call('keys', 'List the keys of a client, oldest first, without the keys themselves', [404, 422], {
      params: clientIdParams,
      querystring: pageQuery,
      response: { 200: listOf(keyView) },
    }),
    async ({ params, query }) => listBody(await apiKeys.list(params.clientId, pageOf(query))),
  );
  app.delete(
    `${KEYS}/:keyId`,
    call('keys', 'Revoke a key; within a second no worker of any machine accepts it', [404, 422], {
      params: keyIdParams,
      response: done('Revoked'),
    }),
    async (request, reply) => {
      const { clientId, keyId } = request.params;
      const subject = `client ${clientId}`;
      request.asked = { subject };
      await apiKeys.revoke(clientId, keyId);
      const text = `API key ${keyId} of ${subject} was revoked`;
      request.changed({ text, subject, before: { keyId } });
      await whenTold();
      return reply.code(204).send(null);
    },
  );
}
