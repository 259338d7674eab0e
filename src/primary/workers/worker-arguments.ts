/** What node is told when a worker is started; what can be told later is in the worker's heap.ts. */

/**
 * MiB of each half of the young generation, 16 and more by itself. Nothing of a request outlives it, so it may be small: a
 * worker needs some 30 MiB less, at the same CPU time per request (24 rounds, A B: 39.3 and 41.0 µs).
 */
const SEMI_SPACE_MIB = 8;
const SEMI_SPACE_FLAG = '--max-semi-space-size';
/** Without it SIGUSR1 opens node's debugger, by which any user of the machine can run code in a worker. */
const NO_DEBUGGER_FLAG = '--disable-sigusr1';

/**
 * workerArguments are node's own arguments for workers: those of this process, no debugger by a signal, and a young generation of
 * a bounded size unless somebody has chosen one.
 *
 * @param own default those of this process
 * @param nodeOptions the environment's NODE_OPTIONS, which workers inherit
 */
export function workerArguments(
  own: readonly string[] = process.execArgv,
  nodeOptions: string = process.env.NODE_OPTIONS ?? '',
): string[] {
  const chosen = [...own, nodeOptions].some((text) => text.replaceAll('_', '-').includes('semi-space-size'));
  return [...own, NO_DEBUGGER_FLAG, ...(chosen ? [] : [`${SEMI_SPACE_FLAG}=${SEMI_SPACE_MIB}`])];
}
