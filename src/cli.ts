#!/usr/bin/env node
/**
 * The command line. Everything but the check of Node's version is imported when it is needed: an old Node
 * must get as far as the sentence about itself.
 */
import { nodeProblem } from './config/node-version.ts';
import type { Settings } from './contract/settings.ts';
import type { Logger } from './infra/logging/logger.ts';
import type { MigrationAction, MigrationResult, MigrationState } from './infra/postgres/migrations.ts';
import type { Database } from './infra/postgres/postgres.ts';

const DONE = 0;
const FAILED = 1;
const REFUSED = 2;

const DEFAULT_CONFIG_PATH = './config/local.yaml';

const USAGE = `usage: sluice COMMAND [--config FILE]

  serve                     run the load balancer
  check                     say what is wrong with the configuration
  migrate [up|down|status]  bring the database's schema up, one step down, or list the steps
  clients ACTION            list, get, set, delete, issue-key, list-keys, revoke-key; see sluice clients --help
  version                   print the version

FILE defaults to the environment variable CONFIG_PATH, then to ${DEFAULT_CONFIG_PATH}.
`;

const ACTIONS: readonly string[] = ['up', 'down', 'status'] satisfies MigrationAction[];

interface Words {
  command: string;
  /** After the command. */
  rest: string[];
  configPath: string;
}

async function run(): Promise<void> {
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (thrown) {
    process.stderr.write(`sluice: ${thrown instanceof Error ? thrown.message : String(thrown)}\n`);
    process.exitCode = FAILED;
  }
}

async function main(argv: string[]): Promise<number> {
  const clientsAt = clientsWordIn(argv);
  if (clientsAt !== null) return clients(argv.toSpliced(clientsAt, 1));
  const words = await readWords(argv);
  if (typeof words === 'number') return words;
  const { command, rest, configPath } = words;
  const [action = 'up', ...unexpected] = command === 'migrate' ? rest : ['up', ...rest];
  if (unexpected.length > 0) return refuse(`unexpected word: ${unexpected[0]}`, USAGE);
  if (command === 'migrate') return migrateCommand(configPath, action);
  if (command === 'serve') return serve(configPath);
  if (command === 'check') return check(configPath);
  if (command === 'version') return version();
  return refuse(`unknown command: ${command}`, USAGE);
}

/** Flags of `clients` are its own, but --config may stand before the word as it may before others; null: another command. */
function clientsWordIn(argv: string[]): number | null {
  let at = 0;
  while (argv[at]?.startsWith('--config') === true) at += argv[at] === '--config' ? 2 : 1;
  return argv[at] === 'clients' ? at : null;
}

async function clients(argv: string[]): Promise<number> {
  const { clientsCommand } = await import('./cli-clients/command.ts');
  return clientsCommand({ argv, env: process.env, defaultConfigPath: DEFAULT_CONFIG_PATH });
}

/** Gives the words, or the exit code where there is nothing further to do. */
async function readWords(argv: string[]): Promise<Words | number> {
  const { parseArgs } = await import('node:util');
  try {
    const { values, positionals } = parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        config: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean' },
      },
    });
    if (values.help === true || positionals[0] === 'help') {
      process.stdout.write(USAGE);
      return DONE;
    }
    const [command = values.version === true ? 'version' : undefined, ...rest] = positionals;
    if (command === undefined) return refuse('a command is missing', USAGE);
    if (values.config === '') return refuse('--config needs a file', USAGE);
    return { command, rest, configPath: values.config ?? (process.env.CONFIG_PATH || DEFAULT_CONFIG_PATH) };
  } catch (thrown) {
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    // The advice after the first sentence is about something else.
    return refuse(message.split('. ')[0] ?? message, USAGE);
  }
}

function refuse(sentence: string, usage = ''): number {
  process.stderr.write(`sluice: ${sentence}\n${usage === '' ? '' : `\n${usage}`}`);
  return REFUSED;
}

async function version(): Promise<number> {
  const { sluiceVersion } = await import('./infra/build-info.ts');
  process.stdout.write(`${sluiceVersion()}\n`);
  return DONE;
}

async function check(configPath: string): Promise<number> {
  const settings = await loadOrPrint(configPath, process.stdout);
  if (settings === null) return REFUSED;
  process.stdout.write('ok\n');
  return DONE;
}

async function serve(configPath: string): Promise<number> {
  const settings = await loadOrPrint(configPath, process.stderr);
  if (settings === null) return REFUSED;
  const { startPrimary } = await import('./primary/main.ts');
  const code = await startPrimary({ settings, configPath, env: process.env });
  // The primary has closed what it opened; whatever a library still holds must not keep a stopped service alive.
  process.exit(code);
}

async function loadOrPrint(configPath: string, out: NodeJS.WriteStream): Promise<Settings | null> {
  const { loadConfig } = await import('./config/load.ts');
  const { formatProblems } = await import('./config/problems.ts');
  const loaded = loadConfig(configPath, process.env);
  if ('settings' in loaded) return loaded.settings;
  out.write(`${formatProblems(configPath, loaded.problems).join('\n')}\n`);
  return null;
}

function isAction(word: string): word is MigrationAction {
  return ACTIONS.includes(word);
}

async function migrateCommand(configPath: string, action: string): Promise<number> {
  if (!isAction(action)) return refuse(`migrate knows ${ACTIONS.join(', ')}, not ${action}`, USAGE);
  const settings = await loadOrPrint(configPath, process.stderr);
  if (settings === null) return REFUSED;
  const { makeLogger } = await import('./infra/logging/logger.ts');
  const { migrate } = await import('./infra/postgres/migrations.ts');
  const logger = makeLogger({ level: 'warn', format: settings.log.format });
  const result = await withDatabase(settings, logger, (database) => migrate(database, action, { logger }));
  process.stdout.write(`${describe(action, result).join('\n')}\n`);
  return DONE;
}

async function withDatabase<T>(
  settings: Settings,
  logger: Logger,
  use: (database: Database) => Promise<T>,
): Promise<T> {
  const { url, embeddedPath } = settings.database;
  if (url !== null) {
    const { Database } = await import('./infra/postgres/postgres.ts');
    const database = new Database({ target: { kind: 'url', url }, logger });
    try {
      return await use(database);
    } finally {
      await database.close();
    }
  }
  const { EmbeddedPostgres } = await import('./infra/postgres/embedded-postgres.ts');
  const server = await EmbeddedPostgres.open({
    folder: embeddedPath,
    purpose: 'sluice migrate',
    logger,
    migrated: false,
  });
  try {
    await server.ready;
    return await use(server.database);
  } finally {
    await server.close();
  }
}

function describe(action: MigrationAction, { changed, migrations }: MigrationResult): string[] {
  if (action === 'status') return migrations.map((state) => `${state.name}: ${stateText(state)}`);
  const [verb, none] = action === 'up' ? ['applied', 'up to date'] : ['undone', 'nothing to undo'];
  return changed.length === 0 ? [none] : changed.map((name) => `${verb} ${name}`);
}

function stateText({ appliedAt, known }: MigrationState): string {
  if (appliedAt === null) return 'pending';
  return known ? `applied ${appliedAt}` : `applied ${appliedAt}, unknown to this version`;
}

const problem = nodeProblem(process.versions.node);
if (problem === null) {
  await run();
} else {
  process.stderr.write(`${problem}\n`);
  process.exitCode = FAILED;
}
