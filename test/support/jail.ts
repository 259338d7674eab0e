/** A root file system of its own for a test, in a mount namespace that ends with it. Needs root on Linux. */
import type { TestContext } from 'node:test';
import { type Child, spawnChild } from './child.ts';
import { notTried } from './tools.ts';

/** canJail tells whether this process may make one; where not, the run says that the test was not tried. */
export function canJail(t: Pick<TestContext, 'diagnostic'>): boolean {
  return (process.platform === 'linux' && process.getuid?.() === 0) || notTried(t, 'it needs Linux and root');
}

/** The process that holds it ends by itself after this time, should the test be killed. */
const HOLD_SEC = 600;
const TOOLS = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export class Jail {
  readonly #holder: Child;

  private constructor(holder: Child) {
    this.#holder = holder;
  }

  /**
   * make runs a script of sh that mounts, with `$1`, `$2` … Its last line must be `exec chroot FOLDER PROGRAM …`, of a program that prints
   * `inside` and stays: its root and working folder are those of the jail. @returns the jail, which ends with the test
   */
  static async make(t: Pick<TestContext, 'after'>, script: string, args: string[]): Promise<Jail> {
    const line = ['--mount', '--propagation=private', 'sh', '-euc', script, 'sh', ...args];
    const holder = spawnChild('unshare', line, { env: { PATH: TOOLS, HOLD_SEC: String(HOLD_SEC) } });
    t.after(() => holder.kill());
    await holder.waitForLine('inside');
    return new Jail(holder);
  }

  /** command is what runs a program inside, as this user (a number, with its group) and without a way to more rights. */
  command(words: string[], user?: number): [string, string[]] {
    const as = user === undefined ? [] : [`--setuid=${user}`, `--setgid=${user}`];
    const enter = [
      '/usr/bin/nsenter',
      `--target=${this.#holder.pid}`,
      '--mount',
      '--root',
      '--wd',
      ...as,
      '--',
    ];
    const locked = user === undefined ? [] : ['--no-new-privs'];
    return ['/usr/bin/setpriv', [...locked, ...enter, ...words]];
  }
}

/** A copy of this machine that can be changed and leaves no trace: `$1` is an empty folder. */
export const COPY_OF_MACHINE = `
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --rbind /proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
exec chroot "$1/root" sh -c 'echo inside; exec sleep "$HOLD_SEC"'
`;

/**
 * The file system of an image as compose runs it: read-only but for /tmp and /app/data. `$1` is its root, `$2` the volume; each further
 * pair is a file and where it is put over another one.
 */
export const CONTAINER = `
root=$1
mkdir -p "$root/proc" "$root/dev"
mount --bind "$root" "$root"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$2" "$root/app/data"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
shift 2
while [ $# -gt 0 ]; do mount --bind "$1" "$root/$2"; shift 2; done
mount -o remount,bind,ro "$root"
exec chroot "$root" /usr/local/bin/node -e '
  process.chdir("/app"); console.log("inside"); setTimeout(() => undefined, process.env.HOLD_SEC * 1000)'
`;
