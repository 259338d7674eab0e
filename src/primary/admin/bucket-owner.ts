/** What the buckets of an id belong to: a client, or the callers at an address who have no record of their own. */
import { isIP } from 'node:net';
import { groupOf } from '../../contract/addresses.ts';
import { type ClientMatch, type ClientRecord, matchOfClient, matchOfNobody } from '../../contract/clients.ts';
import { LbError } from '../../contract/errors.ts';
import type { RateLimitSettings } from '../../contract/settings.ts';

interface OwnerSources {
  /** Rejects with client_not_found. */
  get: (clientId: string) => Promise<ClientRecord>;
  /** The clients as workers know them. */
  table: {
    get(id: string): { client: ClientRecord | null; versionUs: number } | null;
    longestRange(address: string): ClientRecord | null;
  };
  identify: RateLimitSettings['identify'];
}

/**
 * ownerOf finds whose buckets requests of `clientId` take from; for the admin calls that show and reset buckets. An
 * address without a record belongs to the client whose range holds it, else to its group (rateLimit.identify). Rejects
 * with client_not_found for names, and for ranges that are no such group.
 */
export async function ownerOf(
  clientId: string,
  { get, table, identify }: OwnerSources,
): Promise<ClientMatch> {
  try {
    return matchOfClient(await get(clientId));
  } catch (error) {
    const [address = ''] = clientId.split('/');
    const isAddress = isIP(address) !== 0;
    if (!isAddress || !(error instanceof LbError) || error.code !== 'client_not_found') throw error;
    const group = groupOf(address, identify.ipv4Prefix, identify.ipv6Prefix);
    if (clientId !== address && clientId !== group) throw error;
    const client = table.longestRange(address);
    if (client !== null) return matchOfClient(client);
    const entry = table.get(group);
    return matchOfNobody(group, entry?.client === null ? entry : null);
  }
}
