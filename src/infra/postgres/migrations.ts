/** Runs and lists the steps of the schema, and tells whether a database fits this program. See migrations/README.md. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { LbError } from '../../contract/errors.ts';
import type { Logger } from '../logging/logger.ts';
import { productFile } from '../product-files.ts';
import type { Database, QueryFn, Row } from './postgres.ts';
import { mapDatabaseError, sqlStateOf } from './postgres-errors.ts';

export type MigrationAction = 'up' | 'down' | 'status';

export interface MigrationState {
  /** File name without its extension. */
  name: string;
  /** ISO 8601; null: not applied. */
  appliedAt: string | null;
  /** false: the database has it, this program does not. */
  known: boolean;
}

export interface MigrationResult {
  /** Names applied by `up` or undone by `down`, in order. */
  changed: string[];
  /** All steps after the action, in order. */
  migrations: MigrationState[];
}

interface MigrateOptions {
  logger: Logger;
  /** Folder of the steps, for tests; default the product's own. */
  folder?: string;
  /** The step that `down` is to undo; default the last one as the run begins. */
  step?: string | undefined;
  /** Called as each step begins, with how many there are. */
  onStep?: (name: string, total: number) => void;
}

const PRODUCT_FOLDER = productFile('migrations');
const LEDGER = 'sluice_migrations';
/** Bounds a whole run, waiting for another one included. */
const RUN_MS = 120_000;
const FILE_NAME = /^(\d{4}_[a-z0-9_]+)\.sql$/;
/** What the library says as it begins a step. */
const STEP_BEGINS = /^### MIGRATION (\S+) /;
const UNDEFINED_TABLE = '42P01';

/**
 * migrate runs all pending steps, undoes the last step, or only lists. Processes that call it at once take turns by an advisory
 * lock. Throws LbError schema_mismatch when the database has steps that this program does not know, and it would have to run
 * or undo one, or they rule it out, or when the last step is another one by the time it is to be undone; else what Database throws.
 */
export async function migrate(
  database: Database,
  action: MigrationAction,
  options: MigrateOptions,
): Promise<MigrationResult> {
  const folder = options.folder ?? PRODUCT_FOLDER;
  return database.migrating(RUN_MS, async (client, query) => {
    const before = await readStates(query, folder);
    if (action === 'status') return { changed: [], migrations: before };
    if (action === 'up' && before.every(({ appliedAt }) => appliedAt !== null)) {
      await assertReadable(query, before);
      return { changed: [], migrations: before };
    }
    const unknown = before.filter(({ known }) => !known);
    if (unknown.length > 0)
      throw misfit(
        `the database has steps that this program does not know (${namesOf(unknown)}): migrate with the version that made them`,
      );
    const total = action === 'up' ? before.filter(({ appliedAt }) => appliedAt === null).length : 1;
    const step = options.step ?? before.findLast(({ appliedAt }) => appliedAt !== null)?.name;
    // Called under the lock, before the first statement of the step.
    const onStep = (name: string) => {
      if (action === 'down' && name !== step)
        throw misfit(`the last step is ${name}, not ${step}: nothing was undone`);
      options.onStep?.(name, total);
    };
    const changed = await run(client, action, { folder, logger: options.logger, onStep });
    return { changed, migrations: await readStates(query, folder) };
  });
}

/** aboutMigration is the first line of a step's file, which says what its tables hold. The step is one of this program. */
export function aboutMigration(name: string): string {
  const [first = ''] = readFileSync(join(PRODUCT_FOLDER, `${name}.sql`), 'utf8').split('\n', 1);
  return first.replace(/^-- /, '');
}

/**
 * assertSchema throws LbError schema_mismatch, with what to do, unless this program can work with the database: all its steps
 * are applied, and no later step rules it out. Called before each load of the directory.
 */
export async function assertSchema(database: Database, folder = PRODUCT_FOLDER): Promise<void> {
  const query: QueryFn = (text, params) => database.read(text, params);
  const states = await readStates(query, folder);
  const missing = states.filter(({ known, appliedAt }) => known && appliedAt === null);
  if (missing.length > 0)
    throw misfit(`the database's schema lacks ${namesOf(missing)}: run \`sluice migrate up\``);
  await assertReadable(query, states);
}

/** Steps of a later version may be there, unless they rule this program out: so one can go back to an earlier version. */
async function assertReadable(query: QueryFn, states: MigrationState[]): Promise<void> {
  const unknown = states.filter(({ known }) => !known);
  if (unknown.length === 0) return;
  const newest = states.findLast(({ known }) => known)?.name ?? '';
  const [row] = await query('select oldest_reader from sluice_schema');
  if (Number(row?.oldest_reader) > Number.parseInt(newest, 10))
    throw misfit(
      `the database's schema is newer than this program (${namesOf(unknown)}): run a newer version of Sluice`,
    );
}

async function run(
  client: pg.PoolClient,
  direction: 'up' | 'down',
  { folder, logger, onStep }: { folder: string; logger: Logger; onStep: (name: string) => void },
): Promise<string[]> {
  // The library would print its progress. Its errors are thrown.
  const debug = (text: string): void => logger.debug({ component: 'migrations' }, text);
  const info = (text: string): void => {
    const [, name] = STEP_BEGINS.exec(text) ?? [];
    if (name !== undefined) onStep(name);
    debug(text);
  };
  // Most processes never migrate, and the library is large.
  const { runner } = await import('node-pg-migrate');
  // A step, or the wait for another process, may take longer than a statement usually may.
  await client.query(`set statement_timeout = ${RUN_MS}`);
  try {
    const done = await runner({
      dbClient: client,
      dir: folder,
      ignorePattern: '(?!\\d{4}_).*|.*(?<!\\.sql)',
      migrationsTable: LEDGER,
      direction,
      count: direction === 'down' ? 1 : Number.POSITIVE_INFINITY,
      checkOrder: true,
      singleTransaction: true,
      advisoryLockMode: 'wait',
      logger: { info, warn: debug, error: debug },
    });
    return done.map((migration) => migration.name);
  } catch (thrown) {
    throw mapDatabaseError(thrown, `migrating ${direction} failed`);
  }
}

async function readStates(query: QueryFn, folder: string): Promise<MigrationState[]> {
  const ledger = await readLedger(query);
  const applied = new Map(ledger.map(({ name, run_on: at }) => [String(name), at]));
  const known = readdirSync(folder).flatMap((file) => FILE_NAME.exec(file)?.[1] ?? []);
  return [...new Set([...known, ...applied.keys()])].sort().map((name) => {
    const at = applied.get(name);
    return { name, appliedAt: at instanceof Date ? at.toISOString() : null, known: known.includes(name) };
  });
}

async function readLedger(query: QueryFn): Promise<Row[]> {
  try {
    return await query(
      `select name, run_on at time zone current_setting('timezone') as run_on from public.${LEDGER} order by name`,
    );
  } catch (error) {
    if (sqlStateOf(error) === UNDEFINED_TABLE) return [];
    throw error;
  }
}

function misfit(message: string): LbError {
  return new LbError('schema_mismatch', message);
}

function namesOf(states: MigrationState[]): string {
  return states.map((state) => state.name).join(', ');
}
