/** Reads at a given rate. */
import type { Readable } from 'node:stream';

const TICK_MS = 20;

/** pace reads and drops `mibPerSec` MiB a second; 0: it stops after the first chunk. */
export function pace(source: Readable, mibPerSec: number): void {
  const perTickBytes = (mibPerSec * 2 ** 20 * TICK_MS) / 1_000;
  let allowedBytes = perTickBytes;
  source.on('data', (chunk: Buffer) => {
    allowedBytes -= chunk.length;
    if (allowedBytes <= 0) source.pause();
  });
  if (mibPerSec === 0) return;
  const timer = setInterval(() => {
    allowedBytes = Math.min(perTickBytes, allowedBytes + perTickBytes);
    if (allowedBytes > 0) source.resume();
  }, TICK_MS);
  source.on('close', () => clearInterval(timer));
}
