/** What a primary finds when it starts: the listening sockets of the one before it, and that one's workers. */
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { listenKeys } from '../contract/orphans.ts';
import type { ListenAddress, Settings } from '../contract/settings.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { pathInData } from './data-folder.ts';
import { Predecessor } from './succession.ts';
import { activatedSockets } from './systemd/activation.ts';
import { removeDeadSockets, waitForFreeAddresses } from './workers/free-addresses.ts';
import { ListenSockets } from './workers/listen-sockets.ts';
import { Orphans } from './workers/orphans.ts';
import { ReceivedSockets } from './workers/received-sockets.ts';

/** sun_path has 104 bytes on macOS (108 on Linux), the final zero included; `/PID.control` are the last ones. */
const FOLDER_BYTES = 80;

/** orphanFolder is where the workers of an instance wait for their next primary; see contract/orphans.ts. */
export function orphanFolder(database: Settings['database']): string {
  const folder = resolve(pathInData(database, 'orphans'));
  if (Buffer.byteLength(folder) <= FOLDER_BYTES) return folder;
  return join(tmpdir(), `sluice-${createHash('sha256').update(folder).digest('hex').slice(0, 16)}`);
}

type SocketSettings = Pick<Settings, 'listen' | 'accept' | 'database' | 'admin'>;

/** StartupSockets is made by PrimaryParts before it binds. */
export class StartupSockets {
  readonly received = new ReceivedSockets();
  readonly orphans: Orphans;
  /** The primary that this one replaces, if that one lives. */
  predecessor: Predecessor | null = null;
  readonly #settings: SocketSettings;
  readonly #workerCount: number;
  readonly #logger: Logger;

  constructor(settings: SocketSettings, workerCount: number, logger: Logger) {
    const { listen, database } = settings;
    this.#settings = settings;
    this.#workerCount = workerCount;
    this.#logger = logger;
    this.orphans = new Orphans({ folder: orphanFolder(database), keys: listenKeys(listen), logger });
  }

  /**
   * claim takes the sockets that this process was started with, the place of a primary that it replaces, and the sockets of orphans; then
   * it waits until all other addresses are free. Rejects as waitForFreeAddresses does, and when the old primary does not give way.
   */
  async claim(env: NodeJS.ProcessEnv, isCalledOff: () => boolean): Promise<void> {
    for (const socket of activatedSockets(env)) this.received.add(socket);
    this.predecessor = Predecessor.of(env);
    await this.predecessor?.takeOver();
    const { listen, admin } = this.#settings;
    const addresses = [...listen, { kind: 'tcp', ...admin } as const];
    const isHeld = (address: ListenAddress): Promise<boolean> => this.#isHeld(address);
    await waitForFreeAddresses(addresses, this.#logger, isCalledOff, { isHeld });
  }

  /** bind makes the listening sockets, of what is there and of what is missing. Throws LbError listen_failed. */
  async bind(): Promise<ListenSockets> {
    const { listen, accept } = this.#settings;
    const { received } = this;
    const held = await Promise.all(listen.map((address) => received.count(address)));
    const missing = listen.filter((_, index) => held[index] === 0);
    await removeDeadSockets(missing, this.#logger);
    const sockets = await ListenSockets.open({ listen, accept, workerCount: this.#workerCount, received });
    for (const bound of received.close())
      this.#logger.warn({ bound }, 'a listening socket that was passed on is not in `listen`, and is closed');
    return sockets;
  }

  /** Whether there is a socket for the address, so that it need not be free. */
  async #isHeld(address: ListenAddress): Promise<boolean> {
    const { listen, accept } = this.#settings;
    if (!listen.includes(address as (typeof listen)[number])) return false;
    const wantedCount = accept === 'reuse_port' ? this.#workerCount : 1;
    await this.orphans.look();
    await this.orphans.give(this.received, async () => {
      const counts = await Promise.all(listen.map((each) => this.received.count(each)));
      return counts.some((count, index) => listen[index]?.kind === 'tcp' && count < wantedCount);
    });
    if ((await this.received.count(address)) > 0) return true;
    this.orphans.drainThoseAt(address);
    return false;
  }

  /** relieve lets the orphans go: this primary serves. Never rejects. */
  async relieve(): Promise<void> {
    // On a busy machine some may have been late.
    await this.orphans.look();
    this.orphans.drain();
  }

  close(): void {
    this.received.close();
    this.orphans.close();
  }
}
