/** Faults of backends, in their short form. */
import { BACKEND_FAULTS } from '../../bench/chaos/faults/all.ts';
import { proveFaults } from './chaos-lab.ts';

proveFaults(BACKEND_FAULTS);
