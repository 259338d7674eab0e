/** `sluice clients …`: the admin API from the command line. */
import { once } from 'node:events';
import * as z from 'zod';
import { systemCodeOf } from '../contract/errors.ts';
import { AdminProblem, type AdminTarget, callAdmin } from './admin-client.ts';
import {
  CLIENT_HEADINGS,
  clientCells,
  clientLines,
  clientSchema,
  issuedKeySchema,
  KEY_HEADINGS,
  keyCells,
  keySchema,
  Table,
} from './output.ts';
import { CLIENTS_USAGE, type ClientChange, type ClientsAction, readRequest } from './request.ts';
import { findTarget } from './target.ts';

const DONE = 0;
const FAILED = 1;
const REFUSED = 2;
const PAGE_ITEMS = 1000;
const CLIENTS = '/api/v1/clients';
const NOT_FOUND = 404;

interface ClientsCommandOptions {
  /** Without the word `clients`. */
  argv: string[];
  env: NodeJS.ProcessEnv;
  /** Where neither --config nor CONFIG_PATH says more. */
  defaultConfigPath: string;
}

interface Context {
  target: AdminTarget;
  json: boolean;
}

/** clientsCommand returns the exit code: 0 done, 1 refused by the admin port or no way to it, 2 not understood. */
export async function clientsCommand({
  argv,
  env,
  defaultConfigPath,
}: ClientsCommandOptions): Promise<number> {
  const request = readRequest(argv);
  if (request === 'help') return say(CLIENTS_USAGE);
  if ('problem' in request) return refuse([`sluice: ${request.problem}`, '', CLIENTS_USAGE.trimEnd()]);
  const configPath = request.configPath ?? (env.CONFIG_PATH || defaultConfigPath);
  const target = await findTarget(request, configPath, env);
  if ('problems' in target) return refuse(target.problems);
  // `… | head`: whoever read enough is done, and so are we.
  process.stdout.on('error', (error) => process.exit(systemCodeOf(error) === 'EPIPE' ? DONE : FAILED));
  await run(request.action, { target, json: request.json });
  return DONE;
}

async function run(action: ClientsAction, context: Context): Promise<void> {
  switch (action.name) {
    case 'list':
      return printList(context, CLIENTS, {
        item: clientSchema,
        headings: CLIENT_HEADINGS,
        cells: clientCells,
      });
    case 'list-keys':
      return printList(context, keysOf(action.client), {
        item: keySchema,
        headings: KEY_HEADINGS,
        cells: keyCells,
      });
    case 'get':
      return printClient(
        context,
        await callAdmin(context.target, { method: 'GET', path: pathOf(action.client) }),
      );
    case 'set':
      return printClient(context, await set(context.target, action.client, action.change));
    case 'delete':
      await callAdmin(context.target, { method: 'DELETE', path: pathOf(action.client) });
      return printDone(context, `deleted ${action.client}`);
    case 'issue-key':
      return issueKey(context, action.client, action.label);
    case 'revoke-key': {
      const path = `${keysOf(action.client)}/${encodeURIComponent(action.keyId)}`;
      await callAdmin(context.target, { method: 'DELETE', path });
      return printDone(context, `revoked ${action.keyId}`);
    }
  }
}

/** Changes the client, or creates it where there is none; a PUT alone would take away what was not said. */
async function set(target: AdminTarget, client: string, change: ClientChange): Promise<unknown> {
  const path = pathOf(client);
  try {
    return await callAdmin(target, { method: 'PATCH', path, body: change });
  } catch (error) {
    if (!(error instanceof AdminProblem) || error.status !== NOT_FOUND) throw error;
    return callAdmin(target, { method: 'PUT', path, body: change });
  }
}

/** The key alone goes to standard output, so that a script can take it from there. */
async function issueKey({ target, json }: Context, client: string, name: string | null): Promise<void> {
  const answer = await callAdmin(target, { method: 'POST', path: keysOf(client), body: { name } });
  const issued = fitting(issuedKeySchema, answer);
  if (json) return print(`${JSON.stringify(answer)}\n`);
  await print(`${issued.key}\n`);
  process.stderr.write(`sluice: key ${issued.keyId} of ${client}, shown this once\n`);
}

interface Listed<Item> {
  item: z.ZodType<Item>;
  headings: readonly string[];
  cells: (item: Item) => string[];
}

/** Page by page: a list may be longer than memory should hold. */
async function printList<Item>({ target, json }: Context, path: string, listed: Listed<Item>): Promise<void> {
  const pageSchema = z.object({ items: z.array(listed.item), next: z.string().nullable() });
  const table = new Table(listed.headings);
  let after = '';
  let count = 0;
  do {
    const page = fitting(
      pageSchema,
      await callAdmin(target, { method: 'GET', path: `${path}?limit=${PAGE_ITEMS}${after}` }),
    );
    if (json) {
      const items = page.items.map((item) => JSON.stringify(item));
      if (items.length > 0) await print((count === 0 ? '[\n' : ',\n') + items.join(',\n'));
    } else if (page.items.length > 0) {
      await print(`${table.lines(page.items.map(listed.cells)).join('\n')}\n`);
    }
    count += page.items.length;
    after = page.next === null ? '' : `&after=${encodeURIComponent(page.next)}`;
  } while (after !== '');
  if (json) await print(count === 0 ? '[]\n' : '\n]\n');
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

function say(text: string): number {
  process.stdout.write(text);
  return DONE;
}

function refuse(lines: string[]): number {
  process.stderr.write(`${lines.join('\n')}\n`);
  return REFUSED;
}

function pathOf(client: string): string {
  return `${CLIENTS}/${encodeURIComponent(client)}`;
}

function keysOf(client: string): string {
  return `${pathOf(client)}/keys`;
}
