/**
 * The workers of the primary before this one, which died: they serve on for a while (worker/orphan.ts). This primary takes their
 * listening sockets over, so that nobody is refused, and lets them go once its own workers serve.
 *
 * An orphan is known from the first look() that met it until its process ends. Those of other instances are left alone.
 */
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { systemCodeOf, toError } from '../../contract/errors.ts';
import {
  areRivals,
  listenKey,
  ORPHAN_CONTROL,
  ORPHAN_DRAIN,
  ORPHAN_SOCKETS,
  type OrphanNote,
} from '../../contract/orphans.ts';
import type { ListenAddress } from '../../contract/settings.ts';
import { assertPrivate } from '../../infra/folders.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { withDeadline } from '../../infra/with-deadline.ts';
import { receiveSockets } from './orphan-sockets.ts';
import type { ReceivedSockets } from './received-sockets.ts';

interface OrphansOptions {
  /** As in WorkerPlace. */
  folder: string;
  /** listenKeys of this instance. */
  keys: readonly string[];
  logger: Logger;
}

interface Orphan {
  pid: number;
  note: OrphanNote;
  control: Socket;
  hasGiven: boolean;
  /** Whether it was told to drain. */
  isLeaving: boolean;
}

/** An orphan is serving, and answers within a turn of its loop. */
const NOTE_MS = 1_000;
const MAX_NOTE_CHARS = 65_536;
/** After its own time to drain, an orphan that still lives is killed. */
const DRAIN_MARGIN_MS = 5_000;

/** Orphans is made by StartupSockets. */
export class Orphans {
  readonly #options: OrphansOptions;
  readonly #known = new Map<number, Orphan>();
  /** Whether drain() has been called: whoever is found later goes at once. */
  #relieved = false;

  constructor(options: OrphansOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#known.size;
  }

  /** look finds the orphans that are there now. Never rejects. */
  async look(): Promise<void> {
    const { folder, logger } = this.#options;
    for (const name of this.#names()) {
      const pid = Number.parseInt(name, 10);
      if (!name.endsWith(ORPHAN_CONTROL) || this.#known.has(pid)) continue;
      try {
        await this.#meet(pid, join(folder, name));
      } catch (thrown) {
        if (systemCodeOf(thrown) === 'ECONNREFUSED') await this.#forget(pid);
        else
          logger.warn({ err: toError(thrown), workerPid: pid }, 'a worker without a primary does not answer');
      }
    }
  }

  /** give adds the sockets of the known orphans to `sockets`, one orphan's after the other's, while they are needed. Never rejects. */
  async give(sockets: ReceivedSockets, areNeeded: () => Promise<boolean>): Promise<void> {
    const { folder, logger } = this.#options;
    for (const orphan of this.#known.values()) {
      if (orphan.hasGiven || !(await areNeeded())) continue;
      orphan.hasGiven = true;
      try {
        const path = join(folder, `${orphan.pid}${ORPHAN_SOCKETS}`);
        const received = await receiveSockets(path, orphan.control, orphan.note.socketCount);
        for (const socket of received) sockets.add(socket);
        if (received.length > 0)
          logger.info({ workerPid: orphan.pid, sockets: received.length }, 'took listening sockets over');
      } catch (thrown) {
        const facts = { err: toError(thrown), workerPid: orphan.pid };
        logger.warn(facts, 'listening sockets cannot be taken over: their worker closes them');
        this.#drain(orphan);
      }
    }
  }

  /** drain lets all orphans go: other workers serve now. */
  drain(): void {
    this.#relieved = true;
    for (const orphan of this.#known.values()) this.#drain(orphan);
  }

  /**
   * drainThoseAt drains orphans that block the port of this address with sockets for another host.
   */
  drainThoseAt(address: ListenAddress): void {
    const key = listenKey(address);
    for (const orphan of this.#known.values()) {
      if (
        orphan.hasGiven &&
        orphan.note.socketCount > 0 &&
        orphan.note.keys.some((each) => key !== null && areRivals(each, key))
      )
        this.#drain(orphan);
    }
  }

  /** close lets go of the connections; orphans that were not told to drain serve on. */
  close(): void {
    for (const { control } of this.#known.values()) control.destroy();
    this.#known.clear();
  }

  /** None where there is no folder: no worker was ever without a primary. What another user has put there counts for nothing. */
  #names(): string[] {
    const { folder, logger } = this.#options;
    try {
      assertPrivate(folder);
      return readdirSync(folder);
    } catch (thrown) {
      if (systemCodeOf(thrown) !== 'ENOENT')
        logger.warn({ err: toError(thrown) }, 'workers without a primary cannot be looked for');
      return [];
    }
  }

  async #meet(pid: number, path: string): Promise<void> {
    const control = connect({ path });
    try {
      const note = await withDeadline(noteOf(control), NOTE_MS, 'the note of a worker');
      if (!note.keys.some((key) => this.#options.keys.some((own) => areRivals(key, own)))) {
        control.destroy();
        return;
      }
      const orphan = { pid, note, control, hasGiven: false, isLeaving: false };
      this.#known.set(pid, orphan);
      control.on('error', () => control.destroy());
      control.once('close', () => this.#known.delete(pid));
      control.resume().unref();
      if (this.#relieved) this.#drain(orphan);
    } catch (thrown) {
      control.destroy();
      throw thrown;
    }
  }

  /** Its connection stays open until the process ends, so the pid is its own as long. */
  #drain(orphan: Orphan): void {
    const { pid, note, control } = orphan;
    if (orphan.isLeaving) return;
    orphan.isLeaving = true;
    control.write(ORPHAN_DRAIN);
    const kill = (): void => {
      const { logger } = this.#options;
      logger.warn({ workerPid: pid }, 'a worker of an earlier primary did not end, killing it');
      try {
        process.kill(pid, 'SIGKILL');
      } catch (thrown) {
        // It has just ended. What a timer throws would end this primary.
        if (systemCodeOf(thrown) !== 'ESRCH')
          logger.error({ err: toError(thrown), workerPid: pid }, 'it cannot be killed');
      }
    };
    const timer = setTimeout(kill, note.drainMs + DRAIN_MARGIN_MS).unref();
    control.once('close', () => clearTimeout(timer));
  }

  /** Its process was killed. */
  async #forget(pid: number): Promise<void> {
    const { folder } = this.#options;
    const paths = [ORPHAN_CONTROL, ORPHAN_SOCKETS].map((suffix) => join(folder, `${pid}${suffix}`));
    await Promise.allSettled(paths.map((path) => unlink(path)));
  }
}

async function noteOf(control: Socket): Promise<OrphanNote> {
  await once(control, 'connect');
  let text = '';
  for await (const chunk of control.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    text += chunk;
    if (text.includes('\n') || text.length > MAX_NOTE_CHARS) break;
  }
  return JSON.parse(text);
}
