/** Several machines on one: instances with loopback addresses of their own, on one Redis Cluster and one PostgreSQL server. */
import { migratedDatabase, type PostgresServer, startPostgres } from './postgres.ts';
import { type RedisCluster, startRedisCluster } from './redis-cluster.ts';
import { type SluiceConfig, type SluiceProcess, startSluice } from './sluice.ts';

const MOST_MACHINES = 30;
/** A machine has five at most. */
const DATABASE_SETTINGS = { max_connections: String(MOST_MACHINES * 5 + 20) };

export class Machines {
  /** Machine n listens on 127.0.0.(n + 2), its admin port too. Those that were killed stay in the list. */
  readonly instances: SluiceProcess[] = [];
  readonly cluster: RedisCluster;
  readonly postgres: PostgresServer;
  readonly databaseUrl: string;
  readonly #config: SluiceConfig;

  /**
   * start starts the two stores; put `t.after(() => machines.stop())` on the next line.
   *
   * @param config of every machine, without `listen`, `admin`, `redis` and `database`
   */
  static async start(config: SluiceConfig): Promise<Machines> {
    const [cluster, postgres] = await Promise.allSettled([
      startRedisCluster(),
      startPostgres({ settings: DATABASE_SETTINGS }),
    ]);
    try {
      if (cluster.status === 'rejected') throw cluster.reason;
      if (postgres.status === 'rejected') throw postgres.reason;
      const url = await migratedDatabase(postgres.value);
      return new Machines(config, { cluster: cluster.value, postgres: postgres.value, url });
    } catch (error) {
      if (cluster.status === 'fulfilled') await cluster.value.stop();
      if (postgres.status === 'fulfilled') await postgres.value.remove();
      throw error;
    }
  }

  private constructor(
    config: SluiceConfig,
    { cluster, postgres, url }: { cluster: RedisCluster; postgres: PostgresServer; url: string },
  ) {
    this.#config = config;
    this.cluster = cluster;
    this.postgres = postgres;
    this.databaseUrl = url;
  }

  /** grow starts machines, all at once, until there are `count`. */
  async grow(count: number): Promise<void> {
    if (count > MOST_MACHINES) throw new RangeError(`at most ${MOST_MACHINES} machines`);
    const first = this.instances.length;
    const started = await Promise.allSettled(
      Array.from({ length: count - first }, (_, i) => this.#startOn(`127.0.0.${first + i + 2}`)),
    );
    for (const each of started) if (each.status === 'fulfilled') this.instances.push(each.value);
    for (const each of started) if (each.status === 'rejected') throw each.reason;
  }

  #startOn(host: string): Promise<SluiceProcess> {
    return startSluice({
      config: {
        ...this.#config,
        listen: [{ address: `${host}:0` }],
        admin: { address: `${host}:0` },
        // Longer than the default 20 ms: where cores are busy Redis may get none for so long, and a worker would decide alone.
        redis: { cluster: this.cluster.urls, timeout: '1s' },
        database: { url: this.databaseUrl },
      },
    });
  }

  /** stop ends the machines, then the stores. */
  async stop(): Promise<void> {
    const stopped = await Promise.allSettled(this.instances.map((instance) => instance.stop()));
    await this.cluster.stop();
    await this.postgres.remove();
    for (const each of stopped) if (each.status === 'rejected') throw each.reason;
  }
}
