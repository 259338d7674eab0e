/** All faults, in the order of the table. */
import type { Fault } from '../fault.ts';
import { backendErrors, backendHangs, backendSlow, backendVerySlow } from './backend-bad.ts';
import { backendKilled } from './backend-killed.ts';
import { coldStart } from './cold-start.ts';
import { bursts, descriptors } from './descriptors.ts';
import { flapping } from './flapping.ts';
import { overload } from './overload.ts';
import { primaryKilled } from './primary-killed.ts';
import { redisBack } from './redis-back.ts';
import { reloads } from './reloads.ts';
import { resets } from './resets.ts';
import { primaryReplaced, roll } from './roll.ts';
import { sigterm } from './sigterm.ts';
import { slowClients } from './slow-clients.ts';
import { soak } from './soak.ts';
import { workerKilled } from './worker-killed.ts';

export const BACKEND_FAULTS: readonly Fault[] = [
  ...[backendKilled, backendHangs, backendErrors, backendSlow, backendVerySlow, flapping],
];

export const PROCESS_FAULTS: readonly Fault[] = [
  ...[roll, primaryReplaced, reloads, workerKilled, primaryKilled, sigterm],
];

export const LOAD_FAULTS: readonly Fault[] = [
  ...[resets, ...slowClients, overload, coldStart, redisBack, descriptors, bursts, soak],
];

export const FAULTS: readonly Fault[] = [...BACKEND_FAULTS, ...PROCESS_FAULTS, ...LOAD_FAULTS];
