const US_PER_SEC = 1e6;

/**
 * quantileMs estimates a quantile from the buckets of a histogram: it lies somewhere in its bucket, and is taken to lie there as far as
 * its rank does (linear interpolation, as Prometheus' histogram_quantile). So it is exact to its bucket only. Above the last bound it is
 * that bound.
 * @param boundsSec upper bounds, ascending; a last bucket above them is +Inf
 * @param counts of each bucket alone, from `first` on: one more than bounds
 * @returns to the microsecond; null: nothing was counted
 */
export function quantileMs(
  boundsSec: readonly number[],
  counts: ArrayLike<number>,
  quantile: number,
  first: number,
): number | null {
  let total = 0;
  for (let i = 0; i <= boundsSec.length; i++) total += counts[first + i] ?? 0;
  if (total <= 0) return null;
  const rank = quantile * total;
  let below = 0;
  for (let i = 0; i < boundsSec.length; i++) {
    const count = counts[first + i] ?? 0;
    if (count > 0 && below + count >= rank) {
      const lowerSec = i === 0 ? 0 : (boundsSec[i - 1] ?? 0);
      const upperSec = boundsSec[i] ?? 0;
      return Math.round((lowerSec + ((upperSec - lowerSec) * (rank - below)) / count) * US_PER_SEC) / 1_000;
    }
    below += count;
  }
  return (boundsSec.at(-1) ?? 0) * 1_000;
}
