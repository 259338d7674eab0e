/** counted is a number with what it counts: `1 worker`, `2 workers`; for sentences to people. @param many where it is not `one` with an s */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
