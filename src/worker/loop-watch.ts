/**
 * Lets a thread watch the event loop of this worker, so that one that hangs says where: the primary sees its silence and kills it, but
 * not the reason. The thread takes 9 MiB, so it runs only where a worker of this instance has hung before, or where asked for.
 */
import { Worker } from 'node:worker_threads';
import type { Logger } from '../infra/logging/logger.ts';
import type { LogOutput } from '../infra/logging/process-log.ts';
import { entryFile } from '../infra/product-files.ts';

/** What the thread is given. */
export interface LoopWatchStart {
  workerIndex: number;
  log: LogOutput;
  /** One number, which the loop raises every BEAT_MS. */
  beat: Int32Array;
}

export const BEAT_MS = 1_000;

const THREAD_ENTRY = entryFile('worker/loop-watch-thread');
const THREAD_LIMITS = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 32, stackSizeMb: 1 };

/** LoopWatch starts the thread; main.ts makes one at most, when the primary says so. */
export class LoopWatch {
  readonly #thread: Worker;

  constructor(workerIndex: number, log: LogOutput, logger: Logger) {
    const beat = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    const workerData: LoopWatchStart = { workerIndex, log, beat };
    this.#thread = new Worker(THREAD_ENTRY, { workerData, resourceLimits: THREAD_LIMITS });
    this.#thread.unref();
    this.#thread.on('error', (error) =>
      logger.warn({ err: error }, 'nothing watches the event loop any more'),
    );
    setInterval(() => Atomics.add(beat, 0, 1), BEAT_MS).unref();
  }

  /** useLog tells the thread of other settings of the log. */
  useLog(log: LogOutput): void {
    this.#thread.postMessage(log);
  }
}
