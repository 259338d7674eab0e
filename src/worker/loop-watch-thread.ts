/** The thread that loop-watch.ts starts. It imports little before it has something to say: all of it is memory of every worker. */
import { Session } from 'node:inspector';
import { parentPort, workerData } from 'node:worker_threads';
import type { LogOutput } from '../infra/logging/process-log.ts';
import { BEAT_MS, type LoopWatchStart } from './loop-watch.ts';

/** Beats of this thread without one of the loop. The primary kills the worker some seconds later (WORKER_TIMINGS). */
const HANGS_AFTER = 5;
/** The thread that hangs stops at its next call or turn of a loop; one in a system call does not. */
const STACK_MS = 1_000;
const MAX_FRAMES = 20;

const start: LoopWatchStart = workerData;
const { workerIndex, beat } = start;
let { log } = start;
let seen = -1;
let missed = 0;

parentPort?.on('message', (changed: LogOutput) => {
  log = changed;
});

// Beats are counted, not time: a process that was stopped and goes on has missed none.
setInterval(() => {
  const now = Atomics.load(beat, 0);
  missed = now === seen ? missed + 1 : 0;
  seen = now;
  if (missed === HANGS_AFTER) void tell();
}, BEAT_MS);

async function tell(): Promise<void> {
  const stack = await stackOfMain();
  const { ProcessLog } = await import('../infra/logging/process-log.ts');
  const output = new ProcessLog({ fields: { worker: workerIndex } });
  output.useIfPossible(log);
  const facts = { silentMs: HANGS_AFTER * BEAT_MS, stack };
  output.logger.error(facts, stack === null ? 'worker hangs outside of JavaScript' : 'worker hangs');
}

/** Where the main thread is, the innermost frame first; null if it runs no JavaScript. It goes on at once. */
function stackOfMain(): Promise<string[] | null> {
  const { promise, resolve } = Promise.withResolvers<string[] | null>();
  const session = new Session();
  const urls = new Map<string, string>();
  session.connectToMainThread();
  session.on('Debugger.scriptParsed', ({ params }) => urls.set(params.scriptId, params.url));
  session.on('Debugger.paused', ({ params }) => {
    resolve(
      params.callFrames.slice(0, MAX_FRAMES).map(({ functionName, location }) => {
        const { scriptId, lineNumber, columnNumber = 0 } = location;
        return `${functionName || '<anonymous>'} (${urls.get(scriptId) ?? '?'}:${lineNumber + 1}:${columnNumber + 1})`;
      }),
    );
  });
  session.post('Debugger.enable');
  session.post('Debugger.pause');
  const timer = setTimeout(() => resolve(null), STACK_MS);
  return promise.finally(() => {
    clearTimeout(timer);
    // Ends the pause as well.
    session.disconnect();
  });
}
