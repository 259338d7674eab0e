/**
 * Tones are the words that ask for attention, and how much: in yellow (warn) or red (bad) on the screen of `sluice top` and in the
 * dashboard, which both have the table. States of backends and workers, and overload.
 */
export interface Tones {
  down: 'bad';
  ejected: 'bad';
  draining: 'warn';
  unknown: 'warn';
  starting: 'warn';
  softened: 'warn';
  shedding: 'bad';
}
