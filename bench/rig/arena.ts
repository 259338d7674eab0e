/** Starts and stops what a run needs: the backends, a Redis and the servers of the peers. */
import { makeTempFolder, removeTempFolder } from '../../test/support/temp-folder.ts';
import type { PeerOptions } from '../peers/peer.ts';
import { peerNamed } from '../peers/registry.ts';
import { type Backends, startBackends } from './backend.ts';
import type { Work } from './load.ts';
import type { ServerProcess } from './process.ts';
import { MeteredRedis } from './redis-meter.ts';
import { runLoad } from './run-load.ts';

export interface Pace {
  /** How often every contestant is measured. */
  rounds: number;
  /** Length of one pass of one contestant, in whole seconds. */
  durationSec: number;
  /** Longest warm-up before the first pass, in seconds; 0: none. */
  warmUpSec: number;
  /** Number of clients in scenarios with many clients. */
  crowd: number;
  /** true: one server per peer (with log, limit and two workers) serves every scenario. Only tests of the bench set it. */
  sharing: boolean;
}

export const FULL_PACE: Pace = { rounds: 5, durationSec: 1, warmUpSec: 6, crowd: 10_000, sharing: false };

const WARM_REQUESTS = 50_000;

export interface Contestant {
  /** Its name in tables; default the peer's name. */
  label?: string;
  peer: string;
  options?: Partial<PeerOptions>;
}

interface Started {
  server: ServerProcess;
  folder: string;
}

export class Arena {
  readonly pace: Pace;
  readonly backends: Backends;
  /** The command lines of everything started so far, by label. */
  readonly commands: Record<string, string> = {};
  readonly #started = new Map<string, Started>();
  readonly #only: ReadonlySet<string> | null;
  /** For each server the kinds of work that it was warmed up for. */
  readonly #warm = new WeakMap<ServerProcess, Set<string>>();
  #redis: MeteredRedis | null = null;

  static async open(pace: Pace, only: readonly string[] | null = null): Promise<Arena> {
    return new Arena(pace, await startBackends(), only);
  }

  private constructor(pace: Pace, backends: Backends, only: readonly string[] | null) {
    this.pace = pace;
    this.backends = backends;
    this.#only = only === null ? null : new Set(only);
  }

  /** takesPart tells whether a run includes this peer, installed or not. */
  takesPart(contestant: Contestant): boolean {
    return this.#only === null || this.#only.has(contestant.peer);
  }

  async redis(): Promise<MeteredRedis> {
    this.#redis ??= await MeteredRedis.start();
    return this.#redis;
  }

  /**
   * warmUp loads a server before it is measured, once per kind of work, until V8 has compiled the hot code. That takes a
   * number of requests rather than a time: a request costs 50 % more CPU time until about 50,000 were served.
   */
  async warmUp(server: ServerProcess, work: Work): Promise<void> {
    const { warmUpSec } = this.pace;
    const known = this.#warm.get(server) ?? new Set();
    this.#warm.set(server, known);
    const kind = JSON.stringify(work);
    const isNew = !known.has(kind);
    known.add(kind);
    let requests = 0;
    for (let sec = 0; sec < warmUpSec && (sec === 0 || (isNew && requests < WARM_REQUESTS)); sec += 1) {
      requests += (await runLoad(server.port, work, 1)).requests;
    }
  }

  /** serverOf starts a contestant, or returns the one that already runs with the same options. */
  async serverOf({ label, peer, options: wanted = {} }: Contestant): Promise<ServerProcess> {
    const options = this.pace.sharing ? await this.#everything(peer, wanted) : wanted;
    const key = `${peer} ${JSON.stringify(options)}`;
    const running = this.#started.get(key);
    if (running !== undefined) return running.server;
    const folder = makeTempFolder('sluice-bench-');
    const server = await peerNamed(peer).start(folder, {
      backendPorts: this.backends.ports,
      workers: 1,
      accessLog: false,
      redisPort: null,
      tls: false,
      grpc: false,
      ...options,
    });
    this.#started.set(key, { server, folder });
    this.commands[label ?? peer] = server.command;
    return server;
  }

  async #everything(peer: string, wanted: Partial<PeerOptions>): Promise<Partial<PeerOptions>> {
    const { can } = peerNamed(peer);
    return {
      ...wanted,
      workers: can.workers ? 2 : 1,
      accessLog: can.accessLog,
      redisPort: can.limiter ? (await this.redis()).port : null,
    };
  }

  /** release stops a contestant that no later scenario needs. */
  async release({ peer, options = {} }: Contestant): Promise<void> {
    const key = `${peer} ${JSON.stringify(options)}`;
    const running = this.#started.get(key);
    this.#started.delete(key);
    if (running !== undefined) await stop(running);
  }

  async close(): Promise<void> {
    for (const running of this.#started.values()) await stop(running);
    this.#started.clear();
    await this.#redis?.stop();
    await this.backends.stop();
  }
}

async function stop({ server, folder }: Started): Promise<void> {
  await server.stop();
  removeTempFolder(folder);
}
