/** h2load as load generator for HTTP/2 over TLS: one thread in a closed loop. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runToEnd } from '../../test/support/child.ts';
import { makeTempFolder, removeTempFolder } from '../../test/support/temp-folder.ts';
import { GRPC_MESSAGE } from './grpc.ts';
import type { LoadCounts, Work } from './load.ts';

const GRPC_FIELDS = ['content-type: application/grpc', 'te: trailers'];

/**
 * runH2load loads a port of this machine. It sees no trailers, so a gRPC answer without a message, as failed calls have, counts
 * as a bad status.
 */
export async function runH2load(port: number, work: Work, durationSec: number): Promise<LoadCounts> {
  const { path, connections, streams = 1, grpc = false } = work;
  const folder = makeTempFolder('sluice-bench-');
  try {
    const message = join(folder, 'message');
    if (grpc) writeFileSync(message, GRPC_MESSAGE);
    const words = ['-t1', `-c${connections}`, `-m${streams}`, `-D${durationSec}`, '--alpn-list=h2'];
    const call = grpc ? ['-d', message, ...GRPC_FIELDS.flatMap((line) => ['-H', line])] : [];
    const { code, stdout, stderr } = await runToEnd(
      'h2load',
      [...words, ...call, `https://127.0.0.1:${port}${path}`],
      { timeoutMs: (durationSec + 15) * 1_000 },
    );
    const text = stdout.join('\n');
    if (code !== 0) throw new Error(`h2load failed (${code}):\n${[text, ...stderr].join('\n').slice(-500)}`);
    return { ...countsOf(text, grpc ? GRPC_MESSAGE.length : 0), durationSec };
  } finally {
    removeTempFolder(folder);
  }
}

function countsOf(text: string, messageBytes: number): Omit<LoadCounts, 'durationSec'> {
  const numberOf = (pattern: RegExp) => Number(pattern.exec(text)?.[1] ?? Number.NaN);
  const errors = numberOf(/(\d+) errored/);
  const succeeded = numberOf(/(\d+) succeeded/);
  // `failed` are the errors and the answers of a bad status.
  const refused = numberOf(/(\d+) failed/) - errors;
  const messages = messageBytes === 0 ? succeeded : numberOf(/\((\d+)\) data/) / messageBytes;
  const counts = {
    requests: succeeded + refused,
    badStatus: refused + Math.max(0, Math.floor(succeeded - messages)),
    errors,
    timeouts: numberOf(/(\d+) timeout/),
  };
  if (!Object.values(counts).every(Number.isFinite)) throw new Error(`h2load gave no counts:\n${text}`);
  return counts;
}
