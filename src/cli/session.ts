/** What a command that calls a running Sluice works with: which admin port, with which token, and how answers are printed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, InvalidArgumentError } from 'commander';
import * as z from 'zod';
import { addressUrl } from '../contract/addresses.ts';
import { ADMIN_TOKEN, ADMIN_TOKEN_RULE } from '../contract/admin-token.ts';
import { jsonText } from '../contract/json-text.ts';
import { type AdminCall, type AdminTarget, callAdmin, refusalOf } from './admin-client.ts';
import { formatterOf, type ListView } from './output.ts';

const PAGE_ITEMS = 1000;
/** New data takes 3 to 5 s on an idle machine. */
const STARTING_MS = 30_000;
const SILENT_MS = 2_000;
const REPEAT_MS = 1_000;

/** The configuration that names the admin port, where --admin does not. */
export type ConfigPath = () => string;

/**
 * addTarget gives a command the options that say which Sluice it calls, and returns what its actions open a session with. A wrong
 * --admin or configuration ends the command with exit 2.
 */
export function addTarget(command: Command, configPath: ConfigPath): () => Promise<Session> {
  command
    .option('--admin <url>', 'the admin port (default: admin.address of the configuration)')
    .option(
      '--token <token>',
      'its token; visible in the list of processes (default: $SLUICE_ADMIN_TOKEN, else admin.token)',
    )
    .option('--json', 'print JSON');
  return async () => {
    const given = command.opts<{ admin?: string; token?: string; json?: boolean }>();
    const target = await findTarget(given, configPath());
    if ('problems' in target) return command.error(target.problems.join('\n'));
    return new Session(target, given.json ?? false);
  };
}

/**
 * findTarget takes --admin, else the configuration, and of the tokens --token, SLUICE_ADMIN_TOKEN or admin.token; or returns lines about what is wrong. With --admin it does not read
 * the configuration, which may be that of another machine.
 */
export async function findTarget(
  { admin, token }: { admin?: string; token?: string },
  configPath: string,
): Promise<AdminTarget | { problems: string[] }> {
  const given = token ?? (process.env.SLUICE_ADMIN_TOKEN || null);
  if (given && !ADMIN_TOKEN.test(given))
    return {
      problems: [`sluice: ${token === undefined ? 'SLUICE_ADMIN_TOKEN' : '--token'} ${ADMIN_TOKEN_RULE}`],
    };
  if (admin !== undefined) {
    const url = originOf(admin);
    if (url !== null) return { url, token: given };
    return { problems: [`sluice: --admin must be a URL like http://127.0.0.1:9900, not ${admin}`] };
  }
  const { loadAdmin } = await import('../config/load.ts');
  const { formatProblems } = await import('../config/problems.ts');
  const loaded = loadAdmin(configPath, process.env, given);
  if ('problems' in loaded)
    return {
      problems: [...formatProblems(configPath, loaded.problems), 'give --admin URL to ask a running Sluice'],
    };
  const { host, port } = loaded.admin;
  if (port === 0)
    return { problems: [`sluice: admin.address of ${configPath} asks for any free port: give --admin URL`] };
  return { url: addressUrl({ kind: 'tcp', host, port }, port), token: loaded.admin.token };
}

function originOf(text: string): string | null {
  const url = URL.parse(text);
  const isOrigin = url !== null && /^https?:$/.test(url.protocol) && url.href === `${url.origin}/`;
  return isOrigin ? url.origin : null;
}

/** countOf reads a whole number from 1 on; for commander, as notEmpty. */
export function countOf(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 1 on.');
  return Number(text);
}

/** notEmpty refuses an empty word; commander calls it with an argument. */
export function notEmpty(text: string): string {
  if (text === '') throw new InvalidArgumentError('It must not be empty.');
  return text;
}

/** Session is made by each action that runs, by addTarget. */
export class Session {
  readonly target: AdminTarget;
  readonly json: boolean;

  /** @param json whether answers are printed as JSON */
  constructor(target: AdminTarget, json: boolean) {
    this.target = target;
    this.json = json;
  }

  /** call is callAdmin. While the embedded database starts, a call has no effect, so it is repeated, for STARTING_MS. */
  async call(
    method: AdminCall['method'],
    path: string,
    body?: unknown,
    timeoutMs?: number,
  ): Promise<unknown> {
    const beginMs = performance.now();
    for (let isTold = false; ; ) {
      try {
        return await callAdmin(this.target, { method, path, body, timeoutMs });
      } catch (error) {
        const waitedMs = performance.now() - beginMs;
        if (refusalOf(error, 'database_starting') === null) throw error;
        if (waitedMs > STARTING_MS)
          throw new Error('the embedded database is still starting: try again later', { cause: error });
        if (!isTold && waitedMs > SILENT_MS) {
          process.stderr.write('sluice: the embedded database is starting: waiting for it\n');
          isTold = true;
        }
        await sleep(REPEAT_MS);
      }
    }
  }

  /** printDone says that a call without an answer has taken effect; nothing with --json. */
  async printDone(sentence: string): Promise<void> {
    if (!this.json) await print(`${sentence}\n`);
  }

  /** printAnswer prints one object: with --json as it came, else as `text` writes it. */
  async printAnswer<T>(answer: unknown, schema: z.ZodType<T>, text: (answer: T) => string): Promise<void> {
    const parsed = fitting(schema, answer);
    await print(`${this.json ? jsonText(answer) : text(parsed)}\n`);
  }

  /**
   * printList prints page by page, because a list may not fit in memory: with --json as one array.
   * @param query of the call besides the page; `after`: where the list begins
   * @returns how many items, and where it goes on after `most` of them; null: it ends
   */
  async printList<Item>(
    path: string,
    view: ListView<Item>,
    query: Record<string, string> = {},
    most = Number.POSITIVE_INFINITY,
  ): Promise<{ count: number; next: string | null }> {
    const pageSchema = z.object({ items: z.array(view.item), next: z.string().nullish() });
    const format = formatterOf(view);
    let after = query.after ?? null;
    let count = 0;
    do {
      const page = { limit: String(Math.min(PAGE_ITEMS, most - count)), ...(after !== null && { after }) };
      const answer = await this.call('GET', `${path}?${new URLSearchParams({ ...query, ...page })}`);
      const { items, next = null } = fitting(pageSchema, answer);
      if (this.json && items.length > 0) {
        // As they came: the schema leaves fields out that it does not know.
        const texts = (answer as { items: unknown[] }).items.map(jsonText);
        await print((count === 0 ? '[\n' : ',\n') + texts.join(',\n'));
      } else if (items.length > 0) {
        await print(`${format(items)}\n`);
      }
      count += items.length;
      after = next;
    } while (after !== null && count < most);
    if (this.json) await print(count === 0 ? '[]\n' : '\n]\n');
    else if (count === 0) await print(`${view.none}\n`);
    return { count, next: after };
  }
}

/** Resolves when the text is written. A failure ends the process (cli.ts). */
function print(text: string): Promise<void> {
  return new Promise((done) => process.stdout.write(text, (error) => error ?? done()));
}

/** fitting returns an answer that has the form of the schema, and throws for any other. */
export function fitting<T>(schema: z.ZodType<T>, answer: unknown): T {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new Error('the admin port answered in a form that this version does not know');
}
