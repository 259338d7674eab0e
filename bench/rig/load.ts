/** The work for a load generator, and the figures that each generator reports. */

export interface LoadCounts {
  /** Complete answers, of any status. */
  requests: number;
  /** Answers of a wrong status: not 2xx (with wrk: above 399). Where refusals are expected: everything else. */
  badStatus: number;
  errors: number;
  timeouts: number;
  durationSec: number;
}

export interface LoadFigures extends LoadCounts {
  p50Ms: number;
  p99Ms: number;
  p999Ms: number;
  maxMs: number;
}

export interface Work {
  method?: 'GET' | 'POST';
  /** Begins with a slash. */
  path: string;
  /** Size of the request body; 0: no body. */
  bodyBytes?: number;
  connections: number;
  /** true: a new connection for every request. */
  reconnecting?: boolean;
  /** Number of addresses that X-Forwarded-For names in turn; 1 (default): no such field. Only wrk knows it. */
  clients?: number;
  /** true: a refusal (status above 399) is the good answer. Only wrk knows it. */
  refused?: boolean;
  /** true: over TLS 1.3. With `reconnecting` every connection makes a full handshake. */
  tls?: boolean;
  /** Requests under way at once on each connection, by HTTP/2 over TLS; absent: HTTP/1.1. */
  streams?: number;
  /** true: each request is a unary gRPC call. */
  grpc?: boolean;
}

/** With a smaller share of good answers a scenario has failed and has no figure. */
export const MIN_SUCCESS_RATIO = 0.99;

/** successRatio is the share of good answers among all requests. */
export function successRatio({ requests, badStatus, errors, timeouts }: LoadCounts): number {
  const tried = requests + errors + timeouts;
  return tried === 0 ? 0 : (requests - badStatus) / tried;
}

/** problemOf says why the figures are not valid; '' when they are. */
export function problemOf(figures: LoadCounts): string {
  if (figures.requests === 0) return 'no answer at all';
  const ratio = successRatio(figures);
  if (ratio >= MIN_SUCCESS_RATIO) return '';
  const { requests, badStatus, errors, timeouts } = figures;
  return `only ${(ratio * 100).toFixed(2)} % good: ${requests} answers, ${badStatus} of a bad status, ${errors} errors, ${timeouts} timeouts`;
}
