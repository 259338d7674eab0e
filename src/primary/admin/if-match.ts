/** Edits of what somebody has read, without losing another's: entity tags of clients, and If-Match (RFC 9110 §8.8.3, §13.1.1). */
import * as z from 'zod';
import type { Expected } from '../../clients/client-repository.ts';
import type { ClientRecord } from '../../contract/clients.ts';

/** `*`, or tags; a list may have empty elements (RFC 9110 §5.6.1.2). */
const FORM = /^(\*|([\s,]*(W\/)?"[^"]*")+[\s,]*)$/;
/** The strong ones that Sluice can have given: a weak one matches nothing. */
const VERSIONS = /(?<!W\/)"(\d+)"/g;

/** The headers of a write that takes If-Match, for `call`. */
export const ifMatchHeaders = z.object({
  'if-match': z
    .string()
    .refine((text) => FORM.test(text), 'must be * or quoted entity tags')
    .optional()
    .meta({ description: 'An `ETag`: unless the client still has it, nothing is written (412)' }),
});

/** etagOf is of what operators decide about a client: `lastSeenAt` does not change it. */
export function etagOf({ versionUs }: ClientRecord): { etag: string } {
  return { etag: `"${versionUs}"` };
}

/** expectedOf reads an If-Match that has passed ifMatchHeaders. */
export function expectedOf({ 'if-match': text }: { 'if-match'?: string | undefined }): Expected {
  if (text === undefined) return null;
  return text === '*' ? 'any' : [...text.matchAll(VERSIONS)].map(([, version = '']) => version);
}
