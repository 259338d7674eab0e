/**
 * Where a request may go past node's documented API, and where it may not. Each short way is taken only after a probe at the
 * start of the process has seen that it does the same as the public one; the tests run on both.
 */

import { processBodyBuffers } from '../http1/body-buffers.ts';
import {
  probeShortWrites,
  type TextWriter,
  writeTextPublicly,
  writeTextShortly,
} from '../infra/text-writes.ts';
import { type DirectReads, directReadsFor } from './direct-reads.ts';
import { type HeadWriter, probeShortHeads, writeHeadPublicly, writeHeadShortly } from './response-heads.ts';
import { type MessageClasses, PUBLIC_MESSAGES, SHORT_MESSAGES } from './short-messages.ts';
import { probeShortMessages } from './short-probe.ts';

export interface InnerWays {
  writeHead: HeadWriter;
  writeText: TextWriter;
  messages: MessageClasses;
  /** null: request bodies come through the parser. */
  directReads: DirectReads | null;
}

/** Set to 1, it keeps a worker to the public ways: for comparison, or where a short one is suspected of something. */
const PUBLIC_ONLY_ENV = 'SLUICE_PUBLIC_HTTP_API';

/** innerWaysFor picks the ways for this process; the worker's main calls it once (some 80 ms). */
export async function innerWaysFor(env: NodeJS.ProcessEnv): Promise<InnerWays> {
  const isPublicOnly = env[PUBLIC_ONLY_ENV] === '1';
  const shortHeads = !isPublicOnly && probeShortHeads();
  const shortWrites = !isPublicOnly && (await probeShortWrites());
  return {
    writeHead: shortHeads ? writeHeadShortly : writeHeadPublicly,
    writeText: shortWrites ? writeTextShortly : writeTextPublicly,
    directReads: isPublicOnly ? null : await directReadsFor(processBodyBuffers()),
    messages: shortWrites && (await probeShortMessages()) ? SHORT_MESSAGES : PUBLIC_MESSAGES,
  };
}
