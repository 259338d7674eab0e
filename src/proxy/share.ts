import type { PlaceAmongWorkers } from '../contract/messages.ts';

/** shareOf is a worker's part of a number that holds per machine, at least 1. The parts of all workers add up to the number, unless there are more workers. */
export function shareOf(perMachine: number, { workerIndex, workerCount }: PlaceAmongWorkers): number {
  return Math.max(1, Math.floor((perMachine + workerIndex) / workerCount));
}
