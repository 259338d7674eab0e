/** The servers of the chaos run, Sluice first. */
import { haproxy, nginx } from './peers.ts';
import { sluiceFrom } from './sluice.ts';
import type { SubjectKind } from './subject.ts';

export const SUBJECTS: readonly SubjectKind[] = [sluiceFrom('dist/cli.js'), nginx, haproxy];
