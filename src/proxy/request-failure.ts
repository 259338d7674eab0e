import { OUTCOMES } from '../contract/outcomes.ts';
import type { AccessRecord } from './access-record.ts';

/** Whose failure a request is; `none`: it has succeeded. */
export type Failure = 'none' | 'client' | 'server';

/**
 * Statuses of gRPC that are failures of the server in OpenTelemetry's semantic conventions: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED,
 * INTERNAL, UNAVAILABLE, DATA_LOSS.
 */
const GRPC_SERVER_FAILURES: ReadonlySet<number> = new Set([2, 4, 12, 13, 14, 15]);
const FIRST_CLIENT_ERROR = 400;
const FIRST_SERVER_ERROR = 500;

/**
 * failureOf is called for spans, and for access lines of ECS. The reason comes first: the status of an answer that is cut in the middle, and
 * of a refused call of gRPC, says that all is well.
 */
export function failureOf({
  reason,
  grpcStatus,
  status,
}: Pick<AccessRecord, 'reason' | 'grpcStatus' | 'status'>): Failure {
  if (reason !== 'ok') {
    const { source, status: meant } = OUTCOMES[reason];
    return source === 'internal' || meant >= FIRST_SERVER_ERROR ? 'server' : 'client';
  }
  if (grpcStatus !== null && grpcStatus !== 0)
    return GRPC_SERVER_FAILURES.has(grpcStatus) ? 'server' : 'client';
  if (status >= FIRST_SERVER_ERROR) return 'server';
  return status >= FIRST_CLIENT_ERROR ? 'client' : 'none';
}
