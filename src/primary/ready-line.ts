/** The line that supervisors and scripts wait for. */
import { writeSync } from 'node:fs';
import type { DataPath } from '../contract/data-path.ts';
import type { Logger } from '../infra/logging/logger.ts';

interface ReadyFacts extends DataPath {
  addresses: string[];
  /** URL of the admin port. */
  admin: string;
  workers: number;
}

/**
 * writeReadyLine is called once, when requests are answered. Always JSON, whatever log.format is. Where it cannot be written
 * (a full disk, a reader that is gone) nobody waits for it, and that is no reason not to serve.
 */
export function writeReadyLine(facts: ReadyFacts, logger: Logger): void {
  try {
    writeSync(1, `${JSON.stringify({ msg: 'ready', ...facts })}\n`);
  } catch (error) {
    logger.warn({ err: error }, 'the ready line could not be written');
  }
}
