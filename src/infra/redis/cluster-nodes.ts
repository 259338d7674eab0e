/** Which node of a Redis Cluster has which slot, by ioredis' map, and whether that node is connected. */
import type { Cluster, Redis } from 'ioredis';
import { ReplyWatch } from './reply-watch.ts';

interface Node {
  readonly client: Redis;
  readonly replies: ReplyWatch;
}

/** ClusterNodes belongs to a RedisConnection to a Cluster. Nodes are named `host:port`, as the Cluster names them. */
export class ClusterNodes {
  readonly #cluster: Cluster;
  readonly #nodes = new Map<string, Node>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    cluster.on('+node', (client: Redis) => {
      const replies = new ReplyWatch(() => client.stream?.destroy());
      this.#nodes.set(nameOf(client), { client, replies });
    });
    cluster.on('-node', (client: Redis) => {
      if (this.#nodes.get(nameOf(client))?.client === client) this.#nodes.delete(nameOf(client));
    });
  }

  /** serverOf names the master of a slot; '' if none is known. */
  serverOf(slot: number): string {
    return this.#cluster.slots[slot]?.[0] ?? '';
  }

  /** isReady says whether a command to the node would be sent at once. */
  isReady(server: string): boolean {
    return this.#nodes.get(server)?.client.status === 'ready';
  }

  /** servers returns the masters that have slots. Takes 15 µs. */
  servers(): Iterable<string> {
    const servers = new Set<string>();
    let last: readonly string[] | undefined;
    for (const nodes of this.#cluster.slots) {
      // Slots of one range share their array.
      if (nodes === last) continue;
      last = nodes;
      if (nodes?.[0] !== undefined) servers.add(nodes[0]);
    }
    return servers;
  }

  /** joinWrites makes all commands to a node in this turn of the event loop leave in one write. */
  joinWrites(server: string): void {
    const stream = this.#nodes.get(server)?.client.stream;
    if (stream === undefined || stream === null || stream.writableCorked > 0) return;
    stream.cork();
    process.nextTick(() => stream.uncork());
  }

  /** watchReply replaces the connection to the slot's node if replies no longer arrive. */
  watchReply(reply: Promise<unknown>, slot: number): void {
    this.#nodes.get(this.serverOf(slot))?.replies.watch(reply);
  }
}

function nameOf({ options }: Redis): string {
  return `${options.host}:${options.port}`;
}
