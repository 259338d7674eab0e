/** Whose fault it is that a connection could not be opened. */
import { LbError, systemCodeOf } from '../contract/errors.ts';

/** What this machine, and not the backend, lacks where a connection cannot even be begun: descriptors, ports, memory. */
const OWN_SHORTAGES: ReadonlySet<string> = new Set([
  'EMFILE',
  'ENFILE',
  'EADDRNOTAVAIL',
  'ENOBUFS',
  'ENOMEM',
]);

/** connectErrorOf says whose fault it is that a backend could not be connected; in both cases nothing was sent. */
export function connectErrorOf(error: Error): LbError {
  const code = OWN_SHORTAGES.has(systemCodeOf(error) ?? '') ? 'overload' : 'connect_failed';
  return new LbError(code, `connect failed: ${error.message}`, { cause: error, retryable: true });
}
