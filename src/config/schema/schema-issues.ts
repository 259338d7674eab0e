/** From zod's issues to one sentence per key. */
import type { z } from 'zod';
import type { KeyPath } from '../problems.ts';
import { knownKeys } from './schema-walk.ts';

/** Finding is a problem that does not know its line yet. */
export interface Finding {
  path: KeyPath;
  message: string;
}

/** findingsOf flattens the issues of a parse by `schema`: each unknown key on its own, unions by the part that was meant. */
export function findingsOf(schema: z.core.$ZodType, issues: readonly z.core.$ZodIssue[]): Finding[] {
  const findings: Finding[] = [];
  collect(issues, [], findings);
  return findings.map((finding) => (finding.message === UNKNOWN_KEY ? suggesting(schema, finding) : finding));
}

const UNKNOWN_KEY = 'unknown key';

function collect(issues: readonly z.core.$ZodIssue[], base: KeyPath, findings: Finding[]): void {
  for (const issue of issues) {
    const own = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
    const path = [...base, ...own];
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) findings.push({ path: [...path, key], message: UNKNOWN_KEY });
    } else if (issue.code === 'invalid_union') {
      const meant = issue.errors.find((option) => option.every(isInside));
      if (meant === undefined) findings.push({ path, message: issue.message });
      else collect(meant, path, findings);
    } else {
      findings.push({ path, message: issue.message });
    }
  }
}

/** Whether a union's option got so far that its complaint is about something inside the value. */
function isInside(issue: z.core.$ZodIssue): boolean {
  return issue.path.length > 0 || issue.code === 'unrecognized_keys';
}

function suggesting(schema: z.core.$ZodType, { path, message }: Finding): Finding {
  const key = String(path.at(-1));
  const near = knownKeys(schema, path.slice(0, -1)).find((known) => isNear(key, known));
  return { path, message: near === undefined ? message : `${message}, did you mean ${near}?` };
}

const MAX_COMPARED_LENGTH = 40;

function isNear(given: string, known: string): boolean {
  if (given.length > MAX_COMPARED_LENGTH) return false;
  const allowed = known.length <= 4 ? 1 : 2;
  return editDistance(given.toLowerCase(), known.toLowerCase()) <= allowed;
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
