/** The calls that show and reset the live buckets of a client, or of the callers at an address. */
import { isIP } from 'node:net';
import * as z from 'zod';
import { groupOf } from '../../contract/addresses.ts';
import { bucketView } from '../../contract/client-view.ts';
import { type ClientMatch, matchOfClient, matchOfNobody } from '../../contract/clients.ts';
import { LbError } from '../../contract/errors.ts';
import type { RateLimitSettings } from '../../contract/settings.ts';
import { type AdminApp, call, done } from './app.ts';
import { clientIdParams } from './clients.ts';
import type { AdminParts } from './parts.ts';

const bucketsView = z.strictObject({
  bucketName: z.string().meta({
    description: 'The owner of the buckets: a client, or the address or range of callers without a record',
  }),
  items: z.array(bucketView),
});

const BUCKET = '/api/v1/clients/:clientId/bucket';

/** registerBuckets adds the routes. */
export function registerBuckets(app: AdminApp, parts: AdminParts): void {
  const { directory, reloader, buckets } = parts;
  const matchOf = (clientId: string) =>
    matchOfId(clientId, directory, reloader.current.settings.rateLimit.identify);
  app.get(
    BUCKET,
    call(
      'buckets',
      'Show the live buckets of a client, or of the callers at an address; takes no token',
      [404, 422],
      { params: clientIdParams, response: { 200: bucketsView } },
    ),
    async ({ params }) => {
      const match = await matchOf(params.clientId);
      return {
        bucketName: match.bucketName,
        items: await buckets.of(match, reloader.current.policyVersionUs),
      };
    },
  );
  app.post(
    `${BUCKET}/reset`,
    call('buckets', 'Fill these buckets; within a second every worker of every machine follows', [404, 422], {
      params: clientIdParams,
      response: done('Full'),
    }),
    async (request, reply) => {
      const { bucketName } = await matchOf(request.params.clientId);
      const subject = `client ${bucketName}`;
      request.asked = { subject };
      await buckets.reset(bucketName);
      request.changed({ text: `the buckets of ${bucketName} were filled`, subject });
      return reply.code(204).send(null);
    },
  );
}

interface OwnerSources {
  clients: Pick<AdminParts['directory']['clients'], 'get'>;
  feed: Pick<AdminParts['directory']['feed'], 'table'>;
}

/**
 * matchOfId finds the owner of the buckets that requests of `clientId` take from. An address without a record belongs to the
 * client whose range holds it, else to its group (rateLimit.identify). Rejects with client_not_found for an unknown name,
 * and for a range that is not such a group.
 */
export async function matchOfId(
  clientId: string,
  { clients, feed: { table } }: OwnerSources,
  { ipv4Prefix, ipv6Prefix }: RateLimitSettings['identify'],
): Promise<ClientMatch> {
  try {
    return matchOfClient(await clients.get(clientId));
  } catch (error) {
    const [address = ''] = clientId.split('/');
    const isAddress = isIP(address) !== 0;
    if (!isAddress || !(error instanceof LbError) || error.code !== 'client_not_found') throw error;
    const group = groupOf(address, ipv4Prefix, ipv6Prefix);
    if (clientId !== address && clientId !== group) throw error;
    const client = table.longestRange(address);
    if (client !== null) return matchOfClient(client);
    const entry = table.get(group);
    return matchOfNobody(group, entry?.client === null ? entry : null);
  }
}
