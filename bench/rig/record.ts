/** Describes the machine, the commit and the command lines for a result, without paths of this machine. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export interface Machine {
  cpuModel: string;
  cpuCount: number;
  memoryMiB: number;
  kernel: string;
  node: string;
}

export interface Revision {
  commit: string;
  /** true: files of the product differed from the commit. */
  dirty: boolean;
}

/** machine describes where the bench runs. */
export function machine(): Machine {
  const all = cpus();
  return {
    cpuModel: cpuModel() || (all[0]?.model ?? 'unknown'),
    cpuCount: all.length,
    memoryMiB: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    node: process.versions.node,
  };
}

/** Family, model and stepping, because clouds give different CPUs the same name. */
function cpuModel(): string {
  try {
    const text = readFileSync('/proc/cpuinfo', 'utf8');
    const field = (name: string) => new RegExp(`^${name}\\s*:\\s*(.*)$`, 'm').exec(text)?.[1] ?? '';
    const name = field('model name');
    return name === ''
      ? ''
      : `${name} (family ${field('cpu family')}, model ${field('model')}, stepping ${field('stepping')})`;
  } catch {
    return ''; // no procfs
  }
}

/** revision is the commit of the sources that are measured. */
export function revision(): Revision {
  const git = (...args: string[]) =>
    execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return {
      commit: git('rev-parse', 'HEAD'),
      dirty: git('status', '--porcelain', '--', 'src', 'lua', 'package-lock.json') !== '',
    };
  } catch {
    return { commit: 'unknown', dirty: false };
  }
}

/** loadAverage of the last minute shows how busy other programs kept the machine. */
export function loadAverage(): number {
  return Math.round((loadavg()[0] ?? 0) * 100) / 100;
}

/** commandLine writes a command with `.` for the checkout, `$DIR` for the working folder and names for paths of programs. */
export function commandLine(
  command: string,
  args: string[],
  { ROOT: root, folder }: { ROOT: string; folder: string },
): string {
  return [basename(command), ...args]
    .map((word) => word.replaceAll(folder, '$DIR').replaceAll(root, ''))
    .join(' ');
}
