/** `sluice clients …`: clients, their keys and buckets on a running Sluice, from the command line. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { LbError } from '../contract/errors.ts';
import { bucketTable, clientSchema, clientTable, clientText, issuedKeySchema, keyTable } from './output.ts';
import { addTarget, type ConfigPath, countOf, fitting, notEmpty, type Session } from './session.ts';

const CLIENTS = '/api/v1/clients';
const NOT_FOUND = 404;

interface SetOptions {
  mode?: string;
  capacity?: number;
  refillPerSecond?: number;
  policyLimit?: Record<string, object>;
  /** false: --no-limits was given. */
  limits: boolean;
}

/** Adds a command about one client. Its action gets a session, the client, and the command with its options. */
type AddCommand = (
  name: string,
  description: string,
  act: (session: Session, client: string, command: Command) => Promise<unknown>,
) => Command;

/** addClients gives the command `clients` its options and actions; for cli.ts. */
export function addClients(clients: Command, configPath: ConfigPath): void {
  const open = addTarget(clients, configPath);
  clients
    .command('list')
    .description('list clients in order of the ids')
    .option('--prefix <text>', 'only those whose ids begin with it', notEmpty)
    .option('--limit <n>', 'how many at most (default: all)', countOf)
    .action(async ({ prefix, limit }: { prefix?: string; limit?: number }) => {
      const query: Record<string, string> = prefix === undefined ? {} : { prefix };
      const { next } = await (await open()).printList(CLIENTS, clientTable, query, limit);
      if (next !== null) process.stderr.write('sluice: there are more clients\n');
    });
  const add: AddCommand = (name, description, act) =>
    clients
      .command(name)
      .description(description)
      .argument('<client>', 'a name, an IP address or a CIDR', notEmpty)
      // Commander passes the command last.
      .action(async (client: string, ...rest) => void (await act(await open(), client, rest.at(-1))));
  addLimits(add);
  addKeys(add);
}

function addLimits(add: AddCommand): void {
  add('get', 'show one client', async (session, client) => {
    await session.printAnswer(await session.call('GET', pathOf(client)), clientSchema, clientText);
  });
  add('set', 'create a client, or change what is given', async (session, client, command) => {
    const change = changeOf(command.opts());
    if (change === null) command.error('error: --no-limits cannot be combined with limits');
    await session.printAnswer(await set(session, client, change), clientSchema, clientText);
  })
    .addOption(
      new Option('--mode <mode>', 'how its requests are treated').choices(['limit', 'unlimited', 'blocked']),
    )
    .option('--capacity <n>', 'tokens of a full bucket of the policy default', numberOf)
    .option('--refill-per-second <r>', 'tokens that come back per second', numberOf)
    .option('--policy-limit <policy=n/r>', 'limits for other policies; replaces all of them', policyLimitOf)
    .option('--no-limits', "return to the policies' own limits");
  add('delete', 'delete a client and its keys', async (session, client) => {
    await session.call('DELETE', pathOf(client));
    await session.printDone(`deleted ${client}`);
  });
  add('bucket', 'show the live buckets of a client, or of the callers at an address', (session, client) =>
    session.printList(`${pathOf(client)}/bucket`, bucketTable),
  );
  add('reset', 'fill the buckets of a client, or of the callers at an address', async (session, client) => {
    await session.call('POST', `${pathOf(client)}/bucket/reset`);
    await session.printDone(`reset ${client}`);
  });
}

function addKeys(add: AddCommand): void {
  add('issue-key', 'print a new API key; it cannot be shown again', async (session, client, command) => {
    const { name = null } = command.opts<{ name?: string }>();
    const answer = await session.call('POST', keysOf(client), { name });
    const about = `sluice: key ${fitting(issuedKeySchema, answer).keyId} of ${client}`;
    process.stdout.prependListener('error', () => {
      process.stderr.write(`${about} could not be written and is lost: revoke it (clients revoke-key)\n`);
      process.exitCode = 1;
    });
    // Only the key goes to standard output, so that a script can capture it.
    await session.printAnswer(answer, issuedKeySchema, ({ key }) => key);
    process.stderr.write(`${about}, shown this once\n`);
  }).option('--name <name>', 'the name of the key in lists');
  add('list-keys', 'list the keys of a client by id', (session, client) =>
    session.printList(keysOf(client), keyTable),
  );
  const revocation = 'revoke a key; within a second no worker of any machine accepts it';
  add('revoke-key', revocation, async (session, client, { args: [, keyId = ''] }) => {
    await session.call('DELETE', `${keysOf(client)}/${encodeURIComponent(keyId)}`);
    await session.printDone(`revoked ${keyId}`);
  }).argument('<key-id>', 'as list-keys shows it');
}

/** The admin port checks ranges. */
function numberOf(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It must be a number.');
  return value;
}

/** Collects repeated options; names of policies have neither `=` nor `/`. */
function policyLimitOf(text: string, others: Record<string, object> = {}): Record<string, object> {
  const [, policy, capacity = '', refill = ''] = /^([^=]+)=([^/]+)\/([^/]+)$/.exec(text) ?? [];
  if (policy === undefined) {
    throw new InvalidArgumentError('It must be POLICY=CAPACITY/REFILL_PER_SECOND, like gold=1000/50.');
  }
  return { ...others, [policy]: { capacity: numberOf(capacity), refillPerSecond: numberOf(refill) } };
}

/** changeOf is the body of a PATCH, where an absent field stays as it is; null: the options contradict each other. */
function changeOf({ mode, capacity, refillPerSecond, policyLimit, limits }: SetOptions): object | null {
  if (limits) return { mode, capacity, refillPerSecond, limits: policyLimit };
  if (capacity !== undefined || refillPerSecond !== undefined || policyLimit !== undefined) return null;
  return { mode, capacity: null, refillPerSecond: null, limits: {} };
}

/** Changes the client, or creates it where there is none. A PUT would reset what another has given the client meanwhile. */
async function set(session: Session, client: string, change: object | null): Promise<unknown> {
  try {
    return await session.call('PATCH', pathOf(client), change);
  } catch (error) {
    if (!(error instanceof LbError) || error.status !== NOT_FOUND) throw error;
    return session.call('POST', CLIENTS, { clientId: client, ...change });
  }
}

function pathOf(client: string): string {
  return `${CLIENTS}/${encodeURIComponent(client)}`;
}

function keysOf(client: string): string {
  return `${pathOf(client)}/keys`;
}
