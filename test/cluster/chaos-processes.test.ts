/** Faults of processes, in their short form. */
import { PROCESS_FAULTS } from '../../bench/chaos/faults/all.ts';
import { proveFaults } from './chaos-lab.ts';

proveFaults(PROCESS_FAULTS);
