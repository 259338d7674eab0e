/** How long an order may take, and how long the next one waits. */

export interface AcmeTimes {
  /** For an order; requestMs for one request of it. */
  orderMs: number;
  requestMs: number;
  /** Pause after the first failure; doubled by each further one. */
  firstPauseMs: number;
  maxPauseMs: number;
  /** Between two looks at the tables. */
  lookMs: number;
}

/** At most five attempts an hour, the limit of Let's Encrypt for failures of a name. */
export const TIMES: AcmeTimes = {
  orderMs: 180_000,
  requestMs: 15_000,
  firstPauseMs: 120_000,
  maxPauseMs: 43_200_000,
  lookMs: 10_000,
};
/** However long an authority asks us to wait, we try again after this. */
export const MAX_WAIT_MS = 86_400_000;
/** After an order that was killed: longer than the order. */
const HOLD_MORE_MS = 30_000;
/** The pauses of machines and of names differ by up to this part. */
const JITTER = 0.1;

/**
 * pauseMs is how long no other order may begin after this many failures, 1 or more.
 * @param askedMs what the authority asks for
 */
export function pauseMs({ firstPauseMs, maxPauseMs }: AcmeTimes, failures: number, askedMs = 0): number {
  const ownMs = Math.min(firstPauseMs * 2 ** (failures - 1), maxPauseMs);
  return Math.max(ownMs * (1 + JITTER * Math.random()), Math.min(askedMs, MAX_WAIT_MS));
}

/** holdMs is how long no other order may begin once one has: it may be killed without a word. */
export function holdMs(times: AcmeTimes, failures: number): number {
  return Math.max(pauseMs(times, failures), times.orderMs + HOLD_MORE_MS);
}
