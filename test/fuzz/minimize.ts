/** Makes a failing text smaller: removes pieces, large ones first, while it still fails. */
const MAX_TRIES = 400;
/** Bounds the time, because a hanging case takes its whole deadline at each try. */
const MAX_MS = 15_000;

/** minimize returns the smallest text found for which `fails` still resolves to true. */
export async function minimize(text: string, fails: (text: string) => Promise<boolean>): Promise<string> {
  let smallest = text;
  const endMs = performance.now() + MAX_MS;
  let tries = 0;
  for (
    let size = Math.ceil(text.length / 2);
    size >= 1 && tries < MAX_TRIES;
    size = size === 1 ? 0 : Math.ceil(size / 2)
  ) {
    for (let at = 0; at < smallest.length && tries < MAX_TRIES && performance.now() < endMs; ) {
      const shorter = smallest.slice(0, at) + smallest.slice(at + size);
      tries++;
      if (await fails(shorter)) smallest = shorter;
      else at += size;
    }
  }
  return smallest;
}
