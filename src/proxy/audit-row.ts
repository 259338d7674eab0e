/** Rows of the audit of requests, in the text format of COPY (PostgreSQL manual, COPY, "Text Format"). */
import { hostname } from 'node:os';
import type { AccessRecord } from './access-record.ts';
import { ms, SteadyPart, sameCaller, sameOrigin, sameOutcome } from './access-text.ts';

const PATH_CHARS = 1_024;
const TEXT_CHARS = 256;
const PLAIN_TEXT = /^[ -[\]-~]*$/;

/** auditRow makes a row of REQUEST_COLUMNS. @param number no two rows of this machine have the same one in the same millisecond */
export function auditRow(record: AccessRecord, number: number): string {
  const ids = INSTANCE + number + '\t' + record.requestId;
  const what = caller.of(record) + field(record.path, PATH_CHARS) + outcome.of(record);
  return record.time + ids + what + ms(record.totalMs) + '\t' + field(record.backend) + origin.of(record);
}

/** Between the ids and the path. */
const caller = new SteadyPart(
  sameCaller,
  ({ clientIp, clientId, method, host }) =>
    `\t${field(clientIp)}\t${field(clientId)}\t${field(method)}\t${field(host)}\t`,
);

/** Between the path and the time. */
const outcome = new SteadyPart(
  sameOutcome,
  ({ status, grpcStatus, reason, bytesIn, bytesOut }) =>
    `\t${status}\t${grpcStatus ?? '\\N'}\t${reason}\t${bytesIn}\t${bytesOut}\t`,
);

/** Behind the backend. Names of policies need no quotes in an array. */
const origin = new SteadyPart(
  sameOrigin,
  ({ route, policies }) => `\t${field(route)}\t${policies === null ? '\\N' : `{${policies}}`}\n`,
);

function field(value: string | null, maxChars = TEXT_CHARS): string {
  if (value === null) return '\\N';
  const text = value.length > maxChars ? value.slice(0, maxChars) : value;
  if (PLAIN_TEXT.test(text)) return text;
  // PostgreSQL's text has no NUL, and what a backslash precedes stands for itself.
  return text.replaceAll('\0', '\uFFFD').replace(/[\\\t\n\r]/g, '\\$&');
}

const INSTANCE = `\t${field(hostname())}\t`;
