/**
 * Child processes of tests. Each leads its own process group, and its output is kept as lines. stop() checks that the whole
 * group has ended. A test process that ends early kills the groups first.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { waitFor, within } from './wait.ts';

export interface ExitStatus {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface SpawnOptions {
  cwd?: string;
  /** Added to the test's own environment without NODE_TEST_CONTEXT; undefined removes a variable. */
  env?: Record<string, string | undefined>;
  /** Descriptors of this process that it inherits, from 3 on. */
  fds?: number[];
  uid?: number;
  gid?: number;
  /** The signal that ends it when it does not stop; default: SIGKILL. */
  killSignal?: NodeJS.Signals;
}

const live = new Map<Child, NodeJS.Signals>();
let hooked = false;

/** Child is a started process and its process group. */
export class Child {
  readonly pid: number;
  /** Complete lines so far, without line ends. */
  readonly stdout: string[] = [];
  readonly stderr: string[] = [];
  /** Resolves once it has exited and its pipes have ended. */
  readonly exited: Promise<ExitStatus>;
  /** null while it runs. */
  exitStatus: ExitStatus | null = null;
  readonly #process: ChildProcess;
  readonly #name: string;

  constructor(command: string, args: string[], options: SpawnOptions) {
    this.#name = [command.split('/').at(-1), ...args.slice(0, 3)].join(' ');
    this.#process = spawn(command, args, {
      cwd: options.cwd,
      // `node --test` sets NODE_TEST_CONTEXT, which would make a node program report as a test file.
      env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...options.env },
      uid: options.uid,
      gid: options.gid,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', ...(options.fds ?? [])],
    });
    collectLines(this.#process.stdout, this.stdout);
    collectLines(this.#process.stderr, this.stderr);
    this.exited = new Promise((resolve, reject) => {
      this.#process.on('error', (error) => {
        live.delete(this);
        reject(new Error(`cannot run ${this.#name}`, { cause: error }));
      });
      this.#process.on('exit', (code, signal) => {
        this.exitStatus = { code, signal };
      });
      this.#process.on('close', (code, signal) => {
        this.exitStatus = { code, signal };
        resolve(this.exitStatus);
      });
    });
    // Callers that await `exited` still get the error. Without this line an unobserved rejection would end the test process.
    this.exited.catch(() => undefined);
    this.pid = this.#process.pid ?? 0;
    if (this.pid > 0) live.set(this, options.killSignal ?? 'SIGKILL');
  }

  /** waitForLine returns the first line, old or new, that matches. It rejects at once when the process has exited. */
  async waitForLine(
    match: string | RegExp | ((line: string) => boolean),
    { from = 'stdout', timeoutMs = 60_000 }: { from?: 'stdout' | 'stderr'; timeoutMs?: number } = {},
  ): Promise<string> {
    const fits =
      typeof match === 'function'
        ? match
        : (line: string) => (typeof match === 'string' ? line.includes(match) : match.test(line));
    if (this.pid === 0) await this.exited;
    const lines = this[from];
    const found = await waitFor(
      `${this.#name}: a line like ${String(match)} on ${from}\n${this.describe()}`,
      () => {
        const line = lines.find(fits);
        if (line !== undefined) return { line };
        return this.exitStatus === null ? null : { line: null };
      },
      { timeoutMs },
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.describe()}`);
    });
    if (found.line === null) {
      await within(this.exited, 5_000, `${this.#name}'s output to end`);
      const late = lines.find(fits);
      if (late !== undefined) return late;
      throw new Error(`${this.#name} exited before a line like ${String(match)}\n${this.describe()}`);
    }
    return found.line;
  }

  /** signal sends a signal to the first process only. */
  signal(signal: NodeJS.Signals): void {
    if (this.exitStatus === null) process.kill(this.pid, signal);
  }

  /** stall pauses or resumes reading its standard output. Meanwhile the output waits in the pipe or in the process. */
  stall(stalled: boolean): void {
    if (stalled) this.#process.stdout?.pause();
    else this.#process.stdout?.resume();
  }

  /** groupPids lists the processes of the group that still run (zombies do not count). */
  groupPids(): number[] {
    return processes()
      .filter((entry) => entry.groupId === this.pid && entry.state !== 'Z')
      .map((entry) => entry.pid);
  }

  /**
   * stop sends `signal`, waits until the whole group has exited, and returns how the process ended. At the deadline it kills
   * what is left and rejects. It may be called again, also after the exit.
   */
  async stop(signal: NodeJS.Signals = 'SIGTERM', timeoutMs = 20_000): Promise<ExitStatus> {
    if (this.pid === 0) return { code: null, signal: null };
    this.signal(signal);
    try {
      await waitFor(
        `${this.#name} (pid ${this.pid}) to exit after ${signal} and leave no process behind`,
        () => this.exitStatus !== null && this.groupPids().length === 0,
        { timeoutMs },
      );
    } catch (error) {
      const left = this.groupPids();
      await this.kill();
      throw new Error(`${(error as Error).message}\nstill running: ${left.join(', ')}\n${this.describe()}`);
    }
    live.delete(this);
    return this.exited;
  }

  /** kill kills the whole group and waits until it has ended. For clean-up: it does not reject when the group has ended before. */
  async kill(): Promise<ExitStatus> {
    if (this.pid === 0) return { code: null, signal: null };
    killGroup(this.pid, 'SIGCONT');
    killGroup(this.pid, 'SIGKILL');
    await waitFor(`pid ${this.pid} and its group to be gone`, () => this.groupPids().length === 0);
    live.delete(this);
    return this.exited;
  }

  /** describe returns the last lines of output, for error messages. */
  describe(): string {
    const tail = (lines: string[]) => lines.slice(-15).join('\n  ');
    return `  exit: ${JSON.stringify(this.exitStatus)}\n  stdout: ${tail(this.stdout)}\n  stderr: ${tail(this.stderr)}`;
  }
}

/** spawnChild starts a program; `command` is a path or a name on PATH. Stop the child in `t.after`. */
export function spawnChild(command: string, args: string[], options: SpawnOptions = {}): Child {
  hookExit();
  return new Child(command, args, options);
}

/** runToEnd starts a program, waits for its exit, and returns the status and the lines. It rejects at the deadline. */
export async function runToEnd(
  command: string,
  args: string[],
  { timeoutMs = 110_000, ...options }: SpawnOptions & { timeoutMs?: number } = {},
): Promise<ExitStatus & { stdout: string[]; stderr: string[] }> {
  const child = spawnChild(command, args, options);
  try {
    const status = await within(child.exited, timeoutMs, `${command} ${args.join(' ')} to end`);
    return { ...status, stdout: child.stdout, stderr: child.stderr };
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${child.describe()}`, { cause: error });
  } finally {
    await child.kill();
  }
}

export interface ProcessEntry {
  pid: number;
  parentPid: number;
  groupId: number;
  /** One letter of proc(5): R, S, T (stopped), Z (zombie), … */
  state: string;
}

/** processes reads every process of this machine from /proc. */
export function processes(): ProcessEntry[] {
  const entries: ProcessEntry[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const entry = readProcess(Number(name));
    if (entry !== null) entries.push(entry);
  }
  return entries;
}

/** isRunning tells whether a process with this pid has not exited. */
export function isRunning(pid: number): boolean {
  const entry = readProcess(pid);
  return entry !== null && entry.state !== 'Z';
}

function readProcess(pid: number): ProcessEntry | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null; // gone between the listing and the reading
  }
  // The second field is the command in brackets, which may contain spaces and brackets.
  const [state = '', parentPid = '0', groupId = '0'] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { pid, state, parentPid: Number(parentPid), groupId: Number(groupId) };
}

function killGroup(groupId: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-groupId, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function collectLines(stream: NodeJS.ReadableStream | null, lines: string[]): void {
  let rest = '';
  stream?.setEncoding('utf8');
  stream?.on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) lines.push(part);
  });
  stream?.on('end', () => {
    if (rest !== '') lines.push(rest);
  });
}

function hookExit(): void {
  if (hooked) return;
  hooked = true;
  const killAll = () => {
    for (const [child, signal] of live) {
      killGroup(child.pid, 'SIGCONT');
      killGroup(child.pid, signal);
    }
  };
  process.on('exit', killAll);
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.once(signal, () => {
      killAll();
      process.kill(process.pid, signal);
    });
  }
}
