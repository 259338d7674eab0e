/**
 * A lock on a folder for as long as a process lives, without a native module: every contender puts a file of its own
 * into the folder, then looks for those of others. Because each writes before it looks, two can never both find
 * themselves alone; at worst both step back and try again. A file whose process is gone is removed by whoever finds it.
 *
 * "Gone" is exact on one machine: no such pid, or the pid started at another time. From another machine or container
 * (a shared volume) a pid means nothing, so holders touch their file every 2 s and one untouched for 8 s is gone.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';
import { LbError, systemCodeOf, toError } from '../../contract/errors.ts';

const PREFIX = 'lock-';
const TOUCH_MS = 2_000;
const SILENT_MS = 8_000;
const WATCH_EVERY_MS = 250;
/** Two that started in the same moment step back this often before one gives up. */
const ATTEMPTS = 5;
const STEP_BACK_MS = 100;

const holderSchema = z.object({
  pid: z.number(),
  /** As the system tells it; null where it does not. */
  startedAt: z.string().nullable(),
  machine: z.string(),
  host: z.string(),
  purpose: z.string(),
  since: z.string(),
});
type Holder = z.infer<typeof holderSchema>;

export class FolderLock {
  readonly #path: string;
  readonly #toucher: NodeJS.Timeout;

  private constructor(path: string) {
    this.#path = path;
    this.#toucher = setInterval(() => touch(path), TOUCH_MS);
    this.#toucher.unref();
  }

  /**
   * acquire locks a folder, making it (0700) where it is missing. `purpose` tells others who holds it, e.g.
   * "sluice serve". Throws LbError folder_locked naming the holder; takes up to 8 s where a holder of another machine has to be
   * watched.
   */
  static async acquire(folder: string, purpose: string): Promise<FolderLock> {
    makeFolder(folder);
    for (let attempt = 1; ; attempt++) {
      const path = claim(folder, purpose);
      let other: Holder | null;
      try {
        other = await findLiveHolder(folder, path);
      } catch (thrown) {
        rmSync(path, { force: true });
        throw thrown;
      }
      if (other === null) return new FolderLock(path);
      rmSync(path, { force: true });
      if (attempt === ATTEMPTS) throw lockedError(folder, other);
      await sleep(STEP_BACK_MS * (0.5 + Math.random()));
    }
  }

  /** release gives the folder back; safe to call twice. */
  release(): void {
    clearInterval(this.#toucher);
    rmSync(this.#path, { force: true });
  }
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (thrown) {
    throw unusable('make', folder, thrown);
  }
}

function unusable(action: 'make' | 'lock', folder: string, thrown: unknown): LbError {
  const { message } = toError(thrown);
  return new LbError(
    'folder_locked',
    `cannot ${action} the folder ${folder} (${message}): set database.embeddedPath to one that this user can write, or database.url`,
    { cause: thrown },
  );
}

/** The file appears under its name with all its content, by rename. */
function claim(folder: string, purpose: string): string {
  const holder: Holder = {
    pid: process.pid,
    startedAt: startOf(process.pid),
    machine: machineId(),
    host: hostname(),
    purpose,
    since: new Date().toISOString(),
  };
  const name = `${process.pid}-${randomBytes(6).toString('hex')}`;
  const path = join(folder, `${PREFIX}${name}.json`);
  const draft = join(folder, `.${name}.tmp`);
  try {
    writeFileSync(draft, `${JSON.stringify(holder)}\n`, { mode: 0o600, flag: 'wx' });
    renameSync(draft, path);
  } catch (thrown) {
    rmSync(draft, { force: true });
    throw unusable('lock', folder, thrown);
  }
  return path;
}

async function findLiveHolder(folder: string, own: string): Promise<Holder | null> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (!name.startsWith(PREFIX) || path === own) continue;
    const holder = readHolder(path);
    if (holder === null) continue;
    if (await isAlive(holder, path)) return holder;
    // Its name is unique to the dead process, so nobody else's claim can be hit.
    rmSync(path, { force: true });
  }
  return null;
}

/** null: released between the listing and the reading. */
function readHolder(path: string): Holder | null {
  try {
    return holderSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT') return null;
    throw new LbError(
      'folder_locked',
      `${path} is not a lock file of Sluice; remove it if no process uses the folder`,
      {
        cause: thrown,
      },
    );
  }
}

async function isAlive(holder: Holder, path: string): Promise<boolean> {
  if (holder.machine === machineId()) {
    if (!isRunning(holder.pid)) return false;
    const startedAt = startOf(holder.pid);
    if (startedAt !== null && holder.startedAt !== null) return startedAt === holder.startedAt;
  }
  return isTouched(path);
}

/** Compares the file with itself, never with our clock, which may differ from the holder's. */
async function isTouched(path: string): Promise<boolean> {
  const firstMs = mtimeMs(path);
  for (let waitedMs = 0; waitedMs < SILENT_MS; waitedMs += WATCH_EVERY_MS) {
    await sleep(WATCH_EVERY_MS);
    const nowMs = mtimeMs(path);
    if (nowMs === null) return false;
    if (nowMs !== firstMs) return true;
  }
  return false;
}

function mtimeMs(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? null;
}

function touch(path: string): void {
  const now = new Date();
  try {
    utimesSync(path, now, now);
  } catch (thrown) {
    // Somebody removed the folder under us. The database notices by itself; a timer is no place to end a process.
    if (systemCodeOf(thrown) !== 'ENOENT') process.emitWarning(toError(thrown));
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (thrown) {
    return systemCodeOf(thrown) === 'EPERM';
  }
  // A zombie has closed its files; it only waits for a parent that may never ask.
  return statFields(pid)?.[0] !== 'Z';
}

/** Names this boot and this pid namespace, within which a pid and its start time name one process. */
function machineId(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch (thrown) {
    if (systemCodeOf(thrown) === null) throw thrown;
    return hostname();
  }
}

/** proc(5): starttime, field 22, in clock ticks since boot; elsewhere what `ps` says. null: unknown. */
function startOf(pid: number): string | null {
  if (process.platform === 'linux') return statFields(pid)?.[19] ?? null;
  const options = { encoding: 'utf8', timeout: 2_000 } as const;
  const listed = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], options);
  return listed.status === 0 ? listed.stdout.trim() || null : null;
}

/** Fields of /proc/<pid>/stat from the state (field 3) on; null: no such process, or no such file system. */
function statFields(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the command in brackets and may hold anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch (thrown) {
    if (systemCodeOf(thrown) === null) throw thrown;
    return null;
  }
}

function lockedError(folder: string, holder: Holder): LbError {
  const where = holder.machine === machineId() ? '' : ` on ${holder.host}`;
  return new LbError(
    'folder_locked',
    `the folder ${folder} is in use by process ${holder.pid}${where} (${holder.purpose}, since ${holder.since}): ` +
      'stop it first, or give each its own database.embeddedPath',
  );
}
