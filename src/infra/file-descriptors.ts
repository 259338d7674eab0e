import { existsSync, readFileSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';

/** Assumed where the system does not tell (anything but Linux): the smallest limit in common use. */
const FALLBACK_LIMIT = 1024;

/**
 * openFileLimit returns how many files this process may have open: the soft limit, which Node raises to the hard one at its start.
 * The default caps of connections (B20), of probes and of connections that wait to be dealt derive from it.
 */
export function openFileLimit(): number {
  const path = '/proc/self/limits';
  const limits = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1];
  return soft === 'unlimited' ? 1_048_576 : Number(soft) || FALLBACK_LIMIT;
}

const LIST = '/proc/self/fd';

/** Linux before 6.2 does not tell the number: the list must be read, which takes the event loop a millisecond for 10,000 descriptors. */
const LISTED_EVERY = 10;

/** OpenFileCounter counts the descriptors of a process for its reports. */
export class OpenFileCounter {
  readonly #list: string;
  #listedCount = 0;
  /** Calls that are still answered by it. */
  #restCalls = 0;

  /** @param list another one for tests */
  constructor(list = LIST) {
    this.#list = list;
  }

  /** count is called once a second. 0: the system does not tell. Where there is only the list, it is read every LISTED_EVERY calls. */
  async count(): Promise<number> {
    if (!existsSync(this.#list)) return 0;
    const { size } = await stat(this.#list);
    if (size > 0) return size;
    if (this.#restCalls === 0) {
      // Less the one that reads the list.
      this.#listedCount = (await readdir(this.#list)).length - 1;
      this.#restCalls = LISTED_EVERY;
    }
    this.#restCalls -= 1;
    return this.#listedCount;
  }
}
