/** The error of a request whose stream has ended before the answer was whole. */
import { LbError } from '../../contract/errors.ts';
import { CODE } from '../../http2/frames.ts';
import type { BackendH2Connection } from './backend-h2-connection.ts';

/** Codes with which one side says that the other has broken the protocol. */
const INVALID_CODES: ReadonlySet<number> = new Set([
  CODE.PROTOCOL_ERROR,
  CODE.FLOW_CONTROL_ERROR,
  CODE.FRAME_SIZE_ERROR,
]);

/**
 * Codes that tell of the connection: too much waits in it (node:http2 refuses each new stream then, so that one client that does not
 * read would end the requests of all), or its tables of fields are out of step.
 */
const CONNECTION_CODES: ReadonlySet<number> = new Set([CODE.ENHANCE_YOUR_CALM, CODE.COMPRESSION_ERROR]);

/**
 * streamLoss is called by BackendH2Request.onClosed. Where the code tells of the connection, the connection is replaced.
 *
 * @param code see StreamEvents.onClosed
 * @param about isUnanswered: nothing of an answer has come; reused: see Exchange
 */
export function streamLoss(
  code: number,
  connection: BackendH2Connection,
  { isUnanswered, reused }: { isUnanswered: boolean; reused: boolean },
): LbError {
  const { isLost, lostBy } = connection;
  if (isLost) {
    // The backend may have processed it (B10).
    const retryable = isUnanswered && reused;
    return new LbError('upstream_reset', `connection lost: ${lostBy?.message ?? 'closed'}`, {
      cause: lostBy ?? undefined,
      retryable,
    });
  }
  if (isUnanswered && CONNECTION_CODES.has(code)) {
    // Nor does the backend say here that it has not: only REFUSED_STREAM and GOAWAY do (RFC 9113 §8.7).
    const retryable = connection.replace();
    return new LbError('upstream_reset', `connection refused a stream with code ${code}`, { retryable });
  }
  const isInvalid = INVALID_CODES.has(code);
  return new LbError(isInvalid ? 'upstream_invalid' : 'upstream_reset', `stream reset with code ${code}`);
}
