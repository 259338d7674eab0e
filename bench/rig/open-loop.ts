/** The open-loop load generator of open-loop.c: built on this machine, and run as a process of its own. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../../test/support/child.ts';
import { makeTempFolder, removeTempFolder } from '../../test/support/temp-folder.ts';
import { findProgram } from './tools.ts';

const SOURCE = fileURLToPath(new URL('open-loop.c', import.meta.url));
const BUILD_MS = 60_000;
/** To open connections before, and to wait for the last answers. */
const EXTRA_MS = 15_000;
/** A p99 that leaves out more failures than this is no p99. */
const MAX_FAILED_SHARE = 0.001;

export interface OpenLoopWork {
  port: number;
  path: string;
  ratePerSec: number;
  durationSec: number;
  /** Of the arrivals' times: the same one gives the same arrivals. */
  seed: number;
}

export interface OpenLoopFigures {
  /** Answers that were timed: those of the last four fifths. */
  requests: number;
  /** Of the whole run: no answer, a bad one, or no connection for it in time. */
  failed: number;
  /** From the scheduled time to the end of the answer. */
  p50Ms: number;
  p99Ms: number;
  p999Ms: number;
  maxMs: number;
  /** How late the generator itself turned to an arrival. */
  lagP50Ms: number;
  lagP99Ms: number;
  /** CPU time of the generator over the duration; 1 is a whole core. */
  cpuShare: number;
  /** Arrivals that waited for a connection, at most. */
  backlogMax: number;
  /** Connections that the server ended. */
  reopened: number;
}

export class OpenLoop {
  readonly #folder: string;
  readonly #program: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.#program = join(folder, 'open-loop');
  }

  /** missing says in a few words what the machine lacks; '' when it can be built. */
  static missing(): string {
    return findProgram('cc') === null ? 'cc is not installed' : '';
  }

  /** build compiles it into a folder of its own, which close() removes; throws with the compiler's words. */
  static build(): OpenLoop {
    const built = new OpenLoop(makeTempFolder('sluice-bench-'));
    const words = ['-O2', '-std=gnu11', '-Wall', '-Wextra', '-o', built.#program, SOURCE, '-lm'];
    try {
      execFileSync(findProgram('cc') ?? 'cc', words, {
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: BUILD_MS,
      });
    } catch (error) {
      built.close();
      throw error;
    }
    return built;
  }

  /** run loads a port of this machine; throws when it gets no figures. Whoever calls judges the failures: see checked(). */
  async run({ port, path, ratePerSec, durationSec, seed }: OpenLoopWork): Promise<OpenLoopFigures> {
    const words = [String(port), path, ratePerSec.toFixed(1), String(durationSec), String(seed)];
    const timeoutMs = durationSec * 1_000 + EXTRA_MS;
    const { code, stdout, stderr } = await runToEnd(this.#program, words, { timeoutMs });
    const line = stdout.find((text) => text.startsWith('{'));
    if (code !== 0 || line === undefined) throw new Error(`open-loop failed (${code}): ${stderr.join('\n')}`);
    return JSON.parse(line) as OpenLoopFigures;
  }

  close(): void {
    removeTempFolder(this.#folder);
  }
}

/** checked gives the figures back; throws where nothing was timed or more than one in a thousand failed. */
export function checked(figures: OpenLoopFigures): OpenLoopFigures {
  const { requests, failed } = figures;
  if (requests === 0) throw new Error('no answer at all');
  if (failed > requests * MAX_FAILED_SHARE)
    throw new Error(`${failed} requests failed beside ${requests} good ones`);
  return figures;
}
