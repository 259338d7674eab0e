/** A throw-away Redis Cluster: masters that share the slots evenly, and replicas on request. */
import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';
import { type RedisServer, startRedis } from './redis.ts';
import { waitFor } from './wait.ts';

const SLOTS = 16_384;
const NAMED = {
  '--cluster-announce-hostname': 'localhost',
  '--cluster-preferred-endpoint-type': 'hostname',
};

export interface RedisCluster {
  readonly nodes: readonly RedisServer[];
  readonly urls: string[];
  /** moveSlot moves a slot with its keys, one by one; `between` runs before and after each step. */
  moveSlot(slot: number, to: RedisServer, between: () => Promise<void>): Promise<void>;
  /** The node that owns the slot. */
  ownerOf(slot: number): Promise<RedisServer>;
  stop(): Promise<void>;
}

export interface RedisClusterOptions {
  masters?: number;
  /** Replicas of the first master; they are the last of `nodes`. */
  replicas?: number;
  /** true: nodes keep serving while others are away (cluster-require-full-coverage no); default: false. */
  partial?: boolean;
  /** PEM files. With them nodes speak TLS only and call themselves localhost. */
  tls?: { cert: string; key: string };
}

/** startRedisCluster starts a cluster; put `t.after(() => cluster.stop())` on the next line. */
export async function startRedisCluster(options: RedisClusterOptions = {}): Promise<RedisCluster> {
  const { masters = 3, replicas = 0, partial = false, tls } = options;
  const nodes: RedisServer[] = [];
  const clients: Redis[] = [];
  const stop = async (): Promise<void> => {
    for (const client of clients) client.disconnect();
    await Promise.all(nodes.map((node) => node.stop()));
  };
  try {
    while (nodes.length < masters + replicas) {
      const busPort = await freePort();
      const settings: Record<string, string> = {
        '--cluster-enabled': 'yes',
        '--cluster-port': String(busPort),
        '--cluster-node-timeout': '2000',
        '--cluster-require-full-coverage': partial ? 'no' : 'yes',
        ...(tls === undefined ? {} : NAMED),
      };
      const args = Object.entries(settings).flat();
      const node = await startRedis(tls === undefined ? { args } : { args, tls });
      nodes.push(node);
      const client = new Redis(node.url, tls === undefined ? {} : { tls: { rejectUnauthorized: false } });
      // A test may have stopped a node.
      client.on('error', () => undefined);
      clients.push(client);
    }
    await join(nodes, clients, masters);
    return new Joined(nodes, clients, masters, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function join(
  nodes: readonly RedisServer[],
  clients: readonly Redis[],
  masters: number,
): Promise<void> {
  const [first, ...others] = clients;
  const busPort = (await first?.config('GET', 'cluster-port')) as string[];
  for (const other of others) {
    await other.call('CLUSTER', 'MEET', '127.0.0.1', String(nodes[0]?.port), busPort[1] ?? '');
  }
  const share = Math.ceil(SLOTS / masters);
  for (const [index, client] of clients.slice(0, masters).entries()) {
    const last = Math.min(SLOTS, (index + 1) * share) - 1;
    await client.call('CLUSTER', 'ADDSLOTSRANGE', String(index * share), String(last));
  }
  const firstId = String(await first?.call('CLUSTER', 'MYID'));
  for (const replica of clients.slice(masters)) {
    await waitFor('the replica to know its master', async () => {
      const known = String(await replica.call('CLUSTER', 'NODES'));
      return known.includes(firstId) && (await replica.call('CLUSTER', 'REPLICATE', firstId)) === 'OK';
    });
  }
  await waitFor(
    'the cluster to be whole',
    async () => {
      const infos = await Promise.all(clients.map((client) => client.call('CLUSTER', 'INFO')));
      const linked = await Promise.all(clients.slice(masters).map((client) => client.info('replication')));
      return (
        linked.every((info) => info.includes('master_link_status:up')) &&
        infos.every(
          (info) => /cluster_state:ok/.test(String(info)) && String(info).includes(`cluster_size:${masters}`),
        )
      );
    },
    { timeoutMs: 20_000, everyMs: 50 },
  );
}

class Joined implements RedisCluster {
  readonly nodes: readonly RedisServer[];
  readonly #clients: readonly Redis[];
  readonly #masters: number;
  readonly stop: () => Promise<void>;

  /** @param masters how many of the nodes, the first ones */
  constructor(
    nodes: readonly RedisServer[],
    clients: readonly Redis[],
    masters: number,
    stop: () => Promise<void>,
  ) {
    this.nodes = nodes;
    this.#clients = clients;
    this.#masters = masters;
    this.stop = stop;
  }

  get urls(): string[] {
    return this.nodes.map(({ url }) => url);
  }

  async ownerOf(slot: number): Promise<RedisServer> {
    const ranges = (await this.#clients[0]?.call('CLUSTER', 'SLOTS')) as [number, number, [string, number]][];
    const range = ranges.find(([from, to]) => from <= slot && slot <= to);
    const node = this.nodes.find(({ port }) => port === range?.[2][1]);
    if (node === undefined) throw new Error(`nobody has slot ${slot}`);
    return node;
  }

  async moveSlot(slot: number, to: RedisServer, between: () => Promise<void>): Promise<void> {
    const from = await this.ownerOf(slot);
    const [source, target] = [from, to].map((node) => this.#clients[this.nodes.indexOf(node)]);
    if (source === undefined || target === undefined) throw new Error('a node of another cluster');
    const [sourceId, targetId] = (await Promise.all(
      [source, target].map((client) => client.call('CLUSTER', 'MYID')),
    )) as [string, string];
    const setSlot = (client: Redis, ...words: string[]) =>
      client.call('CLUSTER', 'SETSLOT', String(slot), ...words);
    await setSlot(target, 'IMPORTING', sourceId);
    await setSlot(source, 'MIGRATING', targetId);
    await between();
    const keys = (await source.call('CLUSTER', 'GETKEYSINSLOT', String(slot), '1000')) as string[];
    for (const key of keys) {
      await source.call('MIGRATE', '127.0.0.1', String(to.port), key, '0', '5000');
      await between();
    }
    // Otherwise the nodes would learn it by gossip, after some time.
    const others = this.#clients
      .slice(0, this.#masters)
      .filter((client) => client !== target && client !== source);
    for (const client of [target, source, ...others]) await setSlot(client, 'NODE', targetId);
    await between();
  }
}
