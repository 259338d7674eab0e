/** Meters of what machines cost the stores that they share: a Redis Cluster and a PostgreSQL server. */
import { Redis } from 'ioredis';
import pg from 'pg';
import { processes } from '../../test/support/child.ts';
import type { Machines } from '../../test/support/machines.ts';
import { cpuTimes, reapedUs } from '../rig/cpu.ts';

/** Counts since the start of the servers, without those of the meter where the name says so. */
export interface Counts {
  atMs: number;
  /** Calls of scripts at each node: takes of tokens, probes and announcements. The meter makes none. */
  nodeCalls: number[];
  redisCpuUs: number;
  /** Connections to all nodes that were ever accepted; the meter has one to each. */
  opened: number;
  /** CLUSTER SLOTS. */
  mapReads: number;
  databaseCpuUs: number;
  /** Transactions, some of them the meter's. */
  transactions: number;
}

/** What is there now. */
export interface Holdings {
  /** Connections to all nodes, without the meter's and those between nodes. */
  redisConnections: number;
  databaseConnections: number;
}

const METER = 'meter';

/** sumOf adds up, for the meter and the report. */
export const sumOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

export class StoreMeter {
  readonly #machines: Machines;
  readonly #nodes: Redis[];
  readonly #database: pg.Client;

  static async open(machines: Machines): Promise<StoreMeter> {
    const database = new pg.Client({
      connectionString: machines.databaseUrl,
      application_name: METER,
    });
    await database.connect();
    return new StoreMeter(machines, database);
  }

  private constructor(machines: Machines, database: pg.Client) {
    this.#machines = machines;
    this.#database = database;
    this.#nodes = machines.cluster.urls.map((url) => new Redis(url, { connectionName: METER }));
  }

  async counts(): Promise<Counts> {
    const nodeCalls = await this.#counts('commandstats', /^cmdstat_(?:evalsha|eval):calls=(\d+)/gm);
    const mapReads = await this.#sum('commandstats', /^cmdstat_cluster\|slots:calls=(\d+)/gm);
    const opened = await this.#sum('stats', /^total_connections_received:(\d+)/gm);
    const transactions = await this.#number(
      'select xact_commit as n from pg_stat_database where datname = current_database()',
    );
    return {
      atMs: performance.now(),
      nodeCalls,
      mapReads,
      opened,
      transactions,
      redisCpuUs: cpuTimes(this.#machines.cluster.nodes.map(({ pid }) => pid)).totalUs,
      // Sessions that have ended would take their part with them.
      databaseCpuUs: cpuTimes(this.#databasePids()).totalUs + reapedUs(this.#machines.postgres.pid),
    };
  }

  async holdings(): Promise<Holdings> {
    const lists = await Promise.all(this.#nodes.map((node) => node.client('LIST') as Promise<string>));
    const redisConnections = lists
      .join('')
      .split('\n')
      .filter((line) => /\bname=(?:ioredis-cluster\(\w+\):)?sluice/.test(line)).length;
    const databaseConnections = await this.#number(
      `select count(*) as n from pg_stat_activity where application_name = 'sluice'`,
    );
    return { redisConnections, databaseConnections };
  }

  /** Keys and used memory of all nodes. */
  async memory(): Promise<{ keys: number; bytes: number }> {
    const sizes = await Promise.all(this.#nodes.map((node) => node.dbsize()));
    const bytes = await this.#sum('memory', /^used_memory:(\d+)/gm);
    return { keys: sizes.reduce((sum, size) => sum + size, 0), bytes };
  }

  /** forget empties the nodes. */
  async forget(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.flushall()));
  }

  async close(): Promise<void> {
    for (const node of this.#nodes) node.disconnect();
    await this.#database.end();
  }

  async #sum(section: string, pattern: RegExp): Promise<number> {
    return sumOf(await this.#counts(section, pattern));
  }

  /** For each node. */
  async #counts(section: string, pattern: RegExp): Promise<number[]> {
    const texts = await Promise.all(this.#nodes.map((node) => node.info(section)));
    return texts.map((text) => sumOf([...text.matchAll(pattern)].map(([, count]) => Number(count))));
  }

  async #number(text: string): Promise<number> {
    return Number((await this.#database.query<{ n: string }>(text)).rows[0]?.n);
  }

  /** Each session is a child of the first process, in a process group of its own. */
  #databasePids(): number[] {
    const { pid } = this.#machines.postgres;
    return [pid, ...processes().flatMap((entry) => (entry.parentPid === pid ? [entry.pid] : []))];
  }
}
