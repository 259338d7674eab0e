/** The memory limit of the control group (a container, a systemd unit) of this process, versions 1 and 2, and how near it is. */
import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { dirname, join } from 'node:path';

const V2 = { mount: 'sys/fs/cgroup', line: /^0::(\/.*)$/m, limit: 'memory.max', used: 'memory.current' };
const V1 = {
  mount: 'sys/fs/cgroup/memory',
  line: /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(\/.*)$/m,
  limit: 'memory.limit_in_bytes',
  used: 'memory.usage_in_bytes',
};
/** The kernel gives memory of files back before it kills. Version 1 has both forms; its first one leaves out the groups below. */
const FILE_BYTES = /^(?:(?:in)?active_file|total_(?:in)?active_file) (\d+)$/gm;

/** CgroupMemory is the nearest group that has a limit below the memory of the machine. */
export class CgroupMemory {
  readonly #folder: string;
  readonly #usedName: string;
  readonly #limitBytes: number;

  /** find is called once, at the start. @param root of the file system, for tests. @returns null without a limit */
  static find(root = '/'): CgroupMemory | null {
    const groups = textOf(join(root, 'proc/self/cgroup'));
    for (const version of [V2, V1]) {
      const mount = join(root, version.mount);
      // In a container the path may be that of the host, which is not mounted: then the mount is the group.
      for (let path = version.line.exec(groups)?.[1]; path !== undefined; path = above(path)) {
        const folder = join(mount, path);
        const limitBytes = Number(textOf(join(folder, version.limit)));
        if (limitBytes > 0 && limitBytes < totalmem())
          return new CgroupMemory(folder, version.used, limitBytes);
      }
    }
    return null;
  }

  private constructor(folder: string, usedName: string, limitBytes: number) {
    this.#folder = folder;
    this.#usedName = usedName;
    this.#limitBytes = limitBytes;
  }

  /** usedPercent is the part of the limit that is used, but for the memory of files. Rejects where the group cannot be read. */
  async usedPercent(): Promise<number> {
    const [used, stat] = await Promise.all([
      readFile(join(this.#folder, this.#usedName), 'utf8'),
      readFile(join(this.#folder, 'memory.stat'), 'utf8'),
    ]);
    const ofGroupsBelow = stat.includes('\ntotal_inactive_file ');
    let fileBytes = 0;
    for (const [line, bytes] of stat.matchAll(FILE_BYTES))
      if (line.startsWith('total_') === ofGroupsBelow) fileBytes += Number(bytes);
    return ((Number(used) - fileBytes) / this.#limitBytes) * 100;
  }
}

function above(path: string): string | undefined {
  return path === '/' ? undefined : dirname(path);
}

/** '' for a file that is not there: a machine without these groups has no limit. */
function textOf(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}
