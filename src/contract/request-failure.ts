/** How a request has ended: one definition for counts and alerts, spans, lines of ECS, filters and colours. */
import { OUTCOMES, type Reason } from './outcomes.ts';

/** RequestEnd has the names of the access line. */
export interface RequestEnd {
  reason: Reason;
  /** null: it is no call of gRPC, or ended without one. */
  grpcStatus: number | null;
  status: number;
}

/** Whose failure a request is; `none`: it has succeeded. */
export type Failure = 'none' | 'client' | 'server';

const FIRST_CLIENT_ERROR = 400;
const FIRST_SERVER_ERROR = 500;

/**
 * What each status of gRPC is in HTTP (google/rpc/code.proto). UNIMPLEMENTED (12) alone is 404 and not 501, as in gRPC's own mapping and in
 * the success rate of linkerd: any client gets it by asking for what does not exist, and no client may raise an alert. The price is that
 * of HTTP: a backend that knows no method any more fails without errors, as one that answers 404.
 */
const GRPC_IN_HTTP = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 404, 500, 503, 500, 401];
/** Clients take a status that they do not know for UNKNOWN. */
const UNKNOWN_IN_HTTP = 500;

/**
 * failureOf is called for each request that ends. The reason comes first: the status of an answer that is cut in the middle, and of a
 * refused call of gRPC, says that all is well, and that of a request that nobody can serve (501, 505) blames the server.
 */
export function failureOf(end: RequestEnd): Failure {
  if (end.reason !== 'ok') {
    const { source, status } = OUTCOMES[end.reason];
    return source === 'internal' || status >= FIRST_SERVER_ERROR ? 'server' : 'client';
  }
  const status = meantStatus(end);
  if (status >= FIRST_SERVER_ERROR) return 'server';
  return status >= FIRST_CLIENT_ERROR ? 'client' : 'none';
}

/** meantStatus is the status that the client got; where that is no error and the request has failed, the one that says how. For filters. */
export function meantStatus({ reason, grpcStatus, status }: RequestEnd): number {
  if (status >= FIRST_CLIENT_ERROR) return status;
  if (reason !== 'ok') return OUTCOMES[reason].status;
  return grpcStatus === null || grpcStatus === 0 ? status : (GRPC_IN_HTTP[grpcStatus] ?? UNKNOWN_IN_HTTP);
}
