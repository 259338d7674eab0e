/** `sluice clients …`: the admin API's clients, keys and buckets from the command line. */
import { once } from 'node:events';
import { Argument, type Command, InvalidArgumentError, Option } from 'commander';
import * as z from 'zod';
import { systemCodeOf } from '../contract/errors.ts';
import { AdminProblem, type AdminTarget, callAdmin } from './admin-client.ts';
import {
  bucketTable,
  clientLines,
  clientSchema,
  clientTable,
  issuedKeySchema,
  keyTable,
  type ListView,
  Table,
} from './output.ts';
import { findTarget } from './target.ts';

const PAGE_ITEMS = 1000;
const CLIENTS = '/api/v1/clients';
const NOT_FOUND = 404;
const MODES = ['limit', 'unlimited', 'blocked'];
const CLIENT = 'a name, an IP address or a CIDR';

interface ClientsCommandOptions {
  /** The configuration that names the admin port, where --admin does not. */
  configPath: () => string;
  env: NodeJS.ProcessEnv;
}

interface SharedOptions {
  admin?: string;
  token?: string;
  json?: boolean;
}

interface SetOptions {
  mode?: string;
  capacity?: number;
  refillPerSecond?: number;
  policyLimit?: Record<string, object>;
  /** false: --no-limits was given. */
  limits: boolean;
}

/** What an action needs to call the admin port and to print the answer. */
interface Context {
  target: AdminTarget;
  json: boolean;
}

/** addClientsActions gives the command `clients` its options and actions; for cli.ts. */
export function addClientsActions(clients: Command, { configPath, env }: ClientsCommandOptions): void {
  clients
    .option('--admin <url>', 'the admin port (default: admin.address of the configuration)')
    .option(
      '--token <token>',
      'its token; other users can see it here (default: $SLUICE_ADMIN_TOKEN with --admin, else admin.token)',
    )
    .option('--json', 'print JSON');
  const context = async (): Promise<Context> => {
    const { admin, token, json = false } = clients.opts<SharedOptions>();
    const target = await findTarget({ adminUrl: admin ?? null, token: token ?? null }, configPath(), env);
    if ('problems' in target) return clients.error(target.problems.join('\n'));
    // The reader of `… | head` closes the pipe when it has read enough.
    process.stdout.on('error', (error) => process.exit(systemCodeOf(error) === 'EPIPE' ? 0 : 1));
    return { target, json };
  };
  addReads(clients, context);
  addWrites(clients, context);
  addKeys(clients, context);
}

type MakeContext = () => Promise<Context>;

function addReads(clients: Command, context: MakeContext): void {
  clients
    .command('list')
    .description('list every client in order of the ids')
    .action(async () => printList(await context(), CLIENTS, clientTable));
  clients
    .command('get')
    .description('show one client')
    .addArgument(clientArgument())
    .action(async (client: string) => {
      const made = await context();
      await printClient(made, await callAdmin(made.target, { method: 'GET', path: pathOf(client) }));
    });
  clients
    .command('bucket')
    .description('show the live buckets of a client, or of the callers at an address')
    .addArgument(clientArgument())
    .action(async (client: string) => printList(await context(), `${pathOf(client)}/bucket`, bucketTable));
}

function addWrites(clients: Command, context: MakeContext): void {
  clients
    .command('set')
    .description('create a client, or change what is given')
    .addArgument(clientArgument())
    .addOption(new Option('--mode <mode>', 'how its requests are treated').choices(MODES))
    .option('--capacity <n>', 'tokens of a full bucket of the policy default', numberOf)
    .option('--refill-per-second <r>', 'tokens that come back per second', numberOf)
    .option(
      '--policy-limit <policy=n/r>',
      'own limits for other policies; replaces all of them',
      policyLimitOf,
    )
    .option('--no-limits', "return to the policies' own limits")
    .action(async (client: string, options: SetOptions, command: Command) => {
      const change = changeOf(options);
      if (change === null) command.error('error: --no-limits cannot be combined with limits');
      const made = await context();
      await printClient(made, await set(made.target, client, change));
    });
  clients
    .command('delete')
    .description('delete a client and its keys')
    .addArgument(clientArgument())
    .action(async (client: string) => {
      const made = await context();
      await callAdmin(made.target, { method: 'DELETE', path: pathOf(client) });
      await printDone(made, `deleted ${client}`);
    });
  clients
    .command('reset')
    .description('fill the buckets of a client, or of the callers at an address')
    .addArgument(clientArgument())
    .action(async (client: string) => {
      const made = await context();
      await callAdmin(made.target, { method: 'POST', path: `${pathOf(client)}/bucket/reset` });
      await printDone(made, `reset ${client}`);
    });
}

function addKeys(clients: Command, context: MakeContext): void {
  clients
    .command('issue-key')
    .description('print a new API key; it cannot be shown again')
    .addArgument(clientArgument())
    .option('--name <name>', 'what the key is called in lists')
    .action(async (client: string, { name = null }: { name?: string | null }) =>
      issueKey(await context(), client, name),
    );
  clients
    .command('list-keys')
    .description('list the keys of a client by id')
    .addArgument(clientArgument())
    .action(async (client: string) => printList(await context(), keysOf(client), keyTable));
  clients
    .command('revoke-key')
    .description('revoke a key; within a second no worker of any machine accepts it')
    .addArgument(clientArgument())
    .argument('<key-id>', 'as list-keys shows it')
    .action(async (client: string, keyId: string) => {
      const made = await context();
      const path = `${keysOf(client)}/${encodeURIComponent(keyId)}`;
      await callAdmin(made.target, { method: 'DELETE', path });
      await printDone(made, `revoked ${keyId}`);
    });
}

function clientArgument(): Argument {
  return new Argument('<client>', CLIENT).argParser((text) => {
    if (text === '') throw new InvalidArgumentError('It must not be empty.');
    return text;
  });
}

/** Ranges are checked by the admin port. */
function numberOf(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It must be a number.');
  return value;
}

/** Collects repeated options; names of policies have neither `=` nor `/`. */
function policyLimitOf(text: string, others: Record<string, object> = {}): Record<string, object> {
  const [, policy, capacity, refill] = /^([^=]+)=([^/]+)\/([^/]+)$/.exec(text) ?? [];
  if (policy === undefined || capacity === undefined || refill === undefined) {
    throw new InvalidArgumentError('It must be POLICY=CAPACITY/REFILL_PER_SECOND, like gold=1000/50.');
  }
  return { ...others, [policy]: { capacity: numberOf(capacity), refillPerSecond: numberOf(refill) } };
}

/** changeOf is the body of the PATCH, in which an absent field stays as it is; null: the options contradict each other. */
function changeOf({ mode, capacity, refillPerSecond, policyLimit, limits }: SetOptions): object | null {
  if (limits) return { mode, capacity, refillPerSecond, limits: policyLimit };
  if (capacity !== undefined || refillPerSecond !== undefined || policyLimit !== undefined) return null;
  return { mode, capacity: null, refillPerSecond: null, limits: {} };
}

/** Changes the client, or creates it where there is none. A PUT alone would reset the fields that were not given. */
async function set(target: AdminTarget, client: string, change: object | null): Promise<unknown> {
  const path = pathOf(client);
  try {
    return await callAdmin(target, { method: 'PATCH', path, body: change });
  } catch (error) {
    if (!(error instanceof AdminProblem) || error.status !== NOT_FOUND) throw error;
    return callAdmin(target, { method: 'PUT', path, body: change });
  }
}

/** Only the key goes to standard output, so that a script can capture it. */
async function issueKey({ target, json }: Context, client: string, name: string | null): Promise<void> {
  const answer = await callAdmin(target, { method: 'POST', path: keysOf(client), body: { name } });
  const issued = fitting(issuedKeySchema, answer);
  if (json) return print(`${JSON.stringify(answer)}\n`);
  await print(`${issued.key}\n`);
  process.stderr.write(`sluice: key ${issued.keyId} of ${client}, shown this once\n`);
}

/** Prints page by page, because a list may be longer than memory should hold. */
async function printList<Item>({ target, json }: Context, path: string, view: ListView<Item>): Promise<void> {
  const pageSchema = z.object({ items: z.array(view.item), next: z.string().nullish() });
  const table = new Table(view.headings);
  const query = view.paged ? `?limit=${PAGE_ITEMS}` : '';
  let after = '';
  let count = 0;
  do {
    const page = fitting(
      pageSchema,
      await callAdmin(target, { method: 'GET', path: `${path}${query}${after}` }),
    );
    if (json) {
      const items = page.items.map((item) => JSON.stringify(item));
      if (items.length > 0) await print((count === 0 ? '[\n' : ',\n') + items.join(',\n'));
    } else if (page.items.length > 0) {
      await print(`${table.lines(page.items.map(view.cells)).join('\n')}\n`);
    }
    count += page.items.length;
    after = page.next ? `&after=${encodeURIComponent(page.next)}` : '';
  } while (after !== '');
  if (json) await print(count === 0 ? '[]\n' : '\n]\n');
  else if (count === 0) await print(`${view.none}\n`);
}

async function printClient({ json }: Context, answer: unknown): Promise<void> {
  const client = fitting(clientSchema, answer);
  await print(json ? `${JSON.stringify(answer)}\n` : `${clientLines(client).join('\n')}\n`);
}

async function printDone({ json }: Context, sentence: string): Promise<void> {
  if (!json) await print(`${sentence}\n`);
}

async function print(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}

function fitting<T>(schema: z.ZodType<T>, answer: unknown): T {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new Error('the admin port answered in a form that this version does not know');
}

function pathOf(client: string): string {
  return `${CLIENTS}/${encodeURIComponent(client)}`;
}

function keysOf(client: string): string {
  return `${pathOf(client)}/keys`;
}
