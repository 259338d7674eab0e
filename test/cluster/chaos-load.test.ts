/** Faults of clients, of too much load and of the store, in their short form. */
import { LOAD_FAULTS } from '../../bench/chaos/faults/all.ts';
import { proveFaults } from './chaos-lab.ts';

proveFaults(LOAD_FAULTS);
