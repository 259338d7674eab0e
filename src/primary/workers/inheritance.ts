/** What a primary finds when it starts: the listening sockets of the one before it, and that one's workers. */
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { listenKeys } from '../../contract/orphans.ts';
import type { ListenAddress, Settings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { dataPath } from '../data-folder.ts';
import { GivenSockets } from './given-sockets.ts';
import { Orphans } from './orphans.ts';

/** sun_path has 104 bytes on macOS (108 on Linux), the final zero included; `/PID.control` are the last ones. */
const FOLDER_BYTES = 80;

/** orphanFolder is where the workers of an instance wait for their next primary; see contract/orphans.ts. */
export function orphanFolder(database: Settings['database']): string {
  const folder = resolve(dataPath(database, 'orphans'));
  if (Buffer.byteLength(folder) <= FOLDER_BYTES) return folder;
  return join(tmpdir(), `sluice-${createHash('sha256').update(folder).digest('hex').slice(0, 16)}`);
}

/** Inheritance is made by the primary's main before it binds. */
export class Inheritance {
  readonly sockets = new GivenSockets();
  readonly orphans: Orphans;
  /** Sockets per TCP address. */
  readonly #wantedCount: number;
  readonly #listen: readonly ListenAddress[];

  constructor(
    settings: Pick<Settings, 'listen' | 'accept' | 'database'>,
    workerCount: number,
    logger: Logger,
  ) {
    const { listen, accept, database } = settings;
    this.#listen = listen;
    this.#wantedCount = accept === 'reuse_port' ? workerCount : 1;
    this.orphans = new Orphans({ folder: orphanFolder(database), keys: listenKeys(listen), logger });
  }

  /** isHeld: whether there is a socket for the address, so that it need not be free; for waitForFreeAddresses. */
  readonly isHeld = async (address: ListenAddress): Promise<boolean> => {
    if (!this.#listen.includes(address)) return false;
    await this.orphans.look();
    await this.orphans.give(this.sockets, async () => {
      const counts = await Promise.all(this.#listen.map((each) => this.sockets.count(each)));
      return counts.some((count, index) => this.#listen[index]?.kind === 'tcp' && count < this.#wantedCount);
    });
    if ((await this.sockets.count(address)) > 0) return true;
    this.orphans.drainThoseAt(address);
    return false;
  };

  /** relieve lets the orphans go: this primary serves. Never rejects. */
  async relieve(): Promise<void> {
    // On a busy machine some may have been late.
    await this.orphans.look();
    this.orphans.drain();
  }

  close(): void {
    this.sockets.close();
    this.orphans.close();
  }
}
