/** Reads the files of the probes (loop-probe.ts) of a run and describes each process. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProbeLine } from './loop-probe.ts';

/** A stall while the thread waited longer than this for a CPU is not caused by Sluice. */
const CROWDED_MS = 10;
/** Lines of a primary that loads its modules. It serves nobody yet. */
const BOOT_LINES = 10;

export class Timeline {
  readonly #byPid = new Map<number, ProbeLine[]>();

  constructor(folder: string) {
    for (const name of readdirSync(folder)) {
      const lines = readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1);
      this.#byPid.set(
        Number.parseInt(name, 10),
        lines.map((line) => JSON.parse(line) as ProbeLine),
      );
    }
  }

  /** fullSetAtMs is when the last of `count` workers had all clients after `sinceMs`; null: not all have. */
  fullSetAtMs(count: number, sinceMs: number): number | null {
    const times = [...this.#byPid.values()].flatMap((lines) => fullSetAtMs(lines, sinceMs) ?? []);
    return times.length < count ? null : Math.max(...times);
  }

  /** tell describes each process between two moments, as lines of text. */
  tell(sinceMs: number, startedAtMs: number): string[] {
    return [...this.#byPid].flatMap(([pid, all]) => {
      const [first] = all;
      const lines = served(all).filter(({ atMs }) => atMs >= sinceMs);
      const [from, to] = [lines[0], lines.at(-1)];
      if (first === undefined || from === undefined || to === undefined) return [];
      const heardAtMs = fullSetAtMs(all, sinceMs);
      const calm = lines.filter(({ waitedMs }) => waitedMs < CROWDED_MS);
      const facts = [
        heardAtMs === null ? '' : `full set at ${ms(heardAtMs - startedAtMs)}; `,
        `longest stall ${longestOf(lines)}, ${longestOf(calm)} with a CPU available; `,
        `rss ${mib(from.rssBytes)} → ${mib(to.rssBytes)}, peak ${mib(Math.max(...lines.map(({ rssBytes }) => rssBytes)))} `,
        `(heap ${mib(to.heapBytes)}, outside ${mib(to.externalBytes)})`,
      ];
      return [`  ${first.role} ${pid}: ${facts.join('')}`];
    });
  }
}

/** Leaves out the start of the process, which loads modules and serves nobody. */
function served(lines: ProbeLine[]): ProbeLine[] {
  if (lines[0]?.role === 'primary') return lines.slice(BOOT_LINES);
  const at = lines.findIndex(({ heard }) => heard.includes('settings'));
  return at === -1 ? [] : lines.slice(at + 2);
}

function fullSetAtMs(lines: ProbeLine[], sinceMs: number): number | null {
  return lines.find(({ heard, atMs }) => atMs >= sinceMs && heard.includes('full set'))?.atMs ?? null;
}

function longestOf(lines: ProbeLine[]): string {
  return `${Math.max(0, ...lines.map(({ delayMs }) => delayMs)).toFixed(1)} ms`;
}

export const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;
export const ms = (value: number): string => `${Math.round(value)} ms`;
