/**
 * The schema's steps: running them, listing them, and saying whether a database fits this program. The files and their
 * rules are in migrations/README.md.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { LbError } from '../../contract/errors.ts';
import type { Logger } from '../logging/logger.ts';
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

export interface MigrateOptions {
  logger: Logger;
  /** Folder of the files; default the product's own. For tests. */
  folder?: string;
}

const LEDGER = 'sluice_migrations';
/** Bounds a whole run, waiting for another one included. */
const RUN_MS = 120_000;
const FILE_NAME = /^(\d{4})_[a-z0-9_]+\.sql$/;
const UNDEFINED_TABLE = '42P01';

/**
 * migrate brings the schema up (all pending steps), one step down, or only lists. Several processes may call it at once
 * on a real server: they take turns by an advisory lock (the embedded one has the lock of its folder instead). Throws
 * LbError: schema_mismatch when the database has steps this program does not know, else as Database does.
 */
export async function migrate(
  database: Database,
  action: MigrationAction,
  options: MigrateOptions,
): Promise<MigrationResult> {
  const folder = options.folder ?? productFolder();
  return database.migrating(RUN_MS, async (client) => {
    const before = await readStates(queryOn(client), folder);
    if (action === 'status') return { changed: [], migrations: before };
    refuseUnknown(before);
    const changed = await run(client, action, { folder, logger: options.logger });
    return { changed, migrations: await readStates(queryOn(client), folder) };
  });
}

/** aboutMigration is the first line of a step's file, which says what its tables hold. The step is one of this program. */
export function aboutMigration(name: string): string {
  const [first = ''] = readFileSync(join(productFolder(), `${name}.sql`), 'utf8').split('\n', 1);
  return first.replace(/^-- /, '');
}

/**
 * assertSchema throws LbError schema_mismatch, with what to do, unless this program can work on the database's schema:
 * all its steps are applied, and later ones say that they tolerate it. For serve, before it trusts a database.
 */
export async function assertSchema(database: Database, folder = productFolder()): Promise<void> {
  const query: QueryFn = (text, params) => database.read(text, params);
  const states = await readStates(query, folder);
  const missing = states.filter((state) => state.known && state.appliedAt === null);
  if (missing.length > 0) {
    throw new LbError(
      'schema_mismatch',
      `the database's schema lacks ${namesOf(missing)}: run \`sluice migrate up\``,
    );
  }
  const unknown = states.filter((state) => !state.known);
  if (unknown.length === 0) return;
  const latest = Math.max(...states.filter((state) => state.known).map((state) => numberOf(state.name)));
  const [row] = await query('select oldest_reader from sluice_schema');
  if (Number(row?.oldest_reader) > latest) {
    throw new LbError(
      'schema_mismatch',
      `the database's schema is newer than this program (${namesOf(unknown)}): run a newer version of Sluice`,
    );
  }
}

async function run(
  client: pg.PoolClient,
  direction: 'up' | 'down',
  { folder, logger }: { folder: string; logger: Logger },
): Promise<string[]> {
  // Most processes never migrate, and the library is large.
  const { runner } = await import('node-pg-migrate');
  // A step may take longer than a request's statement, and so may the wait for another process's run.
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
      logger: quietLogger(logger),
    });
    return done.map((migration) => migration.name);
  } catch (thrown) {
    throw mapDatabaseError(thrown, `migrating ${direction} failed`);
  }
}

/** The library prints what a person at a terminal likes; here its progress is a detail and its errors are thrown. */
function quietLogger(logger: Logger) {
  const debug = (text: string): void => logger.debug({ component: 'migrations' }, text);
  return { info: debug, warn: debug, error: debug };
}

async function readStates(query: QueryFn, folder: string): Promise<MigrationState[]> {
  const applied = new Map((await readLedger(query)).map((row) => [String(row.name), row.run_on]));
  const names = new Set([...knownNames(folder), ...applied.keys()]);
  const known = new Set(knownNames(folder));
  return [...names].sort().map((name) => ({
    name,
    appliedAt: isoOf(applied.get(name)),
    known: known.has(name),
  }));
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

function knownNames(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => FILE_NAME.test(name))
    .map((name) => name.slice(0, -'.sql'.length))
    .sort();
}

function refuseUnknown(states: MigrationState[]): void {
  const unknown = states.filter((state) => !state.known);
  if (unknown.length === 0) return;
  throw new LbError(
    'schema_mismatch',
    `the database has steps that this program does not know (${namesOf(unknown)}): migrate with the version that made them`,
  );
}

function queryOn(client: pg.PoolClient): QueryFn {
  return async (text, params = []) => (await client.query<Row>(text, [...params])).rows;
}

/** The folder lies beside src/ and dist/ alike. */
function productFolder(): string {
  return fileURLToPath(new URL('../../../migrations/', import.meta.url));
}

function namesOf(states: MigrationState[]): string {
  return states.map((state) => state.name).join(', ');
}

function numberOf(name: string): number {
  return Number.parseInt(name, 10);
}

function isoOf(value: unknown): string | null {
  return value instanceof Date ? value.toISOString() : null;
}
