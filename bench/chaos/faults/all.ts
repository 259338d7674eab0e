/** All faults, in the order of the table. */
import type { Fault } from '../fault.ts';
import { backendErrors, backendHangs, backendSlow, backendVerySlow } from './backend-bad.ts';
import { backendKilled } from './backend-killed.ts';
import { flapping } from './flapping.ts';
import { reloadsAndEnd } from './reloads-and-end.ts';
import { workerKilled } from './worker-killed.ts';

export const BACKEND_FAULTS: readonly Fault[] = [
  ...[backendKilled, backendHangs, backendErrors, backendSlow, backendVerySlow, flapping],
];

export const PROCESS_FAULTS: readonly Fault[] = [workerKilled, reloadsAndEnd];

export const FAULTS: readonly Fault[] = [...BACKEND_FAULTS, ...PROCESS_FAULTS];
