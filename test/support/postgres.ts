/** A throw-away PostgreSQL server on a free port of 127.0.0.1. It runs as an unprivileged user, because it refuses root. */
import { chownSync, existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import { migrate } from '../../src/infra/postgres/migrations.ts';
import { Database } from '../../src/infra/postgres/postgres.ts';
import { type Child, runToEnd, spawnChild } from './child.ts';
import { freePort } from './free-port.ts';
import { makeTempFolder, removeTempFolder } from './temp-folder.ts';
import { waitFor } from './wait.ts';

export interface PostgresServer {
  /** postgres://postgres@127.0.0.1:port/postgres, the maintenance database; use makeDatabase for tests. */
  readonly url: string;
  readonly port: number;
  /** pid of the postmaster that runs now. */
  readonly pid: number;
  /** signal sends a signal to the postmaster alone. */
  signal(signal: NodeJS.Signals): void;
  /** stop disconnects everybody and keeps the data; start() starts it again on the same port. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** restart is stop() and start(). */
  restart(): Promise<void>;
  /** remove is stop() and deletes the data; for `t.after` and `after`. */
  remove(): Promise<void>;
}

/** startPostgres makes a cluster and starts it (about 2 s); put `after(() => server.remove())` on the next line. */
export async function startPostgres(
  options: { settings?: Record<string, string> } = {},
): Promise<PostgresServer> {
  const server = new ThrowAwayPostgres(options.settings ?? {});
  try {
    await server.init();
    await server.startOnFreePort();
    return server;
  } catch (error) {
    await server.remove();
    throw error;
  }
}

let databaseCount = 0;

/** makeDatabase makes an empty database on the server (about 50 ms) and returns its URL. It is deleted with the server. */
export async function makeDatabase(server: Pick<PostgresServer, 'url'>): Promise<string> {
  databaseCount += 1;
  const name = `test_${process.pid}_${databaseCount}`;
  const client = new pg.Client({ connectionString: server.url, connectionTimeoutMillis: 5_000 });
  await client.connect();
  try {
    await client.query(`create database ${name} template template0`);
  } finally {
    await client.end();
  }
  const url = new URL(server.url);
  url.pathname = `/${name}`;
  return url.href;
}

/** migratedDatabase makes a database on the server, with the newest schema, and returns its URL. */
export async function migratedDatabase(server: Pick<PostgresServer, 'url'>): Promise<string> {
  const url = await makeDatabase(server);
  const logger = pino({ level: 'silent' });
  const database = new Database({ target: { kind: 'url', url }, logger });
  try {
    await migrate(database, 'up', { logger });
  } finally {
    await database.close();
  }
  return url;
}

/** postgresBinFolder finds the newest server programs. On Debian they are not on PATH. */
export function postgresBinFolder(): string {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = versions.map((version) => join(debian, version, 'bin'));
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const found = join(folder, 'postgres');
    if (folder !== '' && existsSync(found)) folders.push(dirname(realpathSync(found)));
  }
  const complete = folders.find(
    (folder) => existsSync(join(folder, 'postgres')) && existsSync(join(folder, 'initdb')),
  );
  if (complete === undefined)
    throw new Error('no PostgreSQL server found: `make test` says how to install it');
  return complete;
}

/** Tests prefer speed to durability, and must not depend on the machine's locale or time zone. */
const SERVER_SETTINGS: Record<string, string> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  dynamic_shared_memory_type: 'mmap',
  shared_buffers: '16MB',
  max_connections: '60',
  timezone: 'UTC',
};

class ThrowAwayPostgres implements PostgresServer {
  port = 0;
  readonly #settings: Record<string, string>;
  readonly #user = unprivilegedUser();
  readonly #folder = makeTempFolder('sluice-postgres-');
  readonly #bin = postgresBinFolder();
  #child: Child | null = null;

  constructor(settings: Record<string, string>) {
    this.#settings = { ...SERVER_SETTINGS, ...settings };
  }

  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.port}/postgres`;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.signal(signal);
  }

  async init(): Promise<void> {
    if (this.#user !== null) chownSync(this.#folder, this.#user.uid, this.#user.gid);
    const args = [
      '-D',
      join(this.#folder, 'data'),
      '-U',
      'postgres',
      '-A',
      'trust',
      '-E',
      'UTF8',
      '--locale=C',
    ];
    const made = await runToEnd(join(this.#bin, 'initdb'), [...args, '--no-sync'], this.#spawnOptions());
    if (made.code !== 0) throw new Error(`initdb failed:\n${[...made.stdout, ...made.stderr].join('\n')}`);
  }

  async startOnFreePort(): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      this.port = await freePort();
      try {
        return await this.start();
      } catch (error) {
        if (attempt === 3) throw error;
      }
    }
  }

  async start(): Promise<void> {
    const settings = Object.entries({ ...this.#settings, port: String(this.port) });
    const args = [
      '-D',
      join(this.#folder, 'data'),
      ...settings.flatMap(([key, value]) => ['-c', `${key}=${value}`]),
    ];
    const child = spawnChild(join(this.#bin, 'postgres'), args, {
      ...this.#spawnOptions(),
      killSignal: 'SIGQUIT', // SIGKILL would leave its shared memory behind
    });
    this.#child = child;
    await child.waitForLine('database system is ready to accept connections', {
      from: 'stderr',
      timeoutMs: 30_000,
    });
    await waitFor(`PostgreSQL on port ${this.port} to answer`, () => answers(this.url));
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    this.#child = null;
    child.signal('SIGCONT');
    await child.stop('SIGINT', 10_000);
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  async remove(): Promise<void> {
    await this.stop();
    removeTempFolder(this.#folder);
  }

  #spawnOptions() {
    const env = { LC_ALL: 'C', LANG: 'C', PGDATA: undefined, PGPORT: undefined, PGOPTIONS: undefined };
    return { cwd: this.#folder, uid: this.#user?.uid, gid: this.#user?.gid, env };
  }
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  await client.connect();
  await client.query('select 1');
  await client.end();
  return true;
}

/** null: this process is unprivileged itself. */
function unprivilegedUser(): { uid: number; gid: number } | null {
  if (process.getuid?.() !== 0) return null;
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  for (const name of ['postgres', 'nobody']) {
    const found = users.find((fields) => fields[0] === name);
    if (found !== undefined) return { uid: Number(found[2]), gid: Number(found[3]) };
  }
  throw new Error(
    'PostgreSQL does not start as root, and neither the user postgres nor nobody is in /etc/passwd',
  );
}
