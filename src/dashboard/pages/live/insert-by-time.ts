/**
 * insertByTime keeps the newest first: workers send their lines a few times a second, so a line may come after newer ones of another worker.
 *
 * @param items at most `most` of them, sorted; `time` is in RFC 3339, UTC
 */
export function insertByTime<T extends { time: string }>(items: readonly T[], item: T, most: number): T[] {
  const at = items.findIndex(({ time }) => time <= item.time);
  return items.toSpliced(at === -1 ? items.length : at, 0, item).slice(0, most);
}
