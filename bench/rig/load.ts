/** What a load generator reports, whichever it was. */

export interface LoadFigures {
  /** Whole answers, of any status. */
  requests: number;
  /** Answers that are not 2xx (wrk: above 399; of refused work: the others). */
  badStatus: number;
  errors: number;
  timeouts: number;
  durationSec: number;
  p50Ms: number;
  p99Ms: number;
  p999Ms: number;
  maxMs: number;
}

export interface Work {
  method?: 'GET' | 'POST';
  /** With its leading slash. */
  path: string;
  /** Of the request; 0 without a body. */
  bodyBytes?: number;
  connections: number;
  /** A new connection for every request. */
  reconnecting?: boolean;
  /** Addresses in X-Forwarded-For, in turn; 1, the default: no such field. For wrk alone. */
  clients?: number;
  /** Good answers are the refusals, of a status above 399. For wrk alone. */
  refused?: boolean;
}

/** A scenario with fewer good answers than this is a failure, not a figure. */
export const MIN_SUCCESS_RATIO = 0.99;

/** successRatio is the share of 2xx among everything that was tried. */
export function successRatio({ requests, badStatus, errors, timeouts }: LoadFigures): number {
  const tried = requests + errors + timeouts;
  return tried === 0 ? 0 : (requests - badStatus) / tried;
}

/** problemOf says why figures do not count; '' when they do. */
export function problemOf(figures: LoadFigures): string {
  if (figures.requests === 0) return 'no answer at all';
  const ratio = successRatio(figures);
  if (ratio >= MIN_SUCCESS_RATIO) return '';
  const { requests, badStatus, errors, timeouts } = figures;
  return `only ${(ratio * 100).toFixed(2)} % good: ${requests} answers, ${badStatus} of a bad status, ${errors} errors, ${timeouts} timeouts`;
}
