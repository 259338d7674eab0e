/** Builds the open-loop load generator (open-loop.c) and runs it in its own process. */
import { runToEnd } from '../../test/support/child.ts';
import { type Compiled, compile } from './compile.ts';

/** Time for opening the connections and for the last answers. */
const EXTRA_MS = 15_000;
/** Failures are not timed, so a larger share of them would falsify the p99. */
const MAX_FAILED_SHARE = 0.001;

export interface OpenLoopWork {
  port: number;
  path: string;
  ratePerSec: number;
  durationSec: number;
  /** The same seed gives the same times of arrival. */
  seed: number;
}

export interface OpenLoopFigures {
  /** Answers that were timed: those of the last four fifths of the run. */
  requests: number;
  /** Failures in the whole run: no answer, a bad answer, or no free connection in time. */
  failed: number;
  /** Latency from the scheduled time to the end of the answer. */
  p50Ms: number;
  p99Ms: number;
  p999Ms: number;
  maxMs: number;
  /** How late the generator itself noticed an arrival. */
  lagP50Ms: number;
  lagP99Ms: number;
  /** CPU time of the generator divided by the duration; 1 is a whole core. */
  cpuShare: number;
  /** The largest number of arrivals that waited for a connection. */
  backlogMax: number;
  /** Connections that the server ended. */
  reopened: number;
}

export class OpenLoop {
  readonly #compiled: Compiled;

  private constructor(compiled: Compiled) {
    this.#compiled = compiled;
  }

  /** build compiles it into a new folder, which close() removes. It throws with the compiler's output. */
  static build(): OpenLoop {
    return new OpenLoop(compile('open-loop.c'));
  }

  /** run loads a port of this machine. It throws when it gets no figures; the caller judges the failures (see checked()). */
  async run({ port, path, ratePerSec, durationSec, seed }: OpenLoopWork): Promise<OpenLoopFigures> {
    const words = [String(port), path, ratePerSec.toFixed(1), String(durationSec), String(seed)];
    const timeoutMs = durationSec * 1_000 + EXTRA_MS;
    const { code, stdout, stderr } = await runToEnd(this.#compiled.program, words, { timeoutMs });
    const line = stdout.find((text) => text.startsWith('{'));
    if (code !== 0 || line === undefined) throw new Error(`open-loop failed (${code}): ${stderr.join('\n')}`);
    return JSON.parse(line) as OpenLoopFigures;
  }

  close(): void {
    this.#compiled.remove();
  }
}

/** checked returns the figures. It throws when nothing was timed or more than one request in a thousand failed. */
export function checked(figures: OpenLoopFigures): OpenLoopFigures {
  const { requests, failed } = figures;
  if (requests === 0) throw new Error('no answer at all');
  if (failed > requests * MAX_FAILED_SHARE)
    throw new Error(`${failed} requests failed beside ${requests} good ones`);
  return figures;
}
