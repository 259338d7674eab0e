#!/usr/bin/env node
/**
 * The command line. It imports everything but the check of Node's version dynamically, so that an old Node can still print
 * the sentence about itself.
 */
import type { Command } from 'commander';
import type { LoadedConfig } from './config/load.ts';
import { nodeProblem } from './config/node-version.ts';
import type { MigrationAction, MigrationResult, MigrationState } from './infra/postgres/migrations.ts';

const DONE = 0;
const FAILED = 1;
/** The command line or the configuration is wrong. */
const REFUSED = 2;

const DEFAULT_CONFIG_PATH = './config/local.yaml';

async function run(argv: string[]): Promise<void> {
  const { CommanderError } = await import('commander');
  const command = argv.find((word, at) => !word.startsWith('-') && argv[at - 1] !== '--config');
  // The log of serve needs the descriptor as it is, and the first use of process.stdout would change it.
  if (command !== 'serve') process.stdout.on('error', outputFailed);
  try {
    const words = command === 'help' ? helpWords(argv) : argv;
    const program = await makeProgram(words, command);
    await program.parseAsync(words, { from: 'user' });
  } catch (thrown) {
    // Commander has written the help or the mistake itself.
    if (thrown instanceof CommanderError) process.exitCode = thrown.exitCode === 0 ? DONE : REFUSED;
    else fail(`sluice: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
}

/** `help clients set` is `clients set --help`: commander would show the help of `clients`. */
function helpWords(argv: string[]): string[] {
  return [...argv.toSpliced(argv.indexOf('help'), 1), '--help'];
}

function fail(sentence: string): void {
  process.stderr.write(`${sentence}\n`);
  process.exitCode = FAILED;
}

/** These start without what the other commands need. */
const LEAN = ['serve', 'check', 'migrate', 'version'];

async function makeProgram(argv: string[], word = ''): Promise<Command> {
  const { Argument, Command, InvalidArgumentError } = await import('commander');
  const { sluiceVersion } = await import('./infra/build-info.ts');
  const version = sluiceVersion();
  const program = new Command('sluice');
  const configPath = (): string => program.opts().config ?? (process.env.CONFIG_PATH || DEFAULT_CONFIG_PATH);
  program
    .description('An HTTP front door: load balancer with shared rate limits.')
    .option('--config <file>', `default: $CONFIG_PATH, then ${DEFAULT_CONFIG_PATH}`, (value) => {
      if (value === '') throw new InvalidArgumentError('It needs a file.');
      return value;
    })
    .version(version, '-v, --version', 'print the version')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'sluice: ')) })
    .exitOverride();
  program
    .command('serve')
    .description('run the load balancer')
    .action(async () => {
      process.exitCode = await serve(configPath());
    });
  program
    .command('check')
    .description('list every mistake in the configuration, with file and line')
    .action(async () => {
      process.exitCode = await check(configPath());
    });
  program
    .command('migrate')
    .description("bring the database's schema up to date, undo the last step, or list the steps")
    .addArgument(new Argument('[action]', 'what to do').choices(['up', 'down', 'status']).default('up'))
    .option('--yes', 'undo a step although it drops data')
    .option('--step <name>', 'undo it only while it is the last step')
    .action(async (action: MigrationAction, options: { yes?: true; step?: string }, own: Command) => {
      if (options.step !== undefined && action !== 'down') own.error('error: --step goes with down only');
      process.exitCode = await migrateCommand(configPath(), action, options);
    });
  const isLean = LEAN.includes(word) && !argv.includes('--help') && !argv.includes('-h');
  if (!isLean) await addOthers(program, argv, configPath);
  program
    .command('version')
    .description('print the version')
    .action(() => void say(version));
  if (!isLean) {
    const { giveExamples } = await import('./cli/examples.ts');
    giveExamples(program, 'sluice');
  }
  guide(program, 'sluice');
  return program;
}

async function addOthers(program: Command, argv: string[], configPath: () => string): Promise<void> {
  const { COMMANDS } = await import('./cli/commands.ts');
  const isCompleting = argv[0] === 'complete';
  for (const [name, description, load] of COMMANDS) {
    const command = program.command(name).description(description);
    if (isCompleting || argv.includes(name)) (await load())(command, configPath);
  }
  if (!isCompleting) return;
  const { addComplete } = await import('./cli/complete.ts');
  addComplete(program.command('complete', { hidden: true }), configPath);
}

/** After a mistake, each command names its own help. Help for an unknown command is a mistake too. */
function guide(command: Command, words: string): void {
  command.showHelpAfterError(`Try: ${words} --help`);
  command.on('beforeHelp', () => {
    const [word] = command.args[0] === 'help' ? command.args.slice(1) : command.args;
    if (command.commands.length === 0 || word === undefined || word.startsWith('-')) return;
    command.error(`error: unknown command '${word}'`);
  });
  for (const inner of command.commands) guide(inner, `${words} ${inner.name()}`);
}

async function check(configPath: string): Promise<number> {
  const { loadConfig } = await import('./config/load.ts');
  const { formatProblems } = await import('./config/problems.ts');
  const { summaryOf } = await import('./config/warnings.ts');
  const { toError } = await import('./contract/errors.ts');
  const { chooseDataPath } = await import('./infra/wire/wire-choice.ts');
  const loaded = loadConfig(configPath, process.env);
  const found = 'problems' in loaded ? loaded.problems : loaded.warnings;
  const lines = formatProblems(configPath, found, 'problems' in loaded ? '' : 'warning: ');
  let code = 'problems' in loaded ? REFUSED : DONE;
  try {
    chooseDataPath(process.version, process.env);
  } catch (thrown) {
    lines.push(toError(thrown).message);
    code = REFUSED;
  }
  if ('settings' in loaded && code === DONE) lines.push(summaryOf(loaded.settings), 'ok');
  say(...lines);
  return code;
}

async function serve(configPath: string): Promise<number> {
  const { ProcessSignals } = await import('./infra/process-signals.ts');
  const signals = new ProcessSignals();
  const loaded = await loadOrPrint(configPath);
  if (loaded === null) return REFUSED;
  const { startPrimary } = await import('./primary/main.ts');
  const code = await startPrimary({ ...loaded, configPath, env: process.env, signals });
  // The primary has closed what it opened. A library that still has a timer or a socket must not keep the process alive.
  process.exit(code);
}

async function loadOrPrint(configPath: string): Promise<LoadedConfig | null> {
  const { loadConfig } = await import('./config/load.ts');
  const { formatProblems } = await import('./config/problems.ts');
  // A certificate that expired while Sluice was off must not keep the other addresses from being served.
  const loaded = loadConfig(configPath, process.env, () => true);
  if ('settings' in loaded) return loaded;
  process.stderr.write(`${formatProblems(configPath, loaded.problems).join('\n')}\n`);
  return null;
}

async function migrateCommand(
  configPath: string,
  action: MigrationAction,
  { yes, step }: { yes?: true; step?: string },
): Promise<number> {
  const loaded = await loadOrPrint(configPath);
  if (loaded === null) return REFUSED;
  const { settings } = loaded;
  const { makeLogger } = await import('./infra/logging/logger.ts');
  const { aboutMigration, migrate } = await import('./infra/postgres/migrations.ts');
  const logger = makeLogger({ level: 'warn', format: settings.log.format });
  const isRefused = action === 'down' && !yes;
  const { openStorage } = await import('./primary/storage.ts');
  const { startProgress } = await import('./cli/progress.ts');
  const options = { purpose: 'sluice migrate', migrated: false, lazy: action !== 'up' };
  const storage = openStorage(settings.database, logger, options);
  try {
    if (storage.isUnused) return say('no database yet');
    // A new embedded database takes seconds, and so may a step on a large table.
    const { begin: onStep, stop } = startProgress(1, 'opening the database');
    const done = isRefused ? 'status' : action;
    const work = () => migrate(storage.database, done, { logger, onStep, step });
    const result = await storage.ready.then(work).finally(stop);
    const last = result.migrations.findLast(({ appliedAt, known }) => appliedAt !== null && known);
    if (!isRefused || last === undefined) return say(...describe(action, result));
    process.stderr.write(
      `sluice: this undoes ${last.name} and drops what its tables hold for good: ${aboutMigration(last.name)}\nadd --yes --step ${last.name} to do it\n`,
    );
    return REFUSED;
  } finally {
    await storage.close();
  }
}

function say(...lines: string[]): number {
  process.stdout.write(`${lines.join('\n')}\n`);
  return DONE;
}

function outputFailed(error: NodeJS.ErrnoException): void {
  // The reader of `… | head` closes the pipe when it has read enough.
  if (error.code !== 'EPIPE') fail(`sluice: cannot write to standard output: ${error.message}`);
  process.exit();
}

function describe(action: MigrationAction, { changed, migrations }: MigrationResult): string[] {
  if (action === 'status') return migrations.map(stateText);
  const [verb, none] = action === 'up' ? ['applied', 'up to date'] : ['undone', 'nothing to undo'];
  return changed.length === 0 ? [none] : changed.map((name) => `${verb} ${name}`);
}

function stateText({ name, appliedAt, known }: MigrationState): string {
  const state = appliedAt === null ? 'pending' : `applied ${appliedAt}`;
  return `${name}: ${state}${known ? '' : ', unknown to this version'}`;
}

const problem = nodeProblem(process.versions.node);
if (problem === null) await run(process.argv.slice(2));
else fail(problem);
