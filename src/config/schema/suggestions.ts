/** Which known key an unknown one was probably meant to be. */

const MAX_COMPARED_LENGTH = 40;

/** suggestionFor is `, did you mean KEY?`, or '' where no known key is near. */
export function suggestionFor(given: string, known: readonly string[]): string {
  if (given.length > MAX_COMPARED_LENGTH) return '';
  const near = known.find(
    (key) => editDistance(given.toLowerCase(), key.toLowerCase()) <= (key.length <= 4 ? 1 : 2),
  );
  return near === undefined ? '' : `, did you mean ${near}?`;
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
